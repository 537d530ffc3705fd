"""Who is compared: each face of each gateway, and the provider without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.compare.answers import MODEL
from bench.compare.gateways.gateway import Face, Running
from bench.compare.use import listening_process

DIRECT: Final = "direct"
"""No gateway: what the load and the provider take by themselves."""
PARLEY_REST: Final = "parley-rest"
PARLEY_GRPC: Final = "parley-grpc"
BARE_REST: Final = "bare-rest"
BARE_GRPC: Final = "bare-grpc"
SERVICE: Final = "service"
"""The part of Parley that is its own."""


@dataclass(frozen=True)
class Contender:
    """One that a load is put on."""

    name: str
    face: Face
    parts: Mapping[str, int]
    """Names and process ids of the gateway's parts that take part in this."""
    provider: int
    """The process id of the provider behind it."""


def contenders_of(gateway: str, running: Running, provider: int) -> list[Contender]:
    """One for each face; by their names' order, REST first."""
    found = []
    for kind, face in sorted(running.faces.items(), reverse=True):
        name = f"{gateway}-{kind}" if len(running.faces) > 1 else gateway
        parts = running.processes
        if face.protocol == "grpc":
            # Calls come to the service itself, past the Envoy beside it.
            parts = {part: pid for part, pid in parts.items() if part == SERVICE}
        found.append(Contender(name, face, parts, provider))
    return found


def direct(address: str) -> Contender:
    """The provider by itself."""
    face = Face("rest", address, "/v1/chat/completions", {"authorization": "Bearer provider-key"}, MODEL)
    return Contender(DIRECT, face, {}, listening_process(address))
