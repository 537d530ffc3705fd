"""What is told of a gateway, and of one that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Face:
    """How a client speaks to it."""

    protocol: Literal["rest", "grpc"]
    address: str
    """`host:port`, without TLS, on loopback."""
    path: str
    """Of REST the whole path, of gRPC the service's: `/parley.v1.ChatService`."""
    headers: Mapping[str, str]
    """The authorization, and what the gateway wants besides; content-type is left to the client."""
    model: str
    """What stands in the request's `model`."""


@dataclass(frozen=True)
class Running:
    """A gateway that runs."""

    faces: Mapping[str, Face]
    """By their protocols: all have `rest`."""
    processes: Mapping[str, int]
    """The name of each part, and the id of its first process; that one's descendants belong to the part."""
    started_s: float
    """From the start of the first process to the first answer with status 200."""


@dataclass(frozen=True)
class Gateway:
    """A gateway that can be installed and started."""

    name: str
    version: str
    settings: str
    """What was set and why, in one line for the report."""
    install: Callable[[Path], None]
    """Into a folder of its own within the given one, which `start` expects to be `processes.ENVIRONMENTS`; cheap where that is done."""
    start: Callable[[str, Path], AbstractContextManager[Running]]
    """Before the provider at `host:port`, with configuration and logs in an existing folder that is its own."""
    has_streams: bool = True
    """Whether it takes part where streams are measured."""
