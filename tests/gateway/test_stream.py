"""Streams as REST clients read them."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from typing import Any

import httpx
import pytest
from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk, ErrorBody
from tests.gateway.answers import CHAT, END, KEEPALIVE, chunks, text_chunk
from tests.gateway.scratch import Context, Gateway, Scratch, wait_until


def frames(text: str) -> list[str]:
    assert text.endswith("\n\n")
    return text.removesuffix("\n\n").split("\n\n")


@pytest.mark.parametrize("path", [CHAT, f"/api{CHAT}"])
def test_stream_true_streams_and_ends_with_done(rest: httpx.Client, script: Scratch, path: str) -> None:
    script.stream = chunks(text_chunk("Hi"), END)
    answer = rest.post(path, json={"model": "m", "stream": True})
    assert script.method == "StreamChatCompletion"
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert frames(answer.text) == [
        'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}',
        "data: [DONE]",
    ]
    assert script.metadata["x-parley-sse"] == "1"


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"m"}',
        '{"stream":false}',
        '{"stream":null}',
        '{"stream":"true"}',
        '{"messages":[{"role":"user","content":"\\"stream\\": true"}]}',
        '{"messages":[{"role":"user","content":"x","metadata":{"stream":true}}]}',
        '{"extra_body":{"stream":true}}',
        "",
    ],
)
def test_everything_else_is_unary(rest: httpx.Client, script: Scratch, body: str) -> None:
    answer = rest.post(CHAT, content=body)
    assert answer.status_code == 200
    assert script.method == "CreateChatCompletion"
    assert script.requests[0].stream is (body == '{"stream":"true"}')


LONG = json.dumps([{"role": "user", "content": f'{n} "stream": false}} \\' * 20} for n in range(3000)])


@pytest.mark.parametrize(
    "body",
    [
        ' { "stream" :\n true } ',
        '{"stream":true,"user":"x"}',
        '{"user":"stream","stream":true}',
        '{"stream":true,"user":"stream"}',
        '{"user":"\\\\","stream":true}',
        '{"user":"\\\\\\"","stream":true}',
        '{"user":"\\",\\"stream\\":false,\\"","stream":true}',
        '{"user":"]}\'","stream":true}',
        '{"extra_body":{"stream":false,"a":[{}]},"stream":true}',
        '{"extra_body":{"stream":false},"stream":true,"metadata":{"stream":"false"}}',
        pytest.param(f'{{"messages":{LONG},"stream":true}}', id="long"),
    ],
)
def test_a_stream_is_asked_for_by_the_outermost_object(rest: httpx.Client, script: Scratch, body: str) -> None:
    rest.post(CHAT, content=body)
    assert script.method == "StreamChatCompletion"


@pytest.mark.parametrize(
    "body",
    [
        '{"user":"stream"}',
        '{"user":"\\",\\"stream\\":true,\\""}',
        '{"extra_body":{"a":[{"stream":true}]},"stream":false}',
        pytest.param(f'{{"messages":{LONG},"extra_body":{{"stream":true}}}}', id="long"),
        # Read otherwise by the transcoder.
        """{'user':'","stream":true,"'}""",
    ],
)
def test_nothing_else_asks_for_a_stream(rest: httpx.Client, script: Scratch, body: str) -> None:
    assert rest.post(CHAT, content=body).status_code == 200
    assert script.method == "CreateChatCompletion"
    assert not script.requests[0].stream


@pytest.mark.parametrize("body", ['{"stream":true,}', '{"str\\u0065am":true}', "{stream:true}", "{'stream':true}"])
def test_what_is_no_strict_json_is_sent_where_the_service_refuses_it(
    rest: httpx.Client, script: Scratch, body: str
) -> None:
    assert rest.post(CHAT, content=body).status_code == 200
    assert script.method == "CreateChatCompletion"
    assert script.requests[0].stream


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_the_content_type_does_not_matter(rest: httpx.Client, script: Scratch, content_type: str) -> None:
    rest.post(CHAT, content='{"stream":true}', headers={"content-type": content_type} if content_type else {})
    assert script.method == "StreamChatCompletion"


def test_a_repeated_stream_is_refused(rest: httpx.Client, script: Scratch) -> None:
    for body in ('{"stream":true,"stream":false}', '{"stream":false,"stream":true}'):
        answer = rest.post(CHAT, content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "stream"
    assert not script.requests


def test_keepalives_become_comments(rest: httpx.Client, script: Scratch) -> None:
    script.stream = chunks(KEEPALIVE, text_chunk("a"), KEEPALIVE, KEEPALIVE, text_chunk("b"), KEEPALIVE, END)
    answer = rest.post(CHAT, json={"stream": True})
    comments = [frame for frame in frames(answer.text) if frame.startswith(":")]
    assert comments == [": keepalive"] * 4
    assert [frame[:6] for frame in frames(answer.text)] == [
        ": keep", "data: ", ": keep", ": keep", "data: ", ": keep", "data: ",
    ]  # fmt: skip
    assert answer.text.endswith("data: [DONE]\n\n")


def test_a_keepalive_arrives_at_once(rest: httpx.Client, script: Scratch) -> None:
    async def answer(request: Any, context: Context) -> None:
        await context.write(KEEPALIVE)
        await asyncio.Event().wait()

    script.stream = answer
    with rest.stream("POST", CHAT, json={"stream": True}) as response:
        assert next(response.iter_text()) == ": keepalive\n\n"


def test_markers_become_empty_lists(rest: httpx.Client, script: Scratch) -> None:
    last = ChatCompletionChunk(id="c", empty_choices=NULL_VALUE)
    last.usage.total_tokens = 3
    token = text_chunk("x")
    token.choices[0].logprobs.content.add(token="x", empty_top_logprobs=NULL_VALUE)
    script.stream = chunks(token, last, END)
    first, usage, done = frames(rest.post(CHAT, json={"stream": True}).text)
    assert json.loads(first.removeprefix("data: "))["choices"][0]["logprobs"] == {
        "content": [{"token": "x", "top_logprobs": []}]
    }
    assert json.loads(usage.removeprefix("data: ")) == {"id": "c", "usage": {"total_tokens": 3}, "choices": []}
    assert done == "data: [DONE]"


@pytest.mark.parametrize(
    "text",
    [
        "data: {}\n\n",
        "data: [DONE]\n\n",
        'data: {"keepalive":true}\n\n',
        '"empty_choices":null}',
        '"empty_top_logprobs":null}',
        'x","empty_choices":null}\n\n',
        '"stream": true',
        'data: {"error":{"message":"x"}}\n\n',
        "\\",
        'ünï \u2028 😀 "',
    ],
)
def test_text_is_text(rest: httpx.Client, script: Scratch, text: str) -> None:
    script.stream = chunks(text_chunk(text), END)
    body = {"stream": True, "messages": [{"role": "user", "content": text}]}
    first, done = frames(rest.post(CHAT, json=body).text)
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"] == text
    assert done == "data: [DONE]"
    assert script.requests[0].messages[0].content.string_value == text


def test_an_error_in_the_stream_ends_it_without_done(rest: httpx.Client, script: Scratch) -> None:
    null = Value(null_value=NULL_VALUE)
    error = ErrorBody(message="gone", type="server_error", param=null, code=Value(string_value="upstream_interrupted"))
    script.stream = chunks(text_chunk("a"), ChatCompletionChunk(error=error))
    answer = rest.post(CHAT, json={"stream": True})
    assert frames(answer.text)[-1] == (
        'data: {"error":{"message":"gone","type":"server_error","param":null,"code":"upstream_interrupted"}}'
    )
    assert "[DONE]" not in answer.text


def test_many_chunks_arrive_in_order(rest: httpx.Client, script: Scratch) -> None:
    script.stream = chunks(*(text_chunk(f"{n} " + "x" * (n % 700)) for n in range(3000)), END)
    *data, done = frames(rest.post(CHAT, json={"stream": True}).text)
    texts = [json.loads(frame.removeprefix("data: "))["choices"][0]["delta"]["content"] for frame in data]
    assert [int(text.split(" ")[0]) for text in texts] == list(range(3000))
    assert done == "data: [DONE]"


def test_chunks_larger_than_the_buffers_pass(rest: httpx.Client, script: Scratch) -> None:
    script.stream = chunks(KEEPALIVE, text_chunk("x" * 3_000_000), KEEPALIVE, text_chunk("y" * 300_000), END)
    lengths = [len(frame) for frame in frames(rest.post(CHAT, json={"stream": True}).text)]
    assert lengths[1] > 3_000_000
    assert lengths[3] > 300_000
    assert len(lengths) == 5


@pytest.mark.parametrize("stream", [True, False])
def test_when_the_client_goes_away_the_call_is_cancelled(rest: httpx.Client, script: Scratch, *, stream: bool) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Context) -> Any:
        begun.set()
        try:
            if stream:
                await context.write(text_chunk("a"))
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    script.unary = script.stream = answer
    if stream:
        with rest.stream("POST", CHAT, json={"stream": True}) as response:
            next(response.iter_text())
    else:
        with pytest.raises(httpx.ReadTimeout):
            rest.post(CHAT, json={}, timeout=0.3)
    wait_until(cancelled.is_set)
    assert begun.is_set()


@pytest.mark.parametrize("size", [1_000, 200_000])
def test_a_reader_that_reads_nothing_blocks_the_service(gateway: Gateway, script: Scratch, size: int) -> None:
    written, progress = 0, 0

    async def answer(request: Any, context: Context) -> None:
        nonlocal written
        while written < 60_000_000:
            await context.write(text_chunk("x" * size))
            written += size

    script.stream = answer
    host, port = gateway.address.split(":")
    body = b'{"stream":true}'
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.sendall(head.encode() + body)

        def is_blocked() -> bool:
            # Nothing announces that nothing happens: unchanged over half a second has to do.
            nonlocal progress
            before, progress = progress, written
            return before > 0 and not _changes(lambda: written, before)

        wait_until(is_blocked)
        assert 0 < written < 5_000_000


def _changes(read: Any, before: int) -> bool:
    try:
        wait_until(lambda: read() != before, patience_s=0.5)
    except AssertionError:
        return False
    return True


def test_a_stream_that_breaks_is_no_clean_end(impatient: httpx.Client, script: Scratch) -> None:
    """Silence for longer than stream_idle_timeout_s: Envoy cuts the connection."""

    async def answer(request: Any, context: Context) -> None:
        await context.write(text_chunk("a"))
        await asyncio.Event().wait()

    script.stream = answer
    with pytest.raises(httpx.RemoteProtocolError), impatient.stream("POST", CHAT, json={"stream": True}) as response:
        response.read()


def test_silence_before_the_answer_is_a_504(impatient: httpx.Client, script: Scratch) -> None:
    async def answer(request: Any, context: Context) -> Any:
        await asyncio.Event().wait()

    script.unary = answer
    response = impatient.post(CHAT, json={})
    assert response.status_code == 504
    assert response.json()["error"] == {
        "message": "The service did not answer in time.",
        "type": "server_error",
        "param": None,
        "code": "timeout",
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: httpx hides trailers")
def test_http2_clients_see_no_trailers_of_grpc(gateway: Gateway, script: Scratch) -> None:
    async def answer(request: Any, context: Context) -> None:
        context.set_trailing_metadata((("x-error-code", "x"),))
        await chunks(text_chunk("a"), END)(request, context)

    script.stream = answer
    command = ["curl", "--silent", "--verbose", "--http2-prior-knowledge", f"http://{gateway.address}{CHAT}"]
    done = subprocess.run([*command, "-d", '{"stream":true}'], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("data: [DONE]\n\n")
    received = [line for line in done.stderr.splitlines() if line.startswith("< ")]
    assert not [line for line in received if "grpc-" in line or "x-error" in line]
