"""Who it is that tells: the resource of everything that is sent over OTLP."""

from __future__ import annotations

import socket
import uuid
from typing import Final

from service.version import VERSION

_INSTANCE_ID: Final = str(uuid.uuid4())
"""Of this process: replicas, and a service that was started anew, are told apart by it."""


def resource_attributes(service_name: str) -> dict[str, str]:
    """The attributes, by their names in OpenTelemetry's conventions."""
    return {
        "service.name": service_name,
        "service.version": VERSION,
        "service.instance.id": _INSTANCE_ID,
        "host.name": socket.gethostname(),
    }
