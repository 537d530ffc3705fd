"""Bad input: a clear error that names the parameter, on every face; nothing crashes, hangs or leaks."""

from __future__ import annotations

import json
import math
import socket
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from tests.conftest import KEY
from tests.support.faces import FACES, Face, ask, grpc_failure
from tests.support.json_form import to_proto
from tests.support.stack import Stack

USER = {"role": "user", "content": "Hello"}
CANARY = "CANARY-prompt-text"
UUID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
TOOL = {"type": "function", "function": {"name": "f"}}

# What the service refuses: the same error on every face.
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no model": ({"model": None}, "model", "missing_required_parameter"),
    "empty model": ({"model": ""}, "model", "missing_required_parameter"),
    "unknown model": ({"model": "nope"}, "model", "model_not_found"),
    "no messages": ({"messages": None}, "messages", "missing_required_parameter"),
    "empty messages": ({"messages": []}, "messages", "missing_required_parameter"),
    "empty message": ({"messages": [{}]}, "messages[0].role", "missing_required_parameter"),
    "unknown role": ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "invalid_value"),
    "role of another case": ({"messages": [{"role": "User", "content": "x"}]}, "messages[0].role", "invalid_value"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    "null content": (
        {"messages": [USER, {"role": "user", "content": None}]},
        "messages[1].content",
        "missing_required_parameter",
    ),
    "assistant without anything": (
        {"messages": [USER, {"role": "assistant"}]},
        "messages[1].content",
        "missing_required_parameter",
    ),
    "content a number": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_value"),
    "content a boolean": ({"messages": [{"role": "user", "content": True}]}, "messages[0].content", "invalid_value"),
    "content an object": (
        {"messages": [{"role": "user", "content": {"type": "text", "text": CANARY}}]},
        "messages[0].content",
        "invalid_value",
    ),
    "content an empty array": (
        {"messages": [{"role": "user", "content": []}]},
        "messages[0].content",
        "missing_required_parameter",
    ),
    "a part that is a string": (
        {"messages": [{"role": "user", "content": [CANARY]}]},
        "messages[0].content[0]",
        "invalid_value",
    ),
    "a part without a type": (
        {"messages": [{"role": "user", "content": [{"text": CANARY}]}]},
        "messages[0].content[0].type",
        "missing_required_parameter",
    ),
    "an unknown part type": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "hologram"}]}]},
        "messages[0].content[1].type",
        "invalid_value",
    ),
    "a text part without text": (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
        "missing_required_parameter",
    ),
    "an image that is a string": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y.png"}]}]},
        "messages[0].content[0].image_url",
        "invalid_value",
    ),
    "an image without a url": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].image_url.url",
        "missing_required_parameter",
    ),
    "a tool message without an id": (
        {"messages": [{"role": "tool", "content": "x"}]},
        "messages[0].tool_call_id",
        "missing_required_parameter",
    ),
    "a tool call without a name": (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {}}]}]},
        "messages[0].tool_calls[0].function.name",
        "missing_required_parameter",
    ),
    "temperature below": ({"temperature": -0.1}, "temperature", "invalid_value"),
    "temperature above": ({"temperature": 2.1}, "temperature", "invalid_value"),
    "temperature NaN": ({"temperature": "NaN"}, "temperature", "invalid_value"),
    "temperature infinite": ({"temperature": "Infinity"}, "temperature", "invalid_value"),
    "top_p above": ({"top_p": 1.1}, "top_p", "invalid_value"),
    "top_p below": ({"top_p": -0.1}, "top_p", "invalid_value"),
    "max_tokens negative": ({"max_tokens": -1}, "max_tokens", "invalid_value"),
    "two limits": ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens", "invalid_value"),
    "five stops": ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
    "an empty stop": ({"stop": ["a", ""]}, "stop[1]", "invalid_value"),
    "n negative": ({"n": -1}, "n", "invalid_value"),
    "n too large": ({"n": 129}, "n", "invalid_value"),
    "presence_penalty": ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value"),
    "frequency_penalty": ({"frequency_penalty": -2.5}, "frequency_penalty", "invalid_value"),
    "logit_bias value": ({"logit_bias": {"1": 101}}, "logit_bias", "invalid_value"),
    "logit_bias key": ({"logit_bias": {"word": 1}}, "logit_bias", "invalid_value"),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
    "top_logprobs without logprobs": ({"top_logprobs": 2}, "logprobs", "invalid_value"),
    "function_call a number": ({"function_call": 5}, "function_call", "invalid_value"),
    "function_call of a function that is not there": (
        {"function_call": {"name": "f"}},
        "function_call.name",
        "invalid_value",
    ),
    "reasoning_effort": ({"reasoning_effort": "extreme"}, "reasoning_effort", "invalid_value"),
    "verbosity": ({"verbosity": "loud"}, "verbosity", "invalid_value"),
    "modalities": ({"modalities": ["smell"]}, "modalities[0]", "invalid_value"),
    "user too long": ({"user": "x" * 257}, "user", "invalid_value"),
    "a tool of an unknown type": ({"tools": [{"type": "hammer"}]}, "tools[0].type", "invalid_value"),
    "a tool without a function": ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
    "a function without a name": (
        {"tools": [{"type": "function", "function": {"name": ""}}]},
        "tools[0].function.name",
        "missing_required_parameter",
    ),
    "a function with a wrong name": (
        {"tools": [{"type": "function", "function": {"name": "get weather"}}]},
        "tools[0].function.name",
        "invalid_value",
    ),
    "two tools of one name": ({"tools": [TOOL, TOOL]}, "tools[1].function.name", "invalid_value"),
    "a schema with an unknown type": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "thing"}}}]},
        "tools[0].function.parameters.type",
        "invalid_value",
    ),
    "a schema whose properties are an array": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": []}}}]},
        "tools[0].function.parameters.properties",
        "invalid_value",
    ),
    "tool_choice of another word": ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice", "invalid_value"),
    "tool_choice a number": ({"tools": [TOOL], "tool_choice": 1}, "tool_choice", "invalid_value"),
    "tool_choice of a tool that is not there": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice.function.name",
        "invalid_value",
    ),
    "allowed tools of which one is not there": (
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [TOOL, {"type": "function", "function": {"name": "g"}}],
                },
            },
        },
        "tool_choice.allowed_tools.tools[1]",
        "invalid_value",
    ),
    "response_format": ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    "response_format without a type": ({"response_format": {}}, "response_format.type", "missing_required_parameter"),
    "json_schema without one": (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
    ),
    "json_schema without a name": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
        "response_format.json_schema.name",
        "invalid_value",
    ),
    "extra_body with a contract field": ({"extra_body": {"model": "x"}}, "extra_body.model", "invalid_value"),
    "store where nothing is stored": ({"store": True}, "store", "unsupported_parameter"),
    "metadata beside other labels": ({"metadata": {"a": "b"}, "labels": {"a": "c"}}, "metadata", "invalid_value"),
    "metadata too long": ({"metadata": {"a": "b" * 513}}, "metadata", "invalid_value"),
    "a label without a name": ({"labels": {"": "b"}}, "labels", "invalid_value"),
    "too many labels": ({"labels": {str(number): "" for number in range(17)}}, "labels", "invalid_value"),
    "an empty tag": ({"tags": ["a", ""]}, "tags[1]", "invalid_value"),
    "too many tags": ({"tags": ["a"] * 65}, "tags", "invalid_value"),
    "a session that is no UUID": ({"session_id": CANARY}, "session_id", "invalid_value"),
    "a user with a NUL": ({"user": f"{CANARY}\0"}, "user", "invalid_value"),
    "a campaign of no project": ({"ab_campaign": CANARY}, "ab_campaign", "campaign_not_found"),
    "a negative max_ttft_ms": ({"max_ttft_ms": -1}, "max_ttft_ms", "invalid_value"),
    "on_disconnect of no such kind": ({"on_disconnect": "stay"}, "on_disconnect", "invalid_value"),
    "use_tools without a project": ({"use_tools": True}, "use_tools", "invalid_value"),
    "system_prompt_args without a system prompt": (
        {"system_prompt_args": {CANARY: 1}},
        "system_prompt_args",
        "invalid_value",
    ),
    "provider_content of a user": (
        {"messages": [{**USER, "provider_content": [{"format": "anthropic"}]}]},
        "messages[0].provider_content",
        "invalid_value",
    ),
    "refusal of a user": ({"messages": [{**USER, "refusal": "no"}]}, "messages[0].refusal", "invalid_value"),
    "function_call of a user": (
        {"messages": [{**USER, "function_call": {"name": "f", "arguments": "{}"}}]},
        "messages[0].function_call",
        "invalid_value",
    ),
    "prefix of a user": ({"messages": [{**USER, "prefix": True}]}, "messages[0].prefix", "invalid_value"),
    "is_error of a user": ({"messages": [{**USER, "is_error": True}]}, "messages[0].is_error", "invalid_value"),
    "a provider's tool without it": (
        {"tools": [{"type": "provider"}]},
        "tools[0].provider",
        "missing_required_parameter",
    ),
    "a server-side tool of no project": (
        {"tools": [{"id": CANARY, "enabled": True}]},
        "tools[0].id",
        "tool_not_found",
    ),
    "a switch that does not say which way": (
        {"tools": [{"id": "x"}]},
        "tools[0].enabled",
        "missing_required_parameter",
    ),
    "a switch of a function": ({"tools": [{"id": "x", "enabled": True, **TOOL}]}, "tools[0].type", "invalid_value"),
    "an answer's id that is no UUID": (
        {"messages": [USER, {"role": "assistant", "completion_id": CANARY}]},
        "messages[1].completion_id",
        "invalid_value",
    ),
    "an answer's id of a user's message": (
        {"messages": [{"role": "user", "completion_id": UUID}]},
        "messages[0].completion_id",
        "invalid_value",
    ),
    "an answer's id where nothing is stored": (
        {"messages": [USER, {"role": "assistant", "completion_id": UUID}]},
        "messages[1].completion_id",
        "unsupported_parameter",
    ),
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("change", "param", "code"), REFUSED.values(), ids=REFUSED)
def test_what_the_service_refuses_is_the_same_error_on_every_face(
    stack: Stack,
    face: Face,
    stream: bool,  # noqa: FBT001 - a column of the table
    change: dict[str, Any],
    param: str,
    code: str,
) -> None:
    body = {"model": "echo", "messages": [USER], "stream": stream} | change
    outcome = ask(stack, face, {name: value for name, value in body.items() if value is not None})

    assert outcome.failure is not None
    status = 404 if code.endswith("_not_found") else 400
    failure = outcome.failure
    assert (failure.http_status, failure.type, failure.code, failure.param) == (
        status,
        "invalid_request_error",
        code,
        param,
    )
    assert f"`{param.partition('.')[0]}" in failure.message or status == 404  # then it tells what there is not
    assert CANARY not in str(outcome)


