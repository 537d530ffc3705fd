import json
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.sse import SseDecoder, SseEvent, SseTooLongError

RECORDINGS = Path(
    os.environ.get("PARLEY_RECORDINGS", Path(__file__).resolve().parents[2].parent / "shared" / "recordings")
)


def decode(data: bytes, cuts: list[int] | None = None, *, max_event_bytes: int = 1 << 24) -> list[SseEvent]:
    decoder = SseDecoder(max_event_bytes=max_event_bytes)
    places = sorted({0, len(data), *(cut for cut in cuts or [] if cut < len(data))})
    return [event for start, end in pairwise(places) for event in decoder.feed(data[start:end])]


def every(size: int, data: bytes) -> list[int]:
    return list(range(0, len(data), size))


CASES: list[tuple[str, bytes, list[tuple[str, bytes]]]] = [
    ("one event", b"data: a\n\n", [("message", b"a")]),
    ("the standard's YHOO", b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", b"YHOO\n+2\n10")]),
    (
        "the standard's test stream",
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [("message", b"first event"), ("message", b"second event")],
    ),
    ("the standard's empty data", b"data\n\ndata\ndata\n\ndata:", [("message", b""), ("message", b"\n")]),
    ("a space is optional", b"data:test\n\ndata: test\n\n", [("message", b"test"), ("message", b"test")]),
    ("crlf", b"data: a\r\ndata: b\r\n\r\n", [("message", b"a\nb")]),
    ("cr", b"data: a\rdata: b\r\rdata: c\r\r", [("message", b"a\nb"), ("message", b"c")]),
    ("mixed line ends", b"data: a\rdata: b\ndata: c\r\n\r\n", [("message", b"a\nb\nc")]),
    ("byte order mark", b"\xef\xbb\xbfdata: a\n\n", [("message", b"a")]),
    ("only the first mark is skipped", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [("message", b"b")]),
    ("half a mark", b"\xef\xbbdata: a\n\n", []),
    ("event type", b"event: ping\ndata: {}\n\ndata: x\n\n", [("ping", b"{}"), ("message", b"x")]),
    ("last event type counts", b"event: a\nevent: b\ndata: x\n\n", [("b", b"x")]),
    ("empty event type", b"event: a\nevent:\ndata: x\n\n", [("message", b"x")]),
    ("event without data", b"event: a\n\ndata: x\n\n", [("message", b"x")]),
    ("comments", b": keepalive\n\n:\ndata: a\n:x\ndata: b\n\n", [("message", b"a\nb")]),
    ("unknown fields", b"retry: 3\nid: 1\nfoo: bar\nfoo\n data: no\ndata: a\n\n", [("message", b"a")]),
    ("colons in data", b"data: a: b\n\n", [("message", b"a: b")]),
    ("other line separators are data", b"data: a\x0b\x0c\x1c\xc2\x85\n\n", [("message", b"a\x0b\x0c\x1c\xc2\x85")]),
    ("unterminated", b"data: a\n\ndata: b\n", [("message", b"a")]),
    ("nothing", b"", []),
]


@pytest.mark.parametrize(("stream", "events"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_decodes_as_the_standard_says_at_every_cut(stream: bytes, events: list[tuple[str, bytes]]) -> None:
    assert decode(stream) == events
    assert decode(stream, every(1, stream)) == events
    for cut in range(len(stream)):
        assert decode(stream, [cut]) == events, cut


PIECES = [b"data: ", b"data:", b"data", b"event: ", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"x"]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3)).map(b"".join), st.lists(st.integers(0, 200)))
def test_the_cuts_do_not_matter(stream: bytes, cuts: list[int]) -> None:
    assert decode(stream, cuts) == decode(stream)


@given(st.lists(st.sampled_from(PIECES)).map(b"".join), st.lists(st.integers(0, 200)), st.integers(0, 20))
def test_the_cuts_do_not_matter_to_the_bound(stream: bytes, cuts: list[int], bound: int) -> None:
    def refused(cuts: list[int]) -> bool:
        try:
            decode(stream, cuts, max_event_bytes=bound)
        except SseTooLongError:
            return True
        return False

    assert refused(cuts) == refused([])


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 100 + b"\n\n",
        b"data: " + b"x" * 100,
        b"data: xx\n" * 20,
        b"data\n" * 50,
        b":" + b"x" * 100,
        b"event: " + b"x" * 100,
        b"id: xxxx\n" * 20,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_is_too_long_is_refused(stream: bytes, size: int) -> None:
    with pytest.raises(SseTooLongError, match="longer than 64 bytes"):
        decode(stream, every(size, stream), max_event_bytes=64)


def test_the_bound_is_for_each_event() -> None:
    stream = (b"data: " + b"x" * 58 + b"\n\n") * 10 + b": comment\n" * 20
    assert len(decode(stream, every(7, stream), max_event_bytes=64)) == 10


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (b"data: [DONE]\n", SseEvent("message", b"[DONE]")),
        (b"data: [DONE]", SseEvent("message", b"[DONE]")),
        (b"data: [DONE]\r", SseEvent("message", b"[DONE]")),
        (b"event: end\ndata: a\ndata: b", SseEvent("end", b"a\nb")),
        (b"event: end\n", None),
        (b"dat", None),
    ],
)
def test_an_unterminated_event_is_told(end: bytes, left: SseEvent | None) -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n\n" + end) == [("message", b"a")]
    assert decoder.is_pending
    assert decoder.finish() == left
    assert not decoder.is_pending


@pytest.mark.parametrize("stream", [b"", b"data: a\n\n", b"data: a\r\n\r\n", b"data: a\n\n: x\n", b"\xef\xbb\xbf"])
def test_a_whole_stream_leaves_nothing(stream: bytes) -> None:
    decoder = SseDecoder()
    decoder.feed(stream)
    assert not decoder.is_pending
    assert decoder.finish() is None


def seconds(mebibytes: int) -> float:
    stream = b"data: " + b"x" * (mebibytes << 20) + b"\n\n"
    best = 60.0
    for _ in range(3):
        decoder = SseDecoder(max_event_bytes=1 << 30)
        start = time.perf_counter()
        for place in range(0, len(stream), 64):
            decoder.feed(stream[place : place + 64])
        best = min(best, time.perf_counter() - start)
    return best


def test_time_grows_with_the_bytes_not_with_their_square() -> None:
    """Eight times the bytes in small pieces take about eight times as long, not 64 times."""
    assert seconds(8) < 24 * seconds(1)


def test_decodes_the_recorded_streams() -> None:
    files = sorted(RECORDINGS.glob("*/*.json"))
    if not files:
        pytest.skip("no recordings here: set PARLEY_RECORDINGS")
    streams = [
        answer["body"].encode()
        for file in files
        for answer in (exchange["response"] for exchange in json.loads(file.read_bytes())["interactions"])
        if "event-stream" in answer["headers"].get("content-type", "")
    ]
    assert streams
    for stream in streams:
        events = decode(stream)
        assert events
        for size in (1, 2, 3, 7, 64, 1000):
            assert decode(stream, every(size, stream)) == events
        for event in events:
            assert event.data == b"[DONE]" or json.loads(event.data) is not None
