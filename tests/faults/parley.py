"""Configurations of Parley that ask the fault provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from tests.faults.catalogue import FAULTS

_READ_TIMEOUT_S: Final = 10
"""Short enough to wait for, where a fault is silence."""
_EXAMPLES: Final = ("healthy", "cut-after-events", "fail-then-good")


def snippet(base_url: str, unreachable: Mapping[str, str]) -> str:
    """Providers, and a few models, to paste into a configuration."""
    return _yaml(_config(base_url, unreachable, _EXAMPLES))


def full(base_url: str, unreachable: Mapping[str, str]) -> str:
    """A configuration with a model for every fault."""
    return _yaml(_config(base_url, unreachable, tuple(FAULTS)))


def _config(base_url: str, unreachable: Mapping[str, str], faults: tuple[str, ...]) -> dict[str, Any]:
    urls = {"faults": base_url, **unreachable}
    targets = {f"faults/{name}": ("faults", name) for name in faults}
    targets |= {f"faults/{name}": (name, "healthy") for name in unreachable}
    return {
        "providers": {
            name: {"kind": "openai", "base_url": url, "read_timeout_s": _READ_TIMEOUT_S} for name, url in urls.items()
        },
        "models": {
            model: {"targets": [{"provider": provider, "model": name}]} for model, (provider, name) in targets.items()
        },
    }


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, default_flow_style=None, width=110)