def _post(stack: Stack, content: bytes, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{stack.url}/v1/chat/completions",
        content=content,
        headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"} | headers,
        timeout=30,
    )


def _envelope(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert isinstance(body["error"]["message"], str)
    text = response.text
    assert CANARY not in text
    for leak in ("Traceback", "google.protobuf", "grpc.", ".py", "Exception"):
        assert leak not in text
    return body["error"]  # type: ignore[no-any-return]


# What Envoy refuses when it makes a message of the body: the path stands at least in the message.
WRONG_TYPES: dict[str, tuple[str, str]] = {
    "model a number in an object": ('{"model":{},"messages":[]}', "model"),
    "messages a string": (f'{{"model":"echo","messages":"{CANARY}"}}', "messages"),
    "a message a string": (f'{{"model":"echo","messages":["{CANARY}"]}}', "messages"),
    "role an object": ('{"model":"echo","messages":[{"role":{}}]}', "role"),
    "temperature a word": ('{"model":"echo","messages":[],"temperature":"hot"}', "temperature"),
    "temperature an object": ('{"model":"echo","messages":[],"temperature":{}}', "temperature"),
    "top_p a boolean": ('{"model":"echo","messages":[],"top_p":true}', "top_p"),
    "max_tokens a fraction": ('{"model":"echo","messages":[],"max_tokens":1.5}', "max_tokens"),
    "max_tokens too large": ('{"model":"echo","messages":[],"max_tokens":99999999999}', "max_tokens"),
    "n a word": ('{"model":"echo","messages":[],"n":"two"}', "n"),
    "stop an object": ('{"model":"echo","messages":[],"stop":{"a":1}}', "stop"),
    "tools a string": ('{"model":"echo","messages":[],"tools":"x"}', "tools"),
    "a tool a number": ('{"model":"echo","messages":[],"tools":[5]}', "tools"),
    "parameters an array": (
        '{"model":"echo","messages":[],"tools":[{"function":{"name":"f","parameters":[]}}]}',
        "tools[0].function",  # Envoy names the place that has the array, not its member
    ),
    "schema a string": (
        '{"model":"echo","messages":[],"response_format":{"json_schema":{"schema":"x"}}}',
        "schema",
    ),
    "stream_options a boolean": ('{"model":"echo","messages":[],"stream_options":true}', "stream_options"),
    "logit_bias an array": ('{"model":"echo","messages":[],"logit_bias":[1]}', "logit_bias"),
    "stream a number": ('{"model":"echo","messages":[],"stream":5}', "stream"),
    "user an object": ('{"model":"echo","messages":[],"user":{}}', "user"),
}


@pytest.mark.parametrize(("body", "name"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_wrong_type_is_a_400_that_names_the_field(stack: Stack, body: str, name: str) -> None:
    response = _post(stack, body.encode())

    assert response.status_code == 400
    error = _envelope(response)
    assert error["type"] == "invalid_request_error"
    assert name in error["message"]
    assert error["param"] is None or name in error["param"]


BROKEN: dict[str, bytes] = {
    "truncated": b'{"model":"echo","messages":[{"role":"user","content":"' + CANARY.encode(),
    "not JSON": CANARY.encode(),
    "a trailing comma": b'{"model":"echo",}',
    "a trailing comma where a stream is wanted": b'{"model":"echo","messages":[{"role":"user","content":"x"}],"stream":true,}',
    "two documents": b'{"model":"echo"}{"model":"echo"}',
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"5",
    "null": b"null",
    "empty": b"",
    "white space": b"  \n ",
    "invalid UTF-8 in a string": b'{"model":"echo","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "invalid UTF-8 outside": b'\xff{"model":"echo"}',
    "a lone surrogate": b'{"model":"echo","messages":[{"role":"user","content":"\\ud800"}]}',
    "NaN": b'{"model":"echo","messages":[],"temperature":NaN}',
    "nested 60 deep": b'{"model":"echo","messages":[{"role":"user","content":' + b"[" * 60 + b"]" * 60 + b"}]}",
    "nested 99 deep": b'{"model":"echo","messages":[{"role":"user","content":' + b"[" * 99 + b"]" * 99 + b"}]}",
    "nested 10,000 deep": b'{"messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "schema nested 80 deep": b'{"model":"echo","messages":[{"role":"user","content":"x"}],"extra_body":'
    + b'{"a":' * 80
    + b"1"
    + b"}" * 80
    + b"}",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_body_that_is_no_request_is_a_400(stack: Stack, body: bytes) -> None:
    response = _post(stack, body)

    assert response.status_code == 400
    assert _envelope(response)["type"] == "invalid_request_error"


def test_a_body_of_33_mib_is_a_413(stack: Stack) -> None:
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "x" * (33 * 2**20)}]})
    response = _post(stack, body.encode())

    assert response.status_code == 413
    assert "32" in _envelope(response)["message"]


def test_a_body_of_20_mib_is_answered(stack: Stack) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (20 * 2**20)}}
    content = [{"type": "text", "text": "what is it?"}, image]
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": content}]})
    response = _post(stack, body.encode())

    assert response.status_code == 200
    assert json.loads(response.json()["choices"][0]["message"]["content"]) == content


