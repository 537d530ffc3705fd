"""The section `telemetry` of the configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec

from service.settings import Name, Secret, Section


class Otlp(Section, frozen=True):
    """A receiver of OpenTelemetry's protocol over gRPC, such as a collector."""

    endpoint: str
    """Such as `http://collector:4317`; with https://, TLS."""
    ca_file: str | None = None
    """PEM; default: the CAs that gRPC knows."""
    headers_env: str | None = None
    headers_file: str | None = None
    """Where the headers of every export are, as `name=value,name=value`; the gateway's exports go without."""
    headers: Secret | None = None
    """Filled from one of the two above; it can't stand in the file."""


class Metrics(Section, frozen=True):
    """Who gets the metrics."""

    address: str | None = "127.0.0.1:9464"
    """Where Prometheus may read them, at `/metrics`; null: nowhere. PARLEY_METRICS_ADDRESS overrides it."""
    push_interval_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] | None = None
    """How often they are sent to `otlp`; default: never."""


class Traces(Section, frozen=True):
    """What is traced. Without this section nothing is, but the context of callers is passed on to the gateway's log."""

    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    """Of calls that come without a trace; for others, whoever began the trace has decided."""
    content: bool = False
    """Whether spans hold what was asked and answered."""
    to_providers: bool = True
    """Whether requests to providers carry the header `traceparent`."""


class Telemetry(Section, frozen=True):
    """What operators see."""

    service_name: Name = "parley"
    """The resource attribute `service.name`."""
    otlp: Otlp | None = None
    """Where traces go, and metrics if they are pushed."""
    metrics: Metrics = Metrics()
    traces: Traces | None = None
