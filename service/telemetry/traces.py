"""Records calls as traces, and sends them to a receiver of OTLP: in another thread, and never at a call's cost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from service.rpc.call import Call
from service.telemetry.call_spans import CallSpans, GivenIds
from service.telemetry.receiver import receiver_address, receiver_credentials, receiver_headers
from service.telemetry.resource import resource_attributes
from service.telemetry_settings import Otlp, Telemetry
from service.telemetry_settings import Traces as Settings
from service.tracing.context import TraceContext
from service.tracing.trace import CallTrace, new_span_id, new_trace_id

_log = logging.getLogger(__name__)

_MOST_WAITING: Final = 2048
"""Spans that wait to be sent, about 2 KB each; it is the SDK's own default, too."""
_MOST_WAITING_WITH_CONTENT: Final = 512
"""Of up to 50 KB each."""
_BATCH: Final = 512
_BATCH_WITH_CONTENT: Final = 64
"""So that none is larger than a receiver of gRPC takes, which is 4 MiB."""
_EVERY_MS: Final = 1000
_EXPORT_S: Final = 10
"""For one batch, with the SDK's repeats."""
_FLUSH_S: Final = 2.5
"""How long the end waits for what is still to be sent,"""
_LAST_S: Final = 0.5
"""and then for the sending to notice that it is over."""
_TELL_EVERY_S: Final = 60.0
"""How often losses are told while the receiver takes what it is sent, but more comes than that."""
_SAMPLED_OF: Final = 1 << 64
"""The SDK's sampler looks at the last 64 bits of the trace id, too: who samples by the same share, samples the same."""
_EXPORTER_LOG: Final = "opentelemetry.exporter.otlp.proto.grpc.exporter"


class Traces:
    """Begins the traces of calls, and makes them as the calls end. See `Tracing` and `CallObserver`.

    Args:
        settings: The section `telemetry`, with `otlp` and `traces`.

    Raises:
        ConfigError: The CA's file can't be used.
    """

    def __init__(self, settings: Telemetry) -> None:
        assert settings.otlp is not None  # noqa: S101 - `read_telemetry` has seen to both
        assert settings.traces is not None  # noqa: S101
        self._settings: Settings = settings.traces
        self._bound = round(settings.traces.sample_ratio * _SAMPLED_OF)
        has_content = settings.traces.content
        ids = GivenIds()
        self._sending = _Sending(settings.otlp, _MOST_WAITING_WITH_CONTENT if has_content else _MOST_WAITING)
        self._processor = BatchSpanProcessor(
            self._sending,
            max_queue_size=2 * _MOST_WAITING,  # `_Waiting` bounds it, and counts what it keeps out
            schedule_delay_millis=_EVERY_MS,
            max_export_batch_size=_BATCH_WITH_CONTENT if has_content else _BATCH,
        )
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(resource_attributes(settings.service_name)),
            id_generator=ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(_Waiting(self._sending, self._processor))
        self._spans = CallSpans(provider.get_tracer("parley"), ids)

    def begin(self, parent: TraceContext | None) -> CallTrace:
        """The trace of a call that begins now: recorded where its caller records it, else by the configured share."""
        if parent is None:
            trace_id = new_trace_id()
            is_recorded = int(trace_id[16:], 16) < self._bound
        else:
            trace_id, is_recorded = parent.trace_id, parent.is_sampled
        settings = self._settings
        return CallTrace(trace_id, new_span_id(), parent, is_recorded, settings.to_providers, settings.content)

    def ended(self, call: Call, status: str, reason: str | None) -> None:
        """Make the spans of a call, and let go of what was noted for them."""
        trace, call.trace = call.trace, None
        if trace is None or not trace.is_recorded:
            return
        try:
            self._spans.make(call, trace, status, reason)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a span, the call must not fail of it
            _log.error(
                "traces: the spans of a call can't be made: %s", type(error).__name__
            )  # its text may hold a prompt
        for attempt in call.journal.attempts:
            attempt.trace = None

    async def aclose(self) -> None:
        """Send what is still to be sent, for at most 3 s; later calls are not recorded."""
        ending = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _FLUSH_S)
        if ending.is_alive():
            self._sending.shutdown()
            await asyncio.to_thread(ending.join, _LAST_S)
        self._sending.end()


class _Sending(SpanExporter):
    """Sends batches, and tells of outages, once as one begins, once as it ends, and of what is lost."""

    def __init__(self, otlp: Otlp, most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self._address = receiver_address(otlp)
        credentials = receiver_credentials(otlp)
        _listen_to_exporters()
        self._exporter = OTLPSpanExporter(
            endpoint=self._address,
            insecure=credentials is None,
            credentials=credentials,
            headers=receiver_headers(otlp),
            timeout=_EXPORT_S,
            compression=grpc.Compression.NoCompression,
        )
        self._lock = threading.Lock()
        self._waiting = 0
        self._lost = 0
        self._is_out = False
        self._is_shut = False
        self._tell_from = 0.0

    def admit(self) -> bool:
        """Whether there is room for one more; else it is counted as lost."""
        with self._lock:
            if self._waiting < self.most_waiting:
                self._waiting += 1
                return True
            self._lost += 1
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            with self._lock:
                self._waiting -= len(spans)
                if result is not SpanExportResult.SUCCESS:
                    self._lost += len(spans)
            self._tell(is_out=result is not SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Stop sending, also amid a batch."""
        if not self._is_shut:
            self._is_shut = True
            self._exporter.shutdown()

    def end(self) -> None:
        """Log what was lost; what still waits is."""
        with self._lock:
            self._lost, self._waiting = self._lost + self._waiting, 0
        self._tell_losses()

    def _tell(self, *, is_out: bool) -> None:
        if is_out != self._is_out:
            self._is_out = is_out
            self._tell_from = 0.0
            if is_out:
                _log.warning(
                    "traces: can't be sent to %s: %s; until they can, they are lost", self._address, _LAST.status
                )
            else:
                _log.info("traces: are sent to %s again", self._address)
        if not is_out and time.monotonic() >= self._tell_from:
            self._tell_losses()

    def _tell_losses(self) -> None:
        """Log how many were lost since the last time."""
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            _log.warning("traces: %d spans could not be sent to %s", lost, self._address)
            self._tell_from = time.monotonic() + _TELL_EVERY_S


class _Waiting(SpanProcessor):
    """Lets a bounded number of spans through to the one that sends them."""

    def __init__(self, sending: _Sending, inner: SpanProcessor) -> None:
        self._sending = sending
        self._inner = inner

    def on_end(self, span: ReadableSpan) -> None:
        """A span is complete."""
        if self._sending.admit():
            self._inner.on_end(span)


class _LastStatus(logging.Handler):
    """Takes what exporters log, which comes with every batch, and remembers the status alone."""

    status = "no status"

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        for argument in arguments:
            if isinstance(argument, grpc.StatusCode):
                self.status = argument.name


_LAST: Final = _LastStatus()


def _listen_to_exporters() -> None:
    log = logging.getLogger(_EXPORTER_LOG)
    log.propagate = False
    if _LAST not in log.handlers:
        log.addHandler(_LAST)