@pytest.mark.parametrize(("value", "status"), [('"true"', 400), ('"false"', 200), ("1", 400), ("[]", 400), ("{}", 400)])
def test_stream_that_is_no_boolean_never_gives_a_stream(stack: Stack, value: str, status: int) -> None:
    body = f'{{"model":"echo","messages":[{{"role":"user","content":"x"}}],"stream":{value}}}'
    response = _post(stack, body.encode())

    assert response.status_code == status
    if status == 400:
        assert "stream" in _envelope(response)["message"]
    else:
        assert response.json()["object"] == "chat.completion"


def test_stream_as_a_string_names_the_parameter(stack: Stack) -> None:
    response = _post(stack, b'{"model":"echo","messages":[{"role":"user","content":"x"}],"stream":"true"}')

    assert _envelope(response)["param"] == "stream"


# What ProtoJSON takes leniently, and what comes of it.
LENIENT: dict[str, tuple[str, str]] = {
    "a number in a string": ('{"model":"echo","messages":[{"role":"user","content":"x"}],"temperature":"0.5"}', "x"),
    "one message in place of a list": ('{"model":"echo","messages":{"role":"user","content":"x"}}', "x"),
    "one string in place of a list": (
        '{"model":"echo","messages":[{"role":"user","content":"x"}],"stop":"END"}',
        "x",
    ),
    "a repeated key of a list concatenates": (
        '{"model":"echo","messages":[{"role":"user","content":"x"}],"messages":[{"role":"user","content":"y"}]}',
        "y",
    ),
    "of a repeated scalar the last holds": (
        '{"model":"nope","model":"echo","messages":[{"role":"user","content":"x"}]}',
        "x",
    ),
    "an unknown field is dropped": (
        '{"model":"echo","messages":[{"role":"user","content":"x"}],"no_such_field":{"a":[1]}}',
        "x",
    ),
    "null is absent": ('{"model":"echo","messages":[{"role":"user","content":"x","name":null}],"n":null}', "x"),
    "a camel-case name": ('{"model":"echo","messages":[{"role":"user","content":"x"}],"maxTokens":5}', "x"),
    "white space around": ('  {"model":"echo","messages":[{"role":"user","content":"x"}]}  \n', "x"),
}


