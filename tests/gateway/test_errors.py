"""Every error of a REST route is {"error":{"message","type","param","code"}}, whoever made it."""

from __future__ import annotations

import socket
from typing import Any

import grpc
import httpx
import pytest

from tests.gateway.answers import CHAT, failure
from tests.gateway.scratch import Gateway, Scratch

CODE = grpc.StatusCode
INVALID = "invalid_request_error"
SECRET = "s3cret"


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error of an envelope that is complete."""
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    body = answer.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert all(value is None or isinstance(value, str) for value in error.values())
    return error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "headers", "status"),
    [
        (CODE.INVALID_ARGUMENT, {"type": INVALID, "param": "messages[0].role", "code": "invalid_value"}, 400),
        (CODE.UNAUTHENTICATED, {"type": INVALID, "code": "invalid_api_key"}, 401),
        (CODE.NOT_FOUND, {"type": INVALID, "param": "model", "code": "model_not_found"}, 404),
        (CODE.RESOURCE_EXHAUSTED, {"type": "rate_limit_error", "code": "rate_limit_exceeded"}, 429),
        (CODE.INTERNAL, {"type": "server_error", "code": "internal_error"}, 500),
        (CODE.INTERNAL, {"type": "server_error", "code": "upstream_malformed", "status": "502"}, 502),
        (CODE.RESOURCE_EXHAUSTED, {"type": INVALID, "code": "request_too_large", "status": "413"}, 413),
        (CODE.UNAVAILABLE, {"type": "server_error", "code": "shutting_down"}, 503),
        (CODE.DEADLINE_EXCEEDED, {"type": "server_error", "code": "upstream_timeout"}, 504),
        (CODE.INVALID_ARGUMENT, {"type": INVALID, "param": 'logit_bias."\\', "code": "invalid_value"}, 400),
    ],
)
def test_failures_of_the_service(
    rest: httpx.Client, script: Scratch, *, stream: bool, code: grpc.StatusCode, headers: dict[str, str], status: int
) -> None:
    text = 'said "no" \\ to ünï 😀\n{"error":{}}'
    script.unary = script.stream = failure(code, text, *((f"x-error-{name}", value) for name, value in headers.items()))
    answer = rest.post(CHAT, json={"stream": stream})
    assert answer.status_code == status
    assert error_of(answer) == {
        "message": text,
        "type": headers["type"],
        "param": headers.get("param"),
        "code": headers["code"],
    }


@pytest.mark.parametrize("status", ["200", "302", "999", "40", "4o4", ""])
def test_only_an_error_status_replaces_the_status(rest: httpx.Client, script: Scratch, status: str) -> None:
    script.unary = failure(CODE.INTERNAL, "x", ("x-error-type", "server_error"), ("x-error-status", status))
    assert rest.post(CHAT, json={}).status_code == 500


@pytest.mark.parametrize(
    ("code", "status", "kind", "error_code"),
    [
        (CODE.CANCELLED, 503, "server_error", "service_unavailable"),
        (CODE.UNKNOWN, 500, "server_error", "internal_error"),
        (CODE.INVALID_ARGUMENT, 400, INVALID, "invalid_request"),
        (CODE.DEADLINE_EXCEEDED, 504, "server_error", "timeout"),
        (CODE.NOT_FOUND, 404, INVALID, "not_found"),
        (CODE.ALREADY_EXISTS, 409, INVALID, "conflict"),
        (CODE.PERMISSION_DENIED, 403, INVALID, "permission_denied"),
        (CODE.RESOURCE_EXHAUSTED, 429, "rate_limit_error", "rate_limit_exceeded"),
        (CODE.FAILED_PRECONDITION, 400, INVALID, "invalid_request"),
        (CODE.ABORTED, 409, INVALID, "conflict"),
        (CODE.OUT_OF_RANGE, 400, INVALID, "invalid_request"),
        (CODE.UNIMPLEMENTED, 501, "server_error", "not_implemented"),
        (CODE.INTERNAL, 500, "server_error", "internal_error"),
        (CODE.UNAVAILABLE, 503, "server_error", "service_unavailable"),
        (CODE.DATA_LOSS, 500, "server_error", "internal_error"),
        (CODE.UNAUTHENTICATED, 401, INVALID, "invalid_api_key"),
    ],
)
def test_a_status_without_our_headers_is_told_by_its_http_status(
    rest: httpx.Client, script: Scratch, code: grpc.StatusCode, status: int, kind: str, error_code: str
) -> None:
    """Statuses of gRPC itself; their texts may name hosts, and are not shown."""
    script.unary = script.stream = failure(code, SECRET)
    for stream in (False, True):
        answer = rest.post(CHAT, json={"stream": stream})
        assert answer.status_code == status
        error = error_of(answer)
        assert (error["type"], error["param"], error["code"]) == (kind, None, error_code)
        assert SECRET not in answer.text


def test_what_helps_a_client_to_retry_is_kept_and_nothing_else(rest: httpx.Client, script: Scratch) -> None:
    kept = {
        "retry-after": "7",
        "retry-after-ms": "7000",
        "x-should-retry": "false",
        "x-ratelimit-remaining-requests": "0",
        "x-request-id": "mine",
    }
    script.unary = failure(CODE.RESOURCE_EXHAUSTED, "later", ("x-error-type", "rate_limit_error"), *kept.items())
    headers = dict(rest.post(CHAT, json={}, headers={"x-request-id": "mine"}).headers)
    assert {name: headers.pop(name) for name in kept} == kept
    assert set(headers) == {"content-type", "content-length", "date"}


@pytest.mark.parametrize(
    ("body", "param", "expected"),
    [
        ('{"temperature":"s3cret"}', "temperature", "expected a number"),
        ('{"messages":[{"role":5}]}', "messages[0].role", "expected a string"),
        ('{"messages":"s3cret"}', "messages", "expected an object"),
        ('{"messages":["s3cret"]}', "messages[0]", "expected an object"),
        ('{"messages":[{"role":{"s3cret":1}}]}', "messages[0].role", "an object is not expected"),
        ('{"messages":[{"role":["s3cret"]}]}', "messages[0]", "an array is given"),
        ('{"model":{"s3cret":1}}', "model", "an object is not expected"),
        ('{"model":["s3cret"]}', "model", "an array is given"),
        ('{"messages":[{"content":["model"]}], "stop":["a"], "temperature" : [1]}', "temperature", "an array is given"),
        ('{"user":"\\"model\\":[", "stream_options":[]}', "stream_options", "an array is given"),
        ('{"metadata":{"a":["s3cret"]}}', "metadata", "an array is not expected"),
        ('{"labels":{"a":5}}', "labels", "expected a string"),
        ('{"labels":{"a":"s3cret","a":"b"}}', "labels", "a key is given twice"),
        ('{"logit_bias":{"1":1,"1":2}}', "logit_bias", "a key is given twice"),
        ('{"max_tokens":1.5}', "max_tokens", "expected an integer"),
        ('{"max_tokens":"12 s3cret"}', "max_tokens", "expected an integer"),
        ('{"n":1e99}', "n", "expected an integer"),
        ('{"stop":5}', "stop", "expected a string"),
        ('{"stop":["a",5]}', "stop", "expected a string"),
        ('{"modalities":[{"s3cret":1}]}', "modalities", "an object is not expected"),
        ('{"tools":5}', "tools", "expected an object"),
        ('{"tools":[{"function":{"name":5}}]}', "tools[0].function.name", "expected a string"),
        ('{"tools":[{"function":{"parameters":"s3cret"}}]}', "tools[0].function.parameters", "expected an object"),
        ('{"stream_options":5}', "stream_options", "expected an object"),
        ('{"stream":5}', "stream", "expected a boolean"),
        ('{"stream":true,"temperature":"s3cret"}', "temperature", "expected a number"),
        ('{"top_p":true}', "top_p", "expected a number"),
        ('{"logit_bias":{"s3cret":"x"}}', "logit_bias", "expected a number"),
        ('{"messages":[{"name":"a","name":"s3cret"}]}', "messages[0].name", "given twice"),
        ('{"messages":[{"content":"s3cret', None, "not valid JSON: a string is not closed"),
        ("s3cret", None, "not valid JSON."),
        ('{"a":s3cret}', None, "not valid JSON."),
        ('{"a":1} s3cret', None, "something follows"),
        ('{"a" "s3cret"}', None, "a colon is missing"),
        ('{"temperature":NaN}', None, "not valid JSON"),
        ('{"temperature":-Infinity}', None, "a number can't be read"),
        ('{"temperature":1e999}', None, "a number is too large"),
        ('"s3cret"', None, "has to be a JSON object"),
        ('["s3cret"]', None, "has to be a JSON object"),
        ("null", None, "has to be a JSON object"),
        (b'{"model":"\xff\xfe s3cret"}', None, "it is not UTF-8"),
        (b"\x00\x01\x02", None, "not valid JSON"),
        (b"\x1f\x8b\x08\x00s3cret", None, "not"),
        ("[" * 10_000, None, "nested too deeply"),
        ('{"s3cret":' * 10_000, None, "nested too deeply"),
        ('{"messages":[{"content":' + "[" * 10_000 + "]" * 10_000 + "}]}", None, "nested too deeply"),
    ],
)
def test_bodies_that_envoy_refuses(
    rest: httpx.Client, script: Scratch, body: str | bytes, param: str | None, expected: str
) -> None:
    """The message names the parameter, and never quotes the body."""
    answer = rest.post(CHAT, content=body, headers={"content-type": "application/json", "x-request-id": "mine"})
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["type"], error["param"], error["code"]) == (INVALID, param, "invalid_request_body")
    assert expected in error["message"]
    assert (param or "") in error["message"]
    assert SECRET not in answer.text
    assert answer.headers["x-request-id"] == "mine"
    assert not script.requests


@pytest.mark.parametrize(
    ("call", "status", "code", "message"),
    [
        (("GET", "/v1/foo?key=s3cret"), 404, "unknown_url", "Invalid URL (GET /v1/foo)"),
        (("POST", "/v1/embeddings"), 404, "unknown_url", "Invalid URL (POST /v1/embeddings)"),
        (("GET", "/"), 404, "unknown_url", "Invalid URL (GET /)"),
        (("PATCH", '/a"\\b'), 404, "unknown_url", "Invalid URL (PATCH /a"),
        (("POST", "/parley.v1.ChatService/StreamChatCompletion"), 404, "unknown_url", "Invalid URL"),
        (("PUT", CHAT), 405, "method_not_supported", f"Not allowed to PUT on {CHAT}; allowed: GET, POST."),
        (("OPTIONS", CHAT), 405, "method_not_supported", "Not allowed to OPTIONS"),
        (("DELETE", "/v1/models/a"), 405, "method_not_supported", "allowed: GET."),
        (("POST", f"{CHAT}?model=s3cret"), 400, "unknown_parameter", "Unknown query parameter"),
        (("POST", f"/api{CHAT}?unknown=1"), 400, "unknown_parameter", "Unknown query parameter"),
        (("GET", "/v1/models?limit=1"), 400, "unknown_parameter", "Unknown query parameter"),
        (("GET", "/v1/models/a?model=b"), 400, "unknown_parameter", "Unknown query parameter"),
    ],
)
def test_urls_and_methods_that_do_not_exist(
    rest: httpx.Client, script: Scratch, call: tuple[str, str], status: int, code: str, message: str
) -> None:
    answer = rest.request(*call, content='{"stream":true}' if call[0] == "POST" else None)
    assert answer.status_code == status
    error = error_of(answer)
    assert (error["type"], error["param"], error["code"]) == (INVALID, None, code)
    assert message in error["message"]
    assert SECRET not in answer.text
    assert ("allow" in answer.headers) == (status == 405)
    assert answer.headers["x-request-id"]
    assert script.method == ""


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions:stream",
        "/v1/chat/completions%3Astream",
        "/v1/chat/completions%3astream",
        "/v1/chat/completions:%73tream",
        "/v1/chat/completions:stream/",
        "/v1/chat/completions/:stream",
        "/v1/chat/completions:stream?a=b",
        "/v1//chat///completions:stream",
        "/v1/chat/./completions:stream",
        "/v1/chat/x/../completions:stream",
        "/v1/models/../chat/completions:stream",
        "/v1/models/%2e%2e/chat/completions:stream",
        "/v1/chat%2Fcompletions:stream",
        "/v1/chat%5Ccompletions:stream",
        "/v1/chat/completions;:stream",
    ],
)
def test_the_internal_path_of_streams_is_unknown(rest: httpx.Client, script: Scratch, prefix: str, path: str) -> None:
    for content_type in ("application/json", "application/grpcx", "application/x-grpc"):
        answer = rest.post(prefix + path, json={"stream": True}, headers={"content-type": content_type})
        assert answer.status_code == 404
        assert error_of(answer)["code"] == "unknown_url"
    assert script.method == ""


def test_head_gets_headers_only(rest: httpx.Client) -> None:
    """A body after the answer to HEAD would be read as the next answer on the connection."""
    assert rest.head("/v1/models").status_code == 405
    assert rest.get("/v1/models").status_code == 200


def test_bodies_are_limited(rest: httpx.Client, script: Scratch) -> None:
    mib = 1024 * 1024

    async def answer(request: Any, context: Any) -> Any:
        return await script.echo(type(request)(model=str(len(request.model))), context)

    script.unary = answer
    for stream in (False, True):
        body = b'{"stream":%s,"model":"%s"}' % (b"true" if stream else b"false", b"x" * (31 * mib))
        assert rest.post(CHAT, content=body).status_code == 200
        assert len(script.requests.pop().model) == 31 * mib
        refused = rest.post(CHAT, content=b'{"model":"%s"}' % (b"x" * (33 * mib)))
        assert refused.status_code == 413
        assert error_of(refused) == {
            "message": "The request body is larger than 32 MiB.",
            "type": INVALID,
            "param": None,
            "code": "request_too_large",
        }
    assert not script.requests


def test_headers_are_limited(rest: httpx.Client) -> None:
    for headers in ({"big": "x" * 70_000}, {f"h{n}": "x" for n in range(200)}):
        answer = rest.get("/v1/models", headers=headers)
        assert answer.status_code == 431
        assert error_of(answer)["code"] == "request_headers_too_large"


@pytest.mark.parametrize(
    "head",
    [
        "GARBAGE\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\n\r\n",
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: y\r\n\r\n",
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "GET /v1/%00 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_a_400(gateway: Gateway, head: str) -> None:
    answer = _exchange(gateway, head)
    assert answer.startswith("HTTP/1.1 400 ")
    assert '"message":"The request is not valid HTTP."' in answer
    assert '"code":"invalid_request"' in answer


@pytest.mark.parametrize("encoding", ["gzip, chunked", "identity", "chunked, chunked", "gzip"])
def test_an_unknown_transfer_encoding_is_the_callers_fault(gateway: Gateway, encoding: str) -> None:
    """Envoy says 501, which clients would repeat."""
    answer = _exchange(gateway, f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {encoding}\r\n\r\n")
    assert answer.startswith("HTTP/1.1 400 ")
    assert '"code":"unsupported_transfer_encoding"' in answer
    assert '"type":"invalid_request_error"' in answer


WEB, GRPC, JSON = "application/grpc-web+proto", "application/grpc", "application/json"


@pytest.mark.parametrize(
    "content_types",
    [
        (WEB, JSON),
        (GRPC, JSON),
        (WEB, WEB),
        (GRPC, GRPC),
        (f"{WEB};charset=utf-8",),
        (f"{GRPC};charset=utf-8",),
        ("application/grpc-web+json",),
        ("application/grpc-webx",),
        ("application/grpc-",),
        ("Application/Grpc",),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/parley.v1.ChatService/CreateChatCompletion"])
@pytest.mark.parametrize("body", ["content-length: 2\r\n\r\n{}", "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n"])
def test_what_is_only_like_grpc_is_refused(
    gateway: Gateway, script: Scratch, content_types: tuple[str, ...], path: str, body: str
) -> None:
    """The service would reset it, which is a 503; two headers are one list to Envoy."""
    headers = "".join(f"content-type: {content_type}\r\n" for content_type in content_types)
    answer = _exchange(gateway, f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}{body}")
    assert answer.startswith("HTTP/1.1 415 ")
    assert '"code":"unsupported_media_type"' in answer
    assert '"type":"invalid_request_error"' in answer
    assert script.method == ""


@pytest.mark.parametrize("content_types", [(JSON, WEB), (JSON, GRPC), ("application/grpcx",), ("text/plain", JSON)])
def test_what_is_not_even_like_grpc_is_read_as_json(rest: httpx.Client, content_types: tuple[str, ...]) -> None:
    answer = rest.post(CHAT, content="{}", headers=[("content-type", content_type) for content_type in content_types])
    assert answer.status_code == 200
    assert answer.json()["id"] == "echo"


def test_connect_does_not_hang(gateway: Gateway) -> None:
    assert _exchange(gateway, "CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n").startswith("HTTP/1.1 403 ")


def _exchange(gateway: Gateway, head: str) -> str:
    """The first bytes of the answer to something that no client would send."""
    host, port = gateway.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(head.encode())
        return client.recv(65536).decode()
