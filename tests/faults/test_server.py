"""The fault provider as a server: what it reads, what it keeps of requests, and the program."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.config import load_config
from tests.faults.catalogue import FAULTS
from tests.faults.raw import WITHIN_S, asking, connected, request_bytes
from tests.faults.thread import FaultServer
from tests.support.envoy import ROOT
from tests.support.stack import wait_for


def test_a_connection_serves_request_after_request(server: FaultServer, user: str) -> None:
    with connected(server) as client:
        for number, model in enumerate(["healthy", "status:503", "empty", "redirect", "healthy"]):
            client.received = b""
            client.send(request_bytes(model, user, stream=number == 0))
            client.read_until(lambda: client.has_head and client.is_whole)
        assert client.is_quiet()
        assert server.open_connections >= 1
        seen = server.seen(user)
        assert {request.connection.number for request in seen} == {seen[0].connection.number}
        assert [request.completed for request in seen] == [True] * 5
        assert seen[0].connection.closed_s is None
        assert [request.is_connection_kept for request in seen] == [True] * 5
    wait_for(lambda: seen[0].connection.closed_s)
    assert [request.is_connection_kept for request in seen] == [True] * 4 + [False]
    assert [request.closed_by_client_after_s for request in seen] == [None] * 5


def test_requests_that_were_sent_at_once_are_answered_in_turn(server: FaultServer, user: str) -> None:
    with connected(server) as client:
        client.send(
            request_bytes("slow-tokens:0.02", user, stream=True)
            + request_bytes("status:503", user, stream=False, close=True)
        )
        received = client.read_to_the_end()

    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"503"]
    assert [seen.completed for seen in server.seen(user)] == [True, True]


@pytest.mark.parametrize("cuts", [1, 7])
def test_a_request_may_come_in_pieces(server: FaultServer, user: str, cuts: int) -> None:
    data = request_bytes("healthy", user, stream=False, close=True)
    with connected(server) as client:
        for start in range(0, len(data), cuts):
            client.send(data[start : start + cuts])
        client.read_to_the_end()
        assert client.status == 200


def test_a_body_may_come_in_chunks_and_be_announced(server: FaultServer, user: str) -> None:
    body = json.dumps({"model": "status:503", "user": user}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
    with connected(server) as client:
        client.send(head + b"expect: 100-continue\r\n\r\n")
        client.read_until(lambda: client.received == b"HTTP/1.1 100 Continue\r\n\r\n")
        client.received = b""
        client.send(b"%x\r\n%b\r\n%x;x=y\r\n%b\r\n0\r\n\r\n" % (3, body[:3], len(body) - 3, body[3:]))
        client.read_to_the_end()
        assert client.status == 503
    assert len(server.seen(user)) == 1


BAD = {
    "no HTTP": b"\x16\x03\x01\x00\xa5\r\n\r\n",
    "an old version": b"POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\n\r\n",
    "no path": b"POST  HTTP/1.1\r\nhost: x\r\n\r\n",
    "no host": b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    "a header without a colon": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n",
    "a length that is none": b"POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "a length beyond bounds": b"POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    "another coding": b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
    "a chunk without size": b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "a chunk longer than it says": b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
    "a head that is too long": b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 200_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_is_no_request_is_refused_and_the_connection_closed(server: FaultServer, data: bytes) -> None:
    with connected(server) as client:
        client.send(data)
        client.read_to_the_end()
        if client.ending == "end":  # what was not read of it makes a reset
            assert client.status == 400


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"model":"nonsense"}', "There is no fault of that name; GET /v1/models lists them."),
        (b'{"model":"cut-after-events:x"}', "Expected `cut-after-events:N`, with a number from 0 on."),
        (b'{"model":"cut-after-events:1.5"}', "Expected `cut-after-events:N`, with a number from 0 on."),
        (b'{"model":"silence:-1"}', "Expected `silence:S`, with a number from 0 on."),
        (b'{"model":"silence:nan"}', "Expected `silence:S`, with a number from 0 on."),
        (b'{"model":"healthy:1"}', "Expected `healthy`."),
        (b'{"model":1}', "expected a JSON object with a `model`"),
        (b"[]", "expected a JSON object with a `model`"),
        (b"{", "Expecting property name"),
    ],
)
def test_what_asks_for_no_fault_is_told_so(server: FaultServer, body: bytes, told: str) -> None:
    answer = httpx.post(f"{server.base_url}/chat/completions", content=body)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith(told)


def test_the_models_are_the_faults(server: FaultServer) -> None:
    listed = httpx.get(f"{server.base_url}/models").json()

    assert listed["object"] == "list"
    assert {model["id"]: model["description"] for model in listed["data"]} == {
        name: fault.does for name, fault in FAULTS.items()
    }
    assert httpx.get(f"{server.base_url}/nothing").status_code == 404


def test_requests_are_kept_by_user_or_else_by_their_messages(server: FaultServer) -> None:
    messages = [{"role": "user", "content": uuid.uuid4().hex}]
    body = {"model": "fail-then-good", "messages": messages}
    statuses = [httpx.post(f"{server.base_url}/chat/completions", json=body).status_code for _ in range(2)]

    assert statuses == [500, 200]
    assert [seen.is_stream for seen in server.seen(json.dumps(messages))] == [False, False]
    assert server.seen("nobody") == []


def test_no_request_arrives_at_the_unreachable_addresses(server: FaultServer) -> None:
    urls = server.unreachable

    with pytest.raises(httpx.ConnectError, match="refused"):
        httpx.get(f"{urls['refused']}/models")
    with pytest.raises(httpx.ConnectError, match="SSL"):
        httpx.get(f"{urls['no-tls']}/models")
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(urls["no-name"].removeprefix("http://").removesuffix("/v1"), 80)


def test_the_end_closes_what_is_open(user: str) -> None:
    with ExitStack() as clients:
        with FaultServer() as server:
            busy = clients.enter_context(asking(server, "stall-after-events", user, stream=True))
            idle = clients.enter_context(connected(server))
            busy.read_until(lambda: b"three" in busy.received)
            wait_for(lambda: server.open_connections == 2)
        busy.read_to_the_end()
        idle.read_to_the_end()

    assert server.open_connections == 0


def test_the_program_lists_the_faults() -> None:
    command = [sys.executable, "-m", "tests.faults", "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)

    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [form for form, _ in rows] == [fault.form for fault in FAULTS.values()]
    assert dict(rows)["cut-after-events:N"].endswith("(default 4)")
    assert dict(rows)["silence:S"].endswith("(default for ever)")


@pytest.mark.parametrize("option", [None, "--config"])
def test_the_program_serves_and_prints_what_parley_takes(tmp_path: Path, option: str | None) -> None:
    command = [sys.executable, "-m", "tests.faults", *([option] if option else [])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        first = process.stdout.readline()  # printed when it is ready
        url = first.removeprefix("# Serving at ").strip()
        body = {"model": "status:503", "messages": []}
        assert httpx.post(f"{url}/chat/completions", json=body, timeout=WITHIN_S).status_code == 503
        assert process.stderr.readline() == "status:503 unary: sent\n"
        process.send_signal(signal.SIGINT)
        process.wait(WITHIN_S)
        printed, logged = process.stdout.read(), process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    (tmp_path / "parley.yaml").write_text(first + printed)
    config = load_config({"PARLEY_CONFIG": str(tmp_path / "parley.yaml")})

    assert process.returncode == 0
    assert logged == ""
    assert set(config.providers) == {"faults", "refused", "no-tls", "no-name"}
    assert option is None or [f"faults/{name}" for name in FAULTS] == list(config.models)[: len(FAULTS)]
    assert len(config.models) < 10 or option is not None


def test_the_program_says_why_it_can_not_serve() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "tests.faults", "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith(f"can't listen on 127.0.0.1:{port}: ")
