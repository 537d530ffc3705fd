"""Headers, paths and unary answers of REST clients."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service.json_values import json_object, object_to_json
from tests.gateway.answers import CHAT
from tests.gateway.conftest import ORIGIN
from tests.gateway.scratch import Context, Gateway, Scratch, Service, wait_until


@pytest.mark.parametrize("path", [CHAT, f"/api{CHAT}", "//v1//chat/./completions", "/x/../v1/chat/completions"])
def test_both_public_paths_reach_the_unary_method(rest: httpx.Client, script: Scratch, path: str) -> None:
    # A raw URL: httpx would read the first as a host.
    answer = rest.post(httpx.URL(rest.base_url, raw_path=path.encode()), json={"model": "m"})
    assert answer.status_code == 200
    assert answer.text == '{"id":"echo","object":"chat.completion","model":"m"}'
    assert script.method == "CreateChatCompletion"


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_models(rest: httpx.Client, script: Scratch, prefix: str) -> None:
    assert rest.get(f"{prefix}/models").json() == {"object": "list"}
    for path, model in {"a": "a", "a/b": "a/b", "a%2Fb%2fc": "a/b/c", "a%20b": "a b", "a:b": "a:b"}.items():
        answer = rest.get(f"{prefix}/models/{path}")
        assert answer.json() == {"id": model, "object": "model", "created": 0}
        assert script.model == model


def test_nothing_internal_is_shown(rest: httpx.Client, script: Scratch) -> None:
    async def answer(request: Any, context: Context) -> ChatCompletion:
        await context.send_initial_metadata((("x-ratelimit-remaining-requests", "3"),))
        context.set_trailing_metadata((("x-error-code", "x"), ("x-error-param", "y")))
        return ChatCompletion(id="a")

    script.unary = answer
    response = rest.post(CHAT, json={})
    assert set(response.headers) == {
        "x-ratelimit-remaining-requests", "content-type", "content-length", "date", "x-request-id",
    }  # fmt: skip
    stream = rest.post(CHAT, json={"stream": True})
    assert set(stream.headers) == {"content-type", "date", "x-request-id", "transfer-encoding"}


@pytest.mark.parametrize("stream", [False, True])
def test_clients_can_not_set_internal_headers(rest: httpx.Client, script: Scratch, *, stream: bool) -> None:
    sent = {
        "X-Parley-Sse": "0",
        "x-parley-anything": "x",
        "x-error-type": "x",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/x",
        "x-envoy-retry-on": "5xx",
        "grpc-timeout": "1n",
        "grpc-encoding": "gzip",
        "grpc-accept-encoding": "gzip",
    }
    assert rest.post(CHAT, json={"stream": stream}, headers=sent).status_code == 200
    seen = script.metadata
    assert seen["x-parley-sse"] == "1"
    assert seen["x-envoy-original-path"] in {CHAT, f"{CHAT}:stream"}
    assert not set(seen) & {"x-parley-anything", "x-error-type", "x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on"}
    assert not set(seen) & {"grpc-timeout", "grpc-encoding"}


def test_credentials_and_the_rest_reach_the_service(rest: httpx.Client, script: Scratch) -> None:
    sent = {"authorization": "Bearer k", "x-api-key": "k", "x-stainless-lang": "python", "x_under_score": "a"}
    rest.post(CHAT, json={}, headers=sent)
    assert sent.items() <= script.metadata.items()


@pytest.mark.parametrize("given", ["mine-1", "7d4f9e3a-0000-4000-8000-0123456789ab", "ünï"])
def test_the_clients_request_id_is_kept(rest: httpx.Client, script: Scratch, given: str) -> None:
    answer = rest.post(CHAT, json={}, headers={b"x-request-id": given.encode()})
    assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]
    if given.isascii():
        assert answer.headers["x-request-id"] == script.metadata["x-request-id"] == given


def test_a_missing_request_id_is_made(rest: httpx.Client, script: Scratch) -> None:
    answer = rest.post(CHAT, json={})
    assert str(uuid.UUID(answer.headers["x-request-id"])) == answer.headers["x-request-id"]
    assert script.metadata["x-request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("asked", [True, False])
def test_empty_lists_of_unary_answers(rest: httpx.Client, script: Scratch, *, asked: bool) -> None:
    text = '"empty_top_logprobs":null}'

    async def answer(request: Any, context: Context) -> ChatCompletion:
        if asked:
            await context.send_initial_metadata((("x-parley-empty-lists", "1"),))
        completion = ChatCompletion(id="i" * 3_000_000)  # more than any buffer of the connection
        choice = completion.choices.add(index=0)
        choice.logprobs.content.add(token="a", empty_top_logprobs=NULL_VALUE)
        choice.logprobs.content.add(token=text)
        return completion

    script.unary = answer
    response = rest.post(CHAT, json={})
    first, second = response.json()["choices"][0]["logprobs"]["content"]
    assert first == {"token": "a", "top_logprobs": []} if asked else {"token": "a", "empty_top_logprobs": None}
    assert second == {"token": text}
    assert "x-parley-empty-lists" not in response.headers
    assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.parametrize("members", [{"": 1}, {"a": {"": [{"": None}]}}, {"": {"": "x"}, "b": []}])
def test_an_empty_key_is_printed(rest: httpx.Client, script: Scratch, members: dict[str, Any]) -> None:
    async def answer(request: Any, context: Context) -> ChatCompletion:
        return ChatCompletion(id="i", moderation=json_object(members))

    script.unary = answer
    assert rest.post(CHAT, json={"extra_body": members}).json()["moderation"] == members
    assert object_to_json(script.requests[-1].extra_body) == members


def test_browsers_of_configured_origins_may_call(rest: httpx.Client, script: Scratch) -> None:
    preflight = rest.options(
        CHAT,
        headers={
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-lang",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = set(preflight.headers["access-control-allow-headers"].split(","))
    assert {"authorization", "x-api-key", "content-type", "x-request-id", "x-stainless-lang", "x-grpc-web"} <= allowed
    assert "access-control-allow-credentials" not in preflight.headers
    assert script.method == ""

    for body, status in (({}, 200), ({"n": "x"}, 400), ({"stream": True}, 200)):
        answer = rest.post(CHAT, json=body, headers={"origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = set(answer.headers["access-control-expose-headers"].split(","))
        assert {"x-request-id", "retry-after", "x-should-retry", "grpc-status", "grpc-message"} <= exposed


def test_other_origins_may_not(rest: httpx.Client) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in rest.options(CHAT, headers=asked).headers
    assert "access-control-allow-origin" not in rest.post(CHAT, json={}, headers=asked).headers


def test_health_follows_the_service(rest: httpx.Client, service: Service, script: Scratch) -> None:
    for path in ("/healthz", "/readyz"):
        answer = rest.get(path)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("x-envoy-")]
    service.set_serving(serving=False)
    try:
        wait_until(lambda: rest.get("/readyz").status_code == 503, patience_s=3)
        assert rest.get("/readyz").json()["error"]["code"] == "service_unavailable"
        assert rest.get("/healthz").status_code == 200
        for body in ({}, {"stream": True}):
            answer = rest.post(CHAT, json=body)
            assert answer.status_code == 503
            assert answer.json()["error"] == {
                "message": "The service is not available; try again later.",
                "type": "server_error",
                "param": None,
                "code": "service_unavailable",
            }
    finally:
        service.set_serving(serving=True)
    wait_until(lambda: rest.get("/readyz").status_code == 200, patience_s=3)
    assert script.method == ""


def test_the_access_log_has_one_line_and_no_secrets(rest: httpx.Client, gateway: Gateway) -> None:
    headers = {"authorization": "Bearer s3cret", "x-api-key": "s3cret", "x-request-id": "logged-1"}
    rest.post(f"{CHAT}?key=s3cret", json={}, headers=headers)
    rest.post(CHAT, json={"user": "s3cret"}, headers=headers)
    lines: list[dict[str, Any]] = []

    def are_written() -> bool:
        lines[:] = [line for line in gateway.access_log() if line["request_id"] == "logged-1"]
        return len(lines) == 2

    wait_until(are_written)
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", CHAT, 400),
        ("POST", CHAT, 200),
    ]
    assert lines[1]["upstream"]
    assert lines[1]["bytes_sent"] > 0
    assert "s3cret" not in gateway.log_path.read_text()
