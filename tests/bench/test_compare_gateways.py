"""The gateways that are compared, before both mock providers; and the providers themselves."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from bench.compare import answers
from bench.compare.gateways import GATEWAYS, Face, Gateway
from bench.compare.gateways.installing import REQUIREMENTS, python_version
from bench.compare.gateways.processes import ENVIRONMENTS, Command, ask, free_address, running, until_answering
from bench.compare.provider import stream_provider, unary_provider
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub

IN_OUR_ENVIRONMENT = {"parley", "envoy", "bare"}
LARGE = 5_000_000
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def streams() -> Iterator[str]:
    with stream_provider() as address:
        yield address


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unary_provider(tmp_path_factory.mktemp("provider")) as address:
        yield address


def face_of(provider: str) -> Face:
    return Face("rest", provider, "/v1/chat/completions", {}, answers.MODEL)


def said(text: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], **more}


def chunks_of(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream that has ended well."""
    events = body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def times_of(chunks: list[dict[str, Any]]) -> list[int]:
    """When the events were written; a gateway may have joined several."""
    texts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]
    return [int(text) for text in "".join(texts).split()]


def finish_of(chunks: list[dict[str, Any]]) -> list[str]:
    reasons = [chunk["choices"][0].get("finish_reason") for chunk in chunks if chunk["choices"]]
    return [reason for reason in reasons if reason]


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def installed(gateway: Gateway) -> None:
    if gateway.name not in IN_OUR_ENVIRONMENT and not (ENVIRONMENTS / gateway.name / ".installed").exists():
        pytest.skip(f"{gateway.name} is not installed; `make bench` does it")


@pytest.mark.timeout(300)  # LiteLLM takes a minute to start on a busy machine
@pytest.mark.parametrize("gateway", GATEWAYS, ids=lambda gateway: gateway.name)
def test_a_gateway_passes_on_whole_answers_to_who_has_its_key(gateway: Gateway, answering: str, tmp_path: Path) -> None:
    installed(gateway)
    with gateway.start(answering, tmp_path) as started:
        assert started.started_s > 0
        assert all(psutil.pid_exists(process) for process in started.processes.values())
        for length in (1000, 100_000, LARGE):
            status, body = ask(started.faces["rest"], said("x" * length))
            assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, answers.TEXT)
        # Without its database, LiteLLM stumbles over its own refusal.
        keyless = {"envoy": 200, "bare": 200, "portkey": 200, "litellm": 500}.get(gateway.name, 401)
        headers = {name: value for name, value in started.faces["rest"].headers.items() if name != "authorization"}
        assert ask(replace(started.faces["rest"], headers=headers), said("hello"))[0] == keyless


@pytest.mark.timeout(300)
@pytest.mark.parametrize("gateway", [each for each in GATEWAYS if each.has_streams], ids=lambda gateway: gateway.name)
def test_a_gateway_passes_on_streams(gateway: Gateway, streams: str, tmp_path: Path) -> None:
    installed(gateway)
    with gateway.start(streams, tmp_path) as started:
        face = started.faces["rest"]
        for events, gap_ms in ((20, 5), (1000, 0)):
            before = time.monotonic_ns()
            request = said(f"stream:{events}:{gap_ms}", stream=True, stream_options={"include_usage": True})
            status, body = ask(face, request)
            chunks = chunks_of(body)
            times = times_of(chunks)
            assert (status, len(times), finish_of(chunks)) == (200, events, ["stop"])
            moments = [before, *times, time.monotonic_ns()]
            assert moments == sorted(moments)
            assert chunks[-1]["usage"]["completion_tokens"] == answers.USAGE["completion_tokens"]


def test_parley_answers_over_grpc(streams: str, tmp_path: Path) -> None:
    parley = next(gateway for gateway in GATEWAYS if gateway.name == "parley")
    with parley.start(streams, tmp_path) as started:
        face = started.faces["grpc"]
        assert face.path == "/parley.v1.ChatService"
        request = ChatCompletionRequest(model=face.model)
        request.messages.add(role="user").content.string_value = "stream:10:1"
        with grpc.insecure_channel(face.address) as channel:
            stub = ChatServiceStub(channel)
            metadata = tuple(face.headers.items())
            answer = stub.CreateChatCompletion(request, metadata=metadata)
            chunks = list(stub.StreamChatCompletion(request, metadata=metadata))
        assert answer.choices[0].message.content == answers.TEXT
        text = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
        assert len(text.split()) == 10


@contextmanager
def kept_connection(address: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["unary", "streams"])
def test_a_provider_reads_large_bodies_and_keeps_the_connection(kind: str, answering: str, streams: str) -> None:
    body = json.dumps(said("x" * LARGE)).encode()
    with kept_connection(answering if kind == "unary" else streams) as connection:
        sockets = set()
        for _ in range(3):
            connection.request("POST", "/v1/chat/completions", body, JSON)
            sockets.add(connection.sock)
            assert json.loads(connection.getresponse().read()) == json.loads(answers.ANSWER)
        assert len(sockets) == 1


@pytest.mark.parametrize("kind", ["unary", "streams"])
def test_a_provider_lists_its_model_and_knows_nothing_else(kind: str, answering: str, streams: str) -> None:
    with kept_connection(answering if kind == "unary" else streams) as connection:
        connection.request("GET", "/v1/models")
        assert json.loads(connection.getresponse().read())["data"][0]["id"] == answers.MODEL
        connection.request("GET", "/health")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")