@pytest.mark.parametrize(("body", "text"), LENIENT.values(), ids=LENIENT)
def test_what_is_taken_leniently_is_harmless(stack: Stack, body: str, text: str) -> None:
    response = _post(stack, body.encode())

    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == text


@pytest.mark.parametrize("pair", ["true,false", "false,true"])
def test_a_repeated_stream_key_gives_an_answer_or_an_error_that_names_it(stack: Stack, pair: str) -> None:
    first, second = pair.split(",")
    body = f'{{"model":"echo","stream":{first},"messages":[{{"role":"user","content":"x"}}],"stream":{second}}}'
    response = _post(stack, body.encode())

    if response.status_code == 200:
        is_stream = response.headers["content-type"] == "text/event-stream"
        assert is_stream == (second == "true")
    else:
        assert response.status_code == 400
        assert _envelope(response)["param"] == "stream"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain", "", "application/x-foo"])
@pytest.mark.parametrize("stream", ["true", "false"])
def test_any_content_type_is_read_as_json(stack: Stack, content_type: str, stream: str) -> None:
    body = f'{{"model":"echo","messages":[{{"role":"user","content":"x"}}],"stream":{stream}}}'
    response = _post(stack, body.encode(), **{"content-type": content_type})

    assert response.status_code == 200
    assert (response.headers["content-type"] == "text/event-stream") == (stream == "true")


