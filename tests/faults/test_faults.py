"""Every fault does on the wire what it says."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.exchange import DONE, TEXT
from tests.faults.raw import RawClient, asking
from tests.faults.thread import FaultServer
from tests.support.stack import wait_for

KINDS = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])


def to_the_end(server: FaultServer, model: str, user: str, *, stream: bool) -> RawClient:
    with asking(server, model, user, stream=stream) as client:
        client.read_to_the_end()
        return client


def right_body(server: FaultServer, *, stream: bool) -> bytes:
    return to_the_end(server, "healthy", "somebody", stream=stream).body


def values(body: bytes) -> list[Any]:
    """The JSON of each event; `[DONE]` as it is."""
    *events, rest = body.split(b"\n\n")
    assert rest == b""
    data = [event.removeprefix(b"data: ") for event in events]
    return ["[DONE]" if text == b"[DONE]" else json.loads(text) for text in data]


def assert_right(body: bytes, *, stream: bool, text: str = TEXT, usage: bool = True) -> None:
    if not stream:
        answer = json.loads(body)
        assert answer["choices"][0]["message"]["content"] == text
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert ("usage" in answer) is usage
        return
    *chunks, done = values(body)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert done == "[DONE]"
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == text
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert any("usage" in chunk for chunk in chunks) is usage


@KINDS
@pytest.mark.parametrize(
    ("model", "text", "usage"),
    [
        ("healthy", TEXT, True),
        ("slow-tokens:0.01", TEXT, True),
        ("long-event:30000", "x" * 30_000, True),
        ("one-byte-chunks", TEXT, True),
        ("no-usage", TEXT, False),
        ("slow-first-token:0.1", TEXT, True),
        ("silence:0.1", TEXT, True),
        ("wrong-content-type", TEXT, True),
        ("rate-limited-for:0", TEXT, True),
        ("fail-then-good:0", TEXT, True),
    ],
)
def test_right_answers(server: FaultServer, user: str, model: str, text: str, *, usage: bool, stream: bool) -> None:
    client = to_the_end(server, model, user, stream=stream)

    assert (client.status, client.is_whole, client.ending) == (200, True, "end")
    right = "text/event-stream" if stream else "application/json"
    assert client.headers["content-type"] == ("text/plain" if model == "wrong-content-type" else right)
    assert_right(client.body, stream=stream, text=text, usage=usage)
    assert [seen.completed for seen in server.seen(user)] == [True]


def test_usage_comes_in_a_stream_only_where_it_is_asked_for(server: FaultServer, user: str) -> None:
    for usage in (True, False):
        with asking(server, "healthy", user, stream=True, usage=usage) as client:
            assert (b'"usage"' in client.read_to_the_end()) is usage


@KINDS
def test_compressed_answers_are_right_within(server: FaultServer, user: str, *, stream: bool) -> None:
    zipped = to_the_end(server, "gzip", user, stream=stream)
    deflated = to_the_end(server, "deflate", user, stream=stream)
    broken = to_the_end(server, "bad-gzip", user, stream=stream)

    assert [client.headers["content-encoding"] for client in (zipped, deflated, broken)] == ["gzip", "deflate", "gzip"]
    assert_right(gzip.decompress(zipped.body), stream=stream)
    assert_right(zlib.decompress(deflated.body), stream=stream)
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(broken.body)


@KINDS
def test_every_byte_is_a_chunk(server: FaultServer, user: str, *, stream: bool) -> None:
    pieces = to_the_end(server, "one-byte-chunks", user, stream=stream).pieces

    assert {len(piece) for piece in pieces[:-1]} == {1}
    assert len(pieces) > 100


@KINDS
def test_slow_events_come_one_after_another(server: FaultServer, user: str, *, stream: bool) -> None:
    to_the_end(server, "slow-tokens:0.05", user, stream=stream)

    seen = server.seen(user)[0]
    assert (seen.ended_s or 0) - seen.began_s >= (0.65 if stream else 0.05)


SILENT = [
    ("silence", None, None),
    ("silence:60", None, None),
    ("role-then-nothing", 1, ""),
    ("slow-first-token:60", 1, ""),
    ("stall-after-events:0", 0, ""),
    ("stall-after-events:3", 3, "half"),
    ("open-after-done", 14, "all"),
]


@KINDS
@pytest.mark.parametrize(("model", "events", "unary"), SILENT)
def test_silence_lasts_until_the_client_leaves(
    server: FaultServer, user: str, model: str, events: int | None, unary: str | None, *, stream: bool
) -> None:
    right = right_body(server, stream=stream)
    with asking(server, model, user, stream=stream) as client:
        if stream and events is not None:
            client.read_until(lambda: client.has_head and client.body.count(b"\n\n") == events)
        elif unary is not None:
            length = {"": 0, "half": len(right) // 2, "all": len(right)}[unary]
            client.read_until(lambda: client.has_head and len(client.body) == length)
        assert client.is_quiet()
        assert client.has_head is (events is not None)
        assert not client.is_whole
        assert right.startswith(client.body)
        seen = server.seen(user)[0]
        assert (seen.ended_s, seen.closed_by_client_after_s, seen.connection.closed_s) == (None, None, None)
    assert 0.1 < (wait_for(lambda: seen.closed_by_client_after_s) or 0) < 10
    assert not seen.completed
    assert (wait_for(lambda: seen.connection.closed_s) or 0) > seen.began_s


CUT = [
    ("cut-after-events:3", 3, "end"),
    ("cut-after-events:0", 0, "end"),
    ("cut-after-events", 4, "end"),
    ("reset-after-events:3", 3, "reset"),
    ("reset-after-events:0", 0, "reset"),
]


@KINDS
@pytest.mark.parametrize(("model", "events", "ending"), CUT)
def test_a_cut_answer_lacks_its_end(
    server: FaultServer, user: str, model: str, events: int, ending: str, *, stream: bool
) -> None:
    right = right_body(server, stream=stream)
    client = to_the_end(server, model, user, stream=stream)

    assert (client.status, client.is_whole, client.ending) == (200, False, ending)
    assert right.startswith(client.body)
    if stream:
        assert len(values(client.body)) == events
    else:
        assert len(client.body) == (len(right) // 2 if events else 0)
    seen = server.seen(user)[0]
    assert (seen.completed, seen.closed_by_client_after_s) == (False, None)


@KINDS
def test_a_cut_within_an_event_leaves_half_of_it(server: FaultServer, user: str, *, stream: bool) -> None:
    client = to_the_end(server, "cut-inside-event:3", user, stream=stream)

    assert (client.is_whole, client.ending) == (False, "end")
    if stream:
        events, _, half = client.body.rpartition(b"\n\n")
        assert len(values(events + b"\n\n")) == 3
        assert half.startswith(b'data: {"id"')
    with pytest.raises(json.JSONDecodeError):
        json.loads(half.removeprefix(b"data: ") if stream else client.body)


@KINDS
def test_a_truncated_body_is_shorter_than_it_says(server: FaultServer, user: str, *, stream: bool) -> None:
    client = to_the_end(server, "truncated", user, stream=stream)

    assert int(client.headers["content-length"]) == len(right_body(server, stream=stream)) > len(client.body) > 0
    assert client.ending == "end"


@KINDS
def test_a_reset_comes_before_the_head(server: FaultServer, user: str, *, stream: bool) -> None:
    client = to_the_end(server, "reset", user, stream=stream)

    assert (client.received, client.ending) == (b"", "reset")


UNFINISHED = [
    ("close-without-finish:3", 3, []),
    ("close-without-finish:0", 0, []),
    ("done-without-finish:3", 4, ["[DONE]"]),
    ("done-without-finish:0", 1, ["[DONE]"]),
]


@KINDS
@pytest.mark.parametrize(("model", "events", "last"), UNFINISHED)
def test_an_unfinished_answer_ends_by_the_rules_of_http(
    server: FaultServer, user: str, model: str, events: int, last: list[str], *, stream: bool
) -> None:
    client = to_the_end(server, model, user, stream=stream)

    assert (client.status, client.is_whole) == (200, True)
    assert server.seen(user)[0].completed
    if not stream:
        assert json.loads(client.body)["choices"][0]["finish_reason"] is None
        return
    found = values(client.body)
    assert len(found) == events
    assert [value for value in found if value == "[DONE]"] == last
    assert b'"finish_reason":"' not in client.body


@KINDS
@pytest.mark.parametrize(("model", "usage"), [("finish-without-done", True), ("finish-alone", False)])
def test_an_answer_can_lack_only_what_follows_the_finish_reason(
    server: FaultServer, user: str, model: str, *, usage: bool, stream: bool
) -> None:
    client = to_the_end(server, model, user, stream=stream)

    assert client.is_whole
    assert_right(client.body + (DONE if stream else b""), stream=stream, usage=usage or not stream)
    assert DONE not in client.body


@KINDS
@pytest.mark.parametrize(
    ("model", "last", "events"),
    [
        ("garbage-json:2", b'{"id":"x","choices":[}', 2),
        ("garbage-json:0", b'{"id":"x","choices":[}', 0),
        ("invalid-utf8:2", b"\xff\xfe", 2),
        ("in-band-error", b'"type": "server_error"', 0),
        ("in-band-error:3", b'"type": "server_error"', 3),
    ],
)
def test_a_spoilt_answer_has_it_as_the_last_event_or_as_the_body(
    server: FaultServer, user: str, model: str, last: bytes, events: int, *, stream: bool
) -> None:
    client = to_the_end(server, model, user, stream=stream)

    assert (client.status, client.is_whole) == (200, True)
    assert last in client.body
    if stream:
        before, _, _ = client.body.removesuffix(b"\n\n").rpartition(b"data: ")
        assert last not in before
        assert len(values(before)) == events
        assert right_body(server, stream=True).startswith(before)


PAGE = {"content-type": "text/html; charset=utf-8"}
WAIT = {"retry-after": "3600", "retry-after-ms": "3600000"}
REFUSALS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "empty": (200, {"content-length": "0"}, b""),
    "html": (200, PAGE, b"<h1>"),
    "html:502": (502, PAGE, b"<h1>"),
    "redirect": (307, {"location": "/v1/followed"}, b""),
    "rate-limited": (429, {}, b"rate_limit_error"),
    "rate-limited-for:3600": (429, WAIT, b"rate_limit_error"),
    "status": (500, {}, b"server_error"),
    "status:503": (503, {}, b"server_error"),
    "status:529": (529, {}, b"overloaded_error"),
    "status:408": (408, {}, b"timeout_error"),
    "status:401": (401, {}, b"authentication_error"),
    "status:404": (404, {}, b"not_found_error"),
}


@KINDS
@pytest.mark.parametrize("model", REFUSALS)
def test_refusals(server: FaultServer, user: str, model: str, *, stream: bool) -> None:
    status, headers, body = REFUSALS[model]
    client = to_the_end(server, model, user, stream=stream)

    assert (client.status, client.is_whole) == (status, True)
    assert headers.items() <= client.headers.items()
    assert body in client.body
    assert bool(client.body) is bool(body)
    assert ("retry-after" in client.headers) is ("retry-after" in headers)


@KINDS
def test_a_redirect_leads_to_a_right_answer_that_is_counted(server: FaultServer, user: str, *, stream: bool) -> None:
    body = {"model": "redirect", "user": user, "stream": stream, "stream_options": {"include_usage": True}}
    with httpx.Client(follow_redirects=True) as client:
        answer = client.post(f"{server.base_url}/chat/completions", json=body)

    assert_right(answer.content, stream=stream)
    assert len(server.seen(user)) == 2


@KINDS
def test_what_is_no_http(server: FaultServer, user: str, *, stream: bool) -> None:
    client = to_the_end(server, "no-http", user, stream=stream)

    assert (client.received, client.ending) == (b"SSH-2.0-OpenSSH_9.2\r\n", "end")


@KINDS
def test_keepalives_go_on_and_nothing_else(server: FaultServer, user: str, *, stream: bool) -> None:
    sign = b": keepalive\n\n" if stream else b"\n"
    with asking(server, "keepalives-only", user, stream=stream) as client:
        client.read_until(lambda: len(client.pieces) >= 5)
        assert set(client.pieces) == {sign}
    wait_for(lambda: server.seen(user)[0].closed_by_client_after_s)


@KINDS
def test_an_endless_answer_goes_on_until_the_client_leaves(server: FaultServer, user: str, *, stream: bool) -> None:
    with asking(server, "endless:0", user, stream=stream) as client:
        client.read_until(lambda: len(client.received) > 300_000)
        assert not client.is_whole
    wait_for(lambda: server.seen(user)[0].closed_by_client_after_s)


@KINDS
def test_some_faults_mend_for_the_user_who_comes_again(server: FaultServer, user: str, *, stream: bool) -> None:
    others = [to_the_end(server, "fail-then-good:2", f"{user}-{number}", stream=stream).status for number in range(3)]
    clients = [to_the_end(server, "fail-then-good:2", user, stream=stream) for _ in range(3)]

    assert others == [500] * 3
    assert [client.status for client in clients] == [500, 500, 200]
    assert_right(clients[-1].body, stream=stream)


@KINDS
def test_a_rate_limit_ends_after_what_it_tells(server: FaultServer, user: str, *, stream: bool) -> None:
    first = to_the_end(server, "rate-limited-for:0.6", user, stream=stream)
    early = to_the_end(server, "rate-limited-for:0.6", user, stream=stream)
    time.sleep(int(early.headers["retry-after-ms"]) / 1000)  # what a client has to do
    late = to_the_end(server, "rate-limited-for:0.6", user, stream=stream)

    assert (first.status, early.status, late.status) == (429, 429, 200)
    assert first.headers["retry-after"] == "1"
    assert int(early.headers["retry-after-ms"]) <= int(first.headers["retry-after-ms"]) <= 600


def test_no_fault_is_without_a_test() -> None:
    source = Path(__file__).read_text("utf-8")

    assert [name for name in FAULTS if f'"{name}' not in source] == []
