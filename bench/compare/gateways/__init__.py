"""The gateways that are compared, each with its own recommended settings."""

from __future__ import annotations

from typing import Final

from bench.compare.gateways.bare import BARE
from bench.compare.gateways.envoy import ENVOY
from bench.compare.gateways.ferrogw import FERROGW
from bench.compare.gateways.gateway import Face, Gateway, Running
from bench.compare.gateways.litellm import LITELLM
from bench.compare.gateways.parley import PARLEY
from bench.compare.gateways.portkey import PORTKEY
from bench.compare.gateways.smg import SMG

__all__ = ["GATEWAYS", "Face", "Gateway", "Running"]

GATEWAYS: Final[tuple[Gateway, ...]] = (PARLEY, LITELLM, PORTKEY, FERROGW, SMG, ENVOY, BARE)