UNKNOWN_PLACES = [
    ("GET", "/", 404),
    ("GET", "/v1", 404),
    ("POST", "/v1/embeddings", 404),
    ("POST", "/v1/chat/completions/", 404),
    ("POST", "/v1/chat/completions:stream", 404),
    ("POST", "/api/v1/chat/completions:stream", 404),
    ("POST", "/v1/chat/completions%3Astream", 404),
    ("POST", "/v1/chat/../chat/completions:stream", 404),
    ("POST", "//v1/chat/completions:stream", 404),
    ("POST", "/parley.v1.ChatService/StreamChatCompletion", 404),
    ("PUT", "/v1/chat/completions", 405),
    ("DELETE", "/v1/chat/completions", 405),
    ("POST", "/v1/models", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), UNKNOWN_PLACES)
def test_an_unknown_path_or_method_is_an_envelope(stack: Stack, method: str, path: str, status: int) -> None:
    host, port = stack.http_address.split(":")
    body = '{"model":"echo","messages":[{"role":"user","content":"x"}],"stream":true}'
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    head, _, text = answer.partition("\r\n\r\n")
    assert head.split(" ")[1] == str(status), answer
    error = json.loads(text[text.index("{") : text.rindex("}") + 1])["error"]
    assert error["type"] == "invalid_request_error"


def test_stream_options_without_a_stream_are_refused(stack: Stack) -> None:
    body = {"model": "echo", "messages": [USER], "stream_options": {"include_usage": True}}
    for face in FACES:
        outcome = ask(stack, face, body)
        assert outcome.failure is not None
        assert (outcome.failure.code, outcome.failure.param) == ("invalid_value", "stream_options")


@pytest.mark.parametrize("kib", [10, 20, 40, 55])
def test_large_headers_are_taken(stack: Stack, kib: int) -> None:
    response = httpx.get(f"{stack.url}/v1/models", headers={"x-api-key": KEY, "x-big": "x" * kib * 1024})

    assert response.status_code == 200


