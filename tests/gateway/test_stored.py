"""What is stored, over REST: URLs and methods, bodies, empty lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api import annotations_pb2  # type: ignore[import-untyped]  # ships stubs, but no py.typed
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE
from h2.connection import H2Connection

from gateway.urls import PREFIXES, URLS
from service._gen.parley.v1 import chat_service_pb2, model_service_pb2, session_service_pb2
from service._gen.parley.v1.chat_service_pb2 import (
    DeleteChatCompletionRequest,
    ListChatCompletionMessagesResponse,
    ListChatCompletionsResponse,
    StoredChatCompletion,
    UpdateChatCompletionRequest,
)
from service._gen.parley.v1.model_service_pb2 import ListModelsResponse
from service._gen.parley.v1.session_service_pb2 import ListSessionsResponse
from tests.gateway.answers import CHAT
from tests.gateway.conftest import ORIGIN
from tests.gateway.raw_replica import raw_replica
from tests.gateway.scratch import Context, Scratch, running_gateway, wait_until_ready
from tests.gateway.test_errors import INVALID, SECRET, error_of

ONE = f"{CHAT}/chatcmpl-1"
SESSION = "/v1/sessions/s-1"
STREAM = "/v1/chat/completions:stream"


def test_every_annotation_of_the_contract_has_a_route_and_no_other() -> None:
    annotated = set(_annotated())
    routed = {(method, url.template) for url in URLS for method in url.methods}
    assert annotated - routed == {("POST", STREAM)}
    assert routed - annotated == set()


def _annotated() -> Iterator[tuple[str, str]]:
    for module in (chat_service_pb2, model_service_pb2, session_service_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for rpc in service.methods:
                first = rpc.GetOptions().Extensions[annotations_pb2.http]
                for rule in (first, *first.additional_bindings):
                    kind = rule.WhichOneof("pattern")
                    yield kind.upper(), getattr(rule, kind)


@pytest.mark.parametrize(
    ("method", "path", "rpc", "id_"),
    [
        ("GET", ONE, "GetChatCompletion", "chatcmpl-1"),
        ("GET", f"{CHAT}/a%2Fb%20c%3F%23", "GetChatCompletion", "a/b c?#"),
        ("GET", f"{CHAT}/a%2Fmessages", "GetChatCompletion", "a/messages"),
        ("GET", f"{CHAT}/%3Astream", "GetChatCompletion", ":stream"),
        ("GET", f"{CHAT}/messages", "GetChatCompletion", "messages"),
        ("GET", f"{ONE}?", "GetChatCompletion", "chatcmpl-1"),
        ("DELETE", ONE, "DeleteChatCompletion", "chatcmpl-1"),
        ("POST", ONE, "UpdateChatCompletion", "chatcmpl-1"),
        ("POST", f"{CHAT}/%3Astream", "UpdateChatCompletion", ":stream"),
        ("GET", SESSION, "GetSession", "s-1"),
        ("DELETE", SESSION, "DeleteSession", "s-1"),
    ],
)
def test_urls_with_an_id(rest: httpx.Client, script: Scratch, method: str, path: str, rpc: str, id_: str) -> None:
    for prefix in PREFIXES:
        script.reset()
        answer = rest.request(method, prefix + path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert script.method == rpc
        [request] = script.requests
        assert (request.session_id if rpc.endswith("Session") else request.completion_id) == id_
        assert script.metadata["x-parley-sse"] == "1"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (CHAT, "GET, POST"),
        (ONE, "GET, POST, DELETE"),
        (f"{ONE}/messages", "GET"),
        ("/v1/sessions", "GET"),
        (SESSION, "GET, DELETE"),
    ],
)
def test_other_methods_are_refused(rest: httpx.Client, script: Scratch, prefix: str, path: str, allowed: str) -> None:
    for method in {"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"} - set(allowed.split(", ")):
        answer = rest.request(method, prefix + path)
        assert answer.status_code == 405, method
        assert answer.headers["allow"] == allowed
        if method != "HEAD":
            assert error_of(answer)["message"].endswith(f"; allowed: {allowed}.")
    assert script.method == ""


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "path",
    [
        f"{CHAT}/",
        f"{ONE}/",
        f"{ONE}/x",
        f"{ONE}/messages/",
        f"{ONE}/messages/x",
        f"{CHAT}/:stream",
        f"{CHAT}/x:stream",
        f"{ONE}/messages:stream",
        f"{CHAT}/..",
        "/v1/sessions/",
        f"{SESSION}/x",
        f"{SESSION}:x",
        "/v1/sessionsx",
    ],
)
def test_other_urls_are_unknown(rest: httpx.Client, script: Scratch, prefix: str, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = rest.request(method, httpx.URL(rest.base_url, raw_path=(prefix + path).encode()))
        assert answer.status_code == 404
        assert error_of(answer)["code"] == "unknown_url"
    assert script.method == ""


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ONE), ("DELETE", ONE), ("POST", ONE), ("GET", SESSION), ("DELETE", SESSION)]
)
def test_urls_of_one_thing_take_no_query(rest: httpx.Client, script: Scratch, method: str, path: str) -> None:
    error = error_of(rest.request(method, f"{path}?completion_id=s3cret"))
    assert (error["code"], error["param"]) == ("unknown_parameter", None)
    assert script.method == ""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"metadata":{"a":"b","ü=%":""}}', UpdateChatCompletionRequest(metadata={"a": "b", "ü=%": ""})),
        ('{"labels":{"a":"b"}}', UpdateChatCompletionRequest(labels={"a": "b"})),
        ('{"metadata":null}', UpdateChatCompletionRequest()),
        ("{}", UpdateChatCompletionRequest()),
        ("", UpdateChatCompletionRequest()),
        ('{"metadata":{"a":"b"},"stream":true}', UpdateChatCompletionRequest(metadata={"a": "b"})),
        ('{"completion_id":"chatcmpl-1"}', UpdateChatCompletionRequest()),
    ],
)
def test_an_update(rest: httpx.Client, script: Scratch, body: str, expected: UpdateChatCompletionRequest) -> None:
    assert rest.post(ONE, content=body).status_code == 200
    expected.completion_id = "chatcmpl-1"
    assert script.method == "UpdateChatCompletion"
    assert script.requests == [expected]


@pytest.mark.parametrize(
    ("body", "param", "expected"),
    [
        ('{"metadata":["s3cret"]}', "metadata", "expected an object"),
        ('{"labels":["s3cret"]}', "labels", "expected an object"),
        ('{"metadata":"s3cret"}', "metadata", "expected an object"),
        ('{"metadata":{"a":5}}', "metadata", "expected a string"),
        ('{"metadata":{"a":true}}', "metadata", "expected a string"),
        ('{"metadata":{"a":["s3cret"]}}', "metadata", "an array is not expected"),
        ('{"metadata":{"a":"b","a":"s3cret"}}', "metadata", "a key is given twice"),
        ('{"completion_id":"s3cret"}', "completion_id", "the URL says otherwise"),
        ('{"completion_id":["s3cret"]}', "completion_id", "an array is given"),
        ('["s3cret"]', None, "has to be a JSON object"),
        ('{"metadata":{"a":"s3cret}', None, "not valid JSON"),
    ],
)
def test_a_wrong_update_is_refused_by_name(
    rest: httpx.Client, script: Scratch, body: str, param: str | None, expected: str
) -> None:
    answer = rest.post(ONE, content=body)
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["type"], error["param"], error["code"]) == (INVALID, param, "invalid_request_body")
    assert expected in error["message"]
    assert SECRET not in answer.text
    assert script.method == ""


@pytest.mark.parametrize("body", ['{"session_id":"s-2"}', '{"completion_id":"chatcmpl-2"}', "garbage", "[]", "{}  {}"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", CHAT), ("GET", ONE), ("DELETE", ONE), ("GET", f"{ONE}/messages"), ("DELETE", SESSION)],
)
def test_a_body_does_not_overrule_the_url(
    rest: httpx.Client, script: Scratch, method: str, path: str, body: str
) -> None:
    """The transcoder would delete what the body names."""
    answer = rest.request(method, path, content=body)
    assert answer.status_code == 400
    assert error_of(answer)["message"] == "Unexpected request body: this method takes none."
    assert script.method == ""


@pytest.mark.parametrize("body", ["", "{}", " { } "])
def test_an_empty_body_of_a_delete_does_no_harm(rest: httpx.Client, script: Scratch, body: str) -> None:
    answer = rest.request("DELETE", ONE, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert script.requests == [DeleteChatCompletionRequest(completion_id="chatcmpl-1")]


LISTS = [
    ("/v1/models", "ListModels", ListModelsResponse()),
    (CHAT, "ListChatCompletions", ListChatCompletionsResponse(has_more=False)),
    (f"{ONE}/messages", "ListChatCompletionMessages", ListChatCompletionMessagesResponse(has_more=False)),
    ("/v1/sessions", "ListSessions", ListSessionsResponse(has_more=False)),
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("path", "rpc", "message"), LISTS)
def test_an_empty_list_is_printed(
    rest: httpx.Client, script: Scratch, prefix: str, path: str, rpc: str, message: Any
) -> None:
    message.empty_data = NULL_VALUE
    script.stored[rpc] = _with_lists(message)
    answer = rest.get(prefix + path)
    assert answer.json() == {"data": []} if rpc == "ListModels" else {"has_more": False, "data": []}
    assert answer.text.endswith('"data":[]}')
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "x-parley-empty-lists" not in answer.headers


FAKE = '"empty_data":null}'


@pytest.mark.parametrize("asked", [True, False])
def test_nothing_else_is_taken_for_an_empty_list(rest: httpx.Client, script: Scratch, *, asked: bool) -> None:
    stored = StoredChatCompletion(id=FAKE, model=FAKE)
    stored.metadata["empty_data"] = FAKE
    _free_json(stored.moderation)
    _free_json(stored.request.extra_body)
    script.stored["GetChatCompletion"] = _with_lists(stored) if asked else stored
    answer = rest.get(ONE)
    assert answer.json() == {
        "id": FAKE,
        "model": FAKE,
        "metadata": {"empty_data": FAKE},
        "moderation": {"empty_data": None},
        "request": {"extra_body": {"empty_data": None}},
    }
    listed = ListChatCompletionsResponse(object="list", data=[stored], last_id=FAKE)
    script.stored["ListChatCompletions"] = _with_lists(listed) if asked else listed
    assert rest.get(CHAT).json() == {"object": "list", "data": [answer.json()], "last_id": FAKE}


def _free_json(target: Any) -> None:
    target.fields.add(key="empty_data").value.null_value = NULL_VALUE


def _with_lists(message: Message) -> Any:
    """An answer that tells the gateway of empty lists."""

    async def answer(request: Any, context: Context) -> Message:
        await context.send_initial_metadata((("x-parley-empty-lists", "1"),))
        return message

    return answer


def test_failures_of_the_service_have_their_envelope(rest: httpx.Client, script: Scratch) -> None:
    async def fail(request: Any, context: Context) -> None:
        raise AssertionError

    for rpc in script.stored:
        script.stored[rpc] = fail
    for method, path in (("GET", CHAT), ("GET", ONE), ("DELETE", ONE), ("POST", ONE), ("GET", SESSION)):
        answer = rest.request(method, path)
        assert answer.status_code == 500
        assert error_of(answer)["code"] == "internal_error"


def _undecodable(connection: H2Connection, stream: int) -> None:
    """What the service answers to a message that it can't decode; the call has not told its handler anything."""
    status = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "3"), ("grpc-message", "no")]
    told = [("x-error-type", INVALID), ("x-error-code", "invalid_request_body")]
    connection.send_headers(stream, [*status, *told], end_stream=True)


