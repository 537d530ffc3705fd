"""What the official Python client raises for each failure."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.conftest import KEY
from tests.support.openai_sdk import (
    HELLO,
    check_headers,
    error_body,
)
from tests.support.upstream import FakeUpstream, Script, chunk


@dataclass
class Failure:
    """A request that fails, and the exception that it fails with."""

    error: type[openai.APIStatusError]
    status: int
    code: str
    param: str | None = None
    type: str = "invalid_request_error"
    request: dict[str, Any] = field(default_factory=dict)
    script: Script | None = None
    key: str = KEY
    headers: dict[str, str] = field(default_factory=dict)


SERVER = "server_error"
FAILURES = {
    "a value out of range": Failure(
        openai.BadRequestError, 400, "invalid_value", "temperature", request={"temperature": 2.1}
    ),
    "no messages": Failure(
        openai.BadRequestError, 400, "missing_required_parameter", "messages", request={"messages": []}
    ),
    "a part of an unknown type": Failure(
        openai.BadRequestError,
        400,
        "invalid_value",
        "messages[0].content[0].type",
        request={"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
    ),
    "a wrong type": Failure(openai.BadRequestError, 400, "invalid_request_body", "top_p", request={"top_p": "high"}),
    "an answer that is to be stored where nothing is": Failure(
        openai.BadRequestError, 400, "unsupported_parameter", "store", request={"store": True}
    ),
    "the provider refuses": Failure(
        openai.BadRequestError, 400, "upstream_rejected", script=Script(status=400, body=error_body("x"))
    ),
    "the provider can't process it": Failure(
        openai.BadRequestError, 400, "upstream_rejected", script=Script(status=422, body=error_body("x"))
    ),
    "too long a context": Failure(
        openai.BadRequestError,
        400,
        "context_length_exceeded",
        "messages",
        script=Script(status=400, body=error_body("context_length_exceeded")),
    ),
    "a wrong key": Failure(openai.AuthenticationError, 401, "invalid_api_key", key="wrong"),
    "an unknown model": Failure(openai.NotFoundError, 404, "model_not_found", "model", request={"model": "no/such"}),
    "a model that the provider does not know": Failure(
        openai.NotFoundError, 404, "model_not_found", "model", script=Script(status=404, body=error_body("x"))
    ),
    "a rate limit": Failure(
        openai.RateLimitError,
        429,
        "rate_limit_exceeded",
        type="rate_limit_error",
        script=Script(status=429, body=error_body("rate_limit_exceeded"), headers={"retry-after": "7"}),
        headers={"retry-after": "7", "retry-after-ms": "7000"},
    ),
    "no credit": Failure(
        openai.RateLimitError,
        429,
        "insufficient_quota",
        type="insufficient_quota",
        script=Script(status=429, body=error_body("insufficient_quota")),
        headers={"x-should-retry": "false"},
    ),
    "the service's own credentials": Failure(
        openai.InternalServerError,
        502,
        "upstream_auth_failed",
        type=SERVER,
        script=Script(status=401, body=error_body("invalid_api_key")),
        headers={"x-should-retry": "false"},
    ),
    "nonsense": Failure(
        openai.InternalServerError, 502, "upstream_malformed", type=SERVER, script=Script(status=302, body=b"")
    ),
    "an overload": Failure(
        openai.InternalServerError, 503, "upstream_unavailable", type=SERVER, script=Script(status=500, body=b"CANARY")
    ),
    "nobody there": Failure(
        openai.InternalServerError, 503, "upstream_unavailable", type=SERVER, request={"model": "dead"}
    ),
    "a slow provider": Failure(
        openai.InternalServerError, 504, "upstream_timeout", type=SERVER, script=Script(status=504, body=b"")
    ),
}


def _request(failure: Failure, **more: Any) -> dict[str, Any]:
    user = {"user": failure.script.user} if failure.script else {}
    return {"model": "echo", "messages": HELLO} | user | failure.request | more


def _check_failure(error: openai.APIStatusError, failure: Failure, request_id: str) -> None:
    assert type(error) is failure.error
    assert error.status_code == failure.status
    assert (error.type, error.code, error.param) == (failure.type, failure.code, failure.param)
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert isinstance(error.body["message"], str)
    assert error.body["message"]
    if failure.param and failure.script is None:
        assert failure.param.partition(".")[0] in error.body["message"]
    assert "CANARY" not in str(error)
    assert error.request_id == request_id
    assert error.response.headers["content-type"] == "application/json"
    check_headers(error.response.headers)
    hints = {name: value for name, value in error.response.headers.items() if "retry" in name}
    assert hints == failure.headers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_is_the_right_exception(
    client: OpenAI,
    upstream: FakeUpstream,
    failure: Failure,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    request_id = str(uuid.uuid4())
    asking = client.with_options(api_key=failure.key, default_headers={"x-request-id": request_id})
    with upstream.scripted(failure.script or Script()), pytest.raises(openai.APIStatusError) as caught:
        asking.chat.completions.create(**_request(failure, stream=stream))

    _check_failure(caught.value, failure, request_id)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_a_failure_is_the_right_exception_async(
    async_client: AsyncOpenAI, upstream: FakeUpstream, failure: Failure
) -> None:
    request_id = str(uuid.uuid4())
    asking = async_client.with_options(api_key=failure.key, default_headers={"x-request-id": request_id})
    with upstream.scripted(failure.script or Script()), pytest.raises(openai.APIStatusError) as caught:
        await asking.chat.completions.create(**_request(failure))

    _check_failure(caught.value, failure, request_id)


def test_a_wrong_key_lists_no_models(client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="wrong").models.list()

    assert caught.value.code == "invalid_api_key"


def _check_interruption(error: openai.APIError) -> None:
    assert type(error) is openai.APIError
    assert (error.type, error.code, error.param) == ("server_error", "upstream_interrupted", None)
    assert error.message == "The provider broke off before the answer was complete."


def test_a_stream_that_breaks_off_raises_after_its_chunks(client: OpenAI, upstream: FakeUpstream) -> None:
    gate = threading.Event()
    events = [chunk("a"), chunk("b"), chunk("c")]
    with upstream.scripted(Script(events=events, ending="cut", gates={2: gate})) as script:
        stream = client.chat.completions.create(model="echo", messages=HELLO, stream=True, user=script.user)
        texts = [next(stream).choices[0].delta.content for _ in range(3)]
        assert texts == ["", "a", "b"]
        gate.set()
        with pytest.raises(openai.APIError) as caught:
            texts += [part.choices[0].delta.content for part in stream]

    _check_interruption(caught.value)


async def test_a_stream_that_breaks_off_raises_after_its_chunks_async(
    async_client: AsyncOpenAI, upstream: FakeUpstream
) -> None:
    gate = threading.Event()
    events = [chunk("a"), chunk("b")]
    with upstream.scripted(Script(events=events, ending="cut", gates={1: gate})) as script:
        stream = await async_client.chat.completions.create(model="echo", messages=HELLO, stream=True, user=script.user)
        texts = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
        assert texts == ["", "a"]
        gate.set()
        with pytest.raises(openai.APIError) as caught:
            texts += [part.choices[0].delta.content async for part in stream]

    _check_interruption(caught.value)


def test_the_stream_helper_raises_too(client: OpenAI, upstream: FakeUpstream) -> None:
    with (
        upstream.scripted(Script(events=[chunk("a")], ending="cut")) as script,
        client.chat.completions.stream(model="echo", messages=HELLO, user=script.user) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        stream.until_done()

    _check_interruption(caught.value)
