"""The headers of a trace's context, and which traces are recorded."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from service.telemetry.traces import Traces
from service.telemetry_settings import Otlp, Telemetry
from service.telemetry_settings import Traces as Settings
from service.tracing.context import TraceContext, parent_header, read_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-will-come", True),
    ],
)
def test_a_context_is_read(header: str, *, is_sampled: bool) -> None:
    assert read_context(header, "") == TraceContext(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-011",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}g-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_a_malformed_context_counts_as_absent(header: str) -> None:
    assert read_context(header, "a=1") is None


@pytest.mark.parametrize(
    ("state", "read"),
    [
        ("a=1", "a=1"),
        ("a=1, b=2 ,,c@d=x y", "a=1,b=2,c@d=x y"),
        (f"a={'x' * 256}", f"a={'x' * 256}"),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
        ("a=1,a=2", ""),
        ("a", ""),
        ("A=1", ""),
        ("a=1=2", ""),
        ("a=1\n", ""),
        ("a=ä", ""),
        (f"a={'x' * 257}", ""),
        (f"a={'x' * 250},b={'x' * 250},c={'x' * 20}", ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
    ],
)
def test_a_malformed_state_is_dropped_alone(state: str, read: str) -> None:
    assert read_context(f"00-{TRACE}-{SPAN}-01", state) == TraceContext(TRACE, SPAN, is_sampled=True, state=read)


def test_a_header_is_what_is_read_of_it() -> None:
    for is_sampled in (True, False):
        header = parent_header(TRACE, SPAN, is_sampled=is_sampled)
        assert read_context(header, "") == TraceContext(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.5, 1.0])
async def test_a_share_of_traces_is_recorded_the_same_that_the_sdk_would(ratio: float) -> None:
    traces = Traces(Telemetry(otlp=Otlp("http://127.0.0.1:9"), traces=Settings(sample_ratio=ratio)))
    sampler = TraceIdRatioBased(ratio)
    begun = [traces.begin(None) for _ in range(2000)]
    for trace in begun:
        decision = sampler.should_sample(None, int(trace.trace_id, 16), "").decision
        assert trace.is_recorded == (decision is Decision.RECORD_AND_SAMPLE)
    assert ratio * 2000 - 200 <= sum(trace.is_recorded for trace in begun) <= ratio * 2000 + 200
    assert len({trace.trace_id for trace in begun}) == 2000
    await traces.aclose()


@pytest.mark.parametrize("ratio", [0.0, 1.0])
async def test_a_caller_has_decided_for_its_trace(ratio: float) -> None:
    traces = Traces(Telemetry(otlp=Otlp("http://127.0.0.1:9"), traces=Settings(sample_ratio=ratio)))
    for is_sampled in (True, False):
        trace = traces.begin(TraceContext(TRACE, SPAN, is_sampled))
        assert (trace.trace_id, trace.is_recorded) == (TRACE, is_sampled)
    await traces.aclose()