def test_headers_beyond_60_kib_are_a_431(stack: Stack) -> None:
    response = httpx.get(f"{stack.url}/v1/models", headers={"x-api-key": KEY, "x-big": "x" * 70 * 1024})

    assert response.status_code == 431
    _envelope(response)


def test_binary_metadata_of_rest_clients_is_left_out(stack: Stack) -> None:
    response = httpx.get(f"{stack.url}/v1/models", headers={"x-api-key": KEY, "foo-bin": "!!!"})

    assert response.status_code == 200


def test_a_client_of_http_1_0_is_answered(stack: Stack) -> None:
    host, port = stack.http_address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET /v1/models HTTP/1.0\r\nx-api-key: {KEY}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    assert answer.startswith(("HTTP/1.0 200", "HTTP/1.1 200"))
    assert '"object":"list"' in answer


def test_a_request_of_200_000_messages_is_refused(stack: Stack) -> None:
    body = '{"model":"echo","messages":[' + ",".join(['{"role":"user"}'] * 200_000) + "]}"
    response = _post(stack, body.encode())

    assert response.status_code == 400
    assert _envelope(response)["param"] == "messages"


def test_an_unknown_query_parameter_is_a_400(stack: Stack) -> None:
    response = httpx.get(f"{stack.url}/v1/models?foo=bar", headers={"x-api-key": KEY})

    assert response.status_code == 400
    _envelope(response)


def _raw_call(stack: Stack, face: Face, raw: bytes) -> grpc.RpcError:
    with stack.channel(through_gateway=face == "grpc-envoy") as channel:
        call: Any = channel.unary_unary("/parley.v1.ChatService/CreateChatCompletion")
        with pytest.raises(grpc.RpcError) as caught:
            call(raw, metadata=(("x-api-key", KEY),), timeout=30)
        return caught.value


def _deep(levels: int) -> bytes:
    request = to_proto({"model": "echo", "messages": [USER]})
    value = request.messages[0].content
    for _ in range(levels):
        value = value.list_value.values.add()
    value.string_value = CANARY
    return request.SerializeToString()


@pytest.mark.parametrize("face", ["grpc", "grpc-envoy"])
@pytest.mark.parametrize(
    "raw",
    [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", _deep(60), b"\x0a\x05ab"],
    ids=["garbage", "invalid UTF-8", "nested 60 deep", "truncated"],
)
def test_what_cannot_be_decoded_is_the_callers_error(stack: Stack, face: Face, raw: bytes) -> None:
    error = _raw_call(stack, face, raw)

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert grpc_failure(error).code == "invalid_request_body"
    assert "Decode" not in str(error)


@pytest.mark.parametrize("face", ["grpc", "grpc-envoy"])
def test_a_grpc_message_over_32_mib_is_refused(stack: Stack, face: Face) -> None:
    request = ChatCompletionRequest(model="echo")
    request.messages.add(role="user").content.string_value = "x" * (33 * 2**20)

    error = _raw_call(stack, face, request.SerializeToString())

    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("face", ["grpc", "grpc-envoy"])
def test_a_number_that_json_cannot_say_is_refused(stack: Stack, face: Face) -> None:
    request = to_proto({"model": "echo", "messages": [USER], "tools": [TOOL], "extra_body": {"x": 1}})
    request.extra_body.fields[0].value.number_value = math.nan

    error = _raw_call(stack, face, request.SerializeToString())

    assert grpc_failure(error).param == "extra_body"


@pytest.mark.parametrize("face", ["grpc", "grpc-envoy"])
def test_a_stream_asked_of_the_unary_rpc_is_refused(stack: Stack, face: Face) -> None:
    request = to_proto({"model": "echo", "messages": [USER], "stream": True})

    assert grpc_failure(_raw_call(stack, face, request.SerializeToString())).param == "stream"


@pytest.mark.parametrize("face", ["grpc", "grpc-envoy"])
def test_content_and_parts_together_are_refused(stack: Stack, face: Face) -> None:
    request = to_proto({"model": "echo", "messages": [USER]})
    request.messages[0].parts.add(type="text", text=CANARY)

    failure = grpc_failure(_raw_call(stack, face, request.SerializeToString()))

    assert (failure.param, CANARY in failure.message) == ("messages[0].parts", False)