def test_an_object_among_labels_is_named(tmp_path: Path) -> None:
    """The transcoder lets it pass, and the service can't decode what it makes of it, nor say where."""
    cases = [
        (ONE, '{"metadata":{"b":"x","a":{"s3cret":1}}}', "metadata"),
        (ONE, '{"labels":{"a":{}}}', "labels"),
        (CHAT, '{"messages":[{"content":{"a":{}}}],"metadata" : {"a": {"s3cret":1}}}', "metadata"),
        (CHAT, '{"tools":[{}],"stream":true,"labels":{"a":{"s3cret":1}}}', "labels"),
        (CHAT, '{"extra_body":{"metadata":{"a":{}}},"user":"metadata"}', None),
        (CHAT, '{"metadata":{"a":"metadata"},"messages":[{"content":{"a":{}}}]}', None),
    ]
    with raw_replica(_undecodable, after_body=True) as replica, running_gateway(tmp_path, replica.address) as gateway:
        wait_until_ready(gateway)
        with httpx.Client(base_url=f"http://{gateway.address}", timeout=20) as rest:
            for path, body, param in cases:
                answer = rest.post(path, content=body)
                assert answer.status_code == 400
                error = error_of(answer)
                assert (error["param"], error["code"]) == (param, "invalid_request_body")
                assert ("an object is not expected as a value" in error["message"]) == (param is not None)
                assert SECRET not in answer.text


def test_browsers_may_delete_and_see_the_arm(rest: httpx.Client) -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "DELETE"}
    preflight = rest.options(ONE, headers=asked)
    assert preflight.status_code == 200
    assert "DELETE" in preflight.headers["access-control-allow-methods"].split(",")
    answer = rest.delete(ONE, headers={"origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "x-parley-arm" in answer.headers["access-control-expose-headers"].split(",")