def test_a_stream_keeps_its_pace(streams: str) -> None:
    """The last of 40 events comes 39 pauses after the first, or later where the machine is busy; never earlier."""
    _, body = ask(face_of(streams), said("stream:40:10", stream=True))
    times = times_of(chunks_of(body))
    assert len(times) == 40
    assert times[-1] - times[0] >= 0.95 * 39 * 10_000_000


def test_only_who_asks_is_told_usage(streams: str) -> None:
    told = []
    for options in ({}, {"stream_options": {"include_usage": True}}):
        _, body = ask(face_of(streams), said("stream:1:0", stream=True, **options))
        told.append(any("usage" in chunk for chunk in chunks_of(body)))
    assert told == [False, True]


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_a_request_may_come_in_pieces(streams: str, size: int) -> None:
    content = json.dumps({**said("stream:3:0", stream=True), "model": answers.MODEL}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    whole = head + b"content-length: %d\r\n\r\n" % len(content) + content
    parts = [content[at : at + 10] for at in range(0, len(content), 10)]
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    chunked += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    for request in (whole, chunked):
        with connected(streams) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(request), size):
                connection.sendall(request[at : at + size])
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert len(times_of(chunks_of(answer.read()))) == 3


def test_a_reader_that_reads_nothing_holds_up_only_its_own_stream(streams: str) -> None:
    """What waits for it is a few megabytes at most, of the hundreds that it asked for."""
    content = json.dumps(said("stream:1000000:0", stream=True)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content)
    with connected(streams) as slow:
        slow.sendall(head + content)
        _, body = ask(face_of(streams), said("stream:50000:0", stream=True))
        assert len(times_of(chunks_of(body))) == 50_000
        began = time.monotonic_ns()
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        waiting = 0
        for line in answer:
            if line.startswith(b"data: "):
                times = times_of([json.loads(line.removeprefix(b"data: "))])
                if times and times[0] > began:
                    break
                waiting += len(line)
        assert waiting < 20_000_000


def test_streams_as_fast_as_they_are_read_take_turns(streams: str) -> None:
    """The second begins after the first and ends before it."""
    long, short = (json.dumps(said(f"stream:{events}:0", stream=True)).encode() for events in (100_000, 100))
    with kept_connection(streams) as first, kept_connection(streams) as second:
        first.request("POST", "/v1/chat/completions", long, JSON)
        begun = first.getresponse()
        beginning = begun.read(100)
        second.request("POST", "/v1/chat/completions", short, JSON)
        with ThreadPoolExecutor(1) as reader:
            rest = reader.submit(begun.read)
            inner = times_of(chunks_of(second.getresponse().read()))
            outer = times_of(chunks_of(beginning + rest.result()))
    assert outer[0] < inner[0] < inner[-1] < outer[-1]


def test_what_a_process_has_started_ends_with_it(tmp_path: Path) -> None:
    with running("shell", Command(["/bin/sh", "-c", "sleep 600 & exec sleep 600"]), tmp_path) as process:
        end = time.monotonic() + 10
        while len(family := [psutil.Process(process.pid), *psutil.Process(process.pid).children()]) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)


def test_a_process_gets_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
    with running("env", Command(["/usr/bin/env"], {"NAME": "value"}), tmp_path) as process:
        process.wait(10)
    told = (tmp_path / "env.log").read_text().splitlines()
    assert sorted(line.partition("=")[0] for line in told) == ["HOME", "NAME", "PATH"]


def test_a_gateway_that_ends_at_once_is_told_with_the_place_of_its_log(tmp_path: Path) -> None:
    with running("false", Command(["/bin/false"]), tmp_path) as process:
        process.wait(10)
        with pytest.raises(RuntimeError, match=f"has ended; its log is in {tmp_path}"):
            until_answering(face_of(free_address()), [process], tmp_path)


def test_a_free_address_can_be_listened_at() -> None:
    host, _, port = free_address().rpartition(":")
    with socket.create_server((host, int(port))) as server:
        assert server.getsockname() == ("127.0.0.1", int(port))


def test_every_gateway_has_a_name_of_its_own_and_tells_its_version_and_settings() -> None:
    assert len({gateway.name for gateway in GATEWAYS}) == len(GATEWAYS)
    assert all(gateway.version and gateway.settings for gateway in GATEWAYS)


def test_pinned_lists_have_hashes_and_name_no_registry() -> None:
    lists = [*REQUIREMENTS.glob("*.txt"), *REQUIREMENTS.glob("*/package-lock.json")]
    assert lists
    for path in lists:
        text = path.read_text("utf-8")
        assert "sha256:" in text or "sha512-" in text
        assert "index-url" not in text
        assert '"resolved"' not in text
    assert python_version("ferrogw", "ferrogw")
    with pytest.raises(ValueError, match="expected nothing to be pinned"):
        python_version("ferrogw", "nothing")


def test_pinned_lists_are_those_of_their_sources() -> None:
    for source in REQUIREMENTS.glob("*.in"):
        wanted = source.read_text("utf-8").strip().partition("[")[0]
        assert python_version(source.stem, wanted)
