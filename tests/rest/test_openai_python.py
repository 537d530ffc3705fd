"""The official Python client, unchanged, against the real gateway, service and embedded model."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any, cast

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolUnionParam

from tests.conftest import SCRIPTED_MODELS, SEED_MODELS
from tests.support.openai_sdk import (
    ARGUMENTS,
    CALLS,
    HELLO,
    PARIS,
    WEATHER,
    Answer,
    GetWeather,
    Place,
    check_headers,
    check_stream,
    text_of,
)
from tests.support.stack import Stack
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk


def test_an_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="smollm2", messages=PARIS, seed=1)

    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "smollm2"
    assert type(answer.created) is int
    [choice] = answer.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert "Paris" in (choice.message.content or "")
    assert choice.message.tool_calls is None
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_an_answer_async(async_client: AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model="smollm2", messages=PARIS, seed=1)

    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", SEED_MODELS)
def test_an_alias_answers_under_its_own_name(client: OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=PARIS, seed=1)

    assert answer.model == model
    assert "Paris" in (answer.choices[0].message.content or "")


def test_a_stream(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="smollm2", messages=PARIS, seed=1, stream=True))

    check_stream(chunks, "smollm2")
    assert len(chunks) > 4
    assert "Paris" in text_of(chunks)
    assert [part.usage for part in chunks] == [None] * len(chunks)


async def test_a_stream_async(async_client: AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(model="smollm2", messages=PARIS, seed=1, stream=True)
    chunks = [part async for part in stream]

    check_stream(chunks, "smollm2")
    assert "Paris" in text_of(chunks)
    assert [part.usage for part in chunks] == [None] * len(chunks)


def _check_usage_chunk(chunks: list[ChatCompletionChunk]) -> None:
    last = chunks.pop()
    check_stream(chunks, "smollm2")
    assert [part.usage for part in chunks] == [None] * len(chunks)
    assert (last.choices, last.id, last.model) == ([], chunks[0].id, "smollm2")
    assert last.usage is not None
    counts = (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens)
    assert [type(count) for count in counts] == [int, int, int]
    assert counts[0] > 0
    assert counts[1] > 0
    assert counts[2] == counts[0] + counts[1]


def test_include_usage_adds_one_last_chunk(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="smollm2", messages=PARIS, seed=1, stream=True, stream_options={"include_usage": True}
    )

    _check_usage_chunk(list(stream))


async def test_include_usage_adds_one_last_chunk_async(async_client: AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model="smollm2", messages=PARIS, seed=1, stream=True, stream_options={"include_usage": True}
    )

    _check_usage_chunk([part async for part in stream])


@pytest.mark.parametrize("stream", [False, True])
def test_the_token_limit_ends_with_length(client: OpenAI, stream: bool) -> None:  # noqa: FBT001 - a column of the table
    request: dict[str, Any] = {"model": "smollm2", "messages": PARIS, "max_tokens": 3}
    if stream:
        last = list(client.chat.completions.create(**request, stream=True))[-1]
        assert last.choices[0].finish_reason == "length"
    else:
        answer = client.chat.completions.create(**request)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 3


def test_two_choices(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="smollm2", messages=PARIS, seed=1, n=2)

    assert [choice.index for choice in answer.choices] == [0, 1]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop"]
    assert all("Paris" in (choice.message.content or "") for choice in answer.choices)


def test_a_stream_of_two_choices(client: OpenAI, upstream: FakeUpstream) -> None:
    events = [chunk("a"), chunk("x", index=1), chunk("b"), chunk(finish="stop", index=1), chunk(finish="length")]
    with upstream.scripted(Script(events=events)) as script:
        stream = client.chat.completions.create(model="echo", messages=HELLO, n=2, stream=True, user=script.user)
        choices = [part.choices[0] for part in stream]

    assert script.received[0]["n"] == 2
    texts = ["".join(choice.delta.content or "" for choice in choices if choice.index == index) for index in (0, 1)]
    assert texts == ["ab", "x"]
    assert [(choice.index, choice.finish_reason) for choice in choices if choice.finish_reason] == [
        (1, "stop"),
        (0, "length"),
    ]


def test_the_stream_helper_accumulates_the_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="smollm2", messages=PARIS, seed=1, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()

    assert {event.type for event in events} == {"chunk", "content.delta", "content.done"}
    text = "".join(event.delta for event in events if event.type == "content.delta")
    assert [event.content for event in events if event.type == "content.done"] == [text]
    assert final.choices[0].message.content == text
    assert "Paris" in text
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.completion_tokens > 0


async def test_the_stream_helper_accumulates_the_answer_async(async_client: AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(model="smollm2", messages=PARIS, seed=1) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()

    assert final.choices[0].message.content == "".join(deltas)
    assert "Paris" in "".join(deltas)
    assert final.usage is None


def _check_parsed(content: str | None, parsed: Answer | None) -> None:
    assert content is not None
    assert parsed == Answer.model_validate_json(content, strict=True)
    assert list(json.loads(content)) == ["zone", "capital", "is_large", "areas"]
    assert list(json.loads(content)["capital"]) == ["name", "kind"]


def test_structured_output_is_enforced(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="smollm2", messages=PARIS, seed=1, response_format=Answer, max_tokens=250
    )

    _check_parsed(answer.choices[0].message.content, answer.choices[0].message.parsed)
    assert answer.choices[0].finish_reason == "stop"


async def test_structured_output_is_enforced_async(async_client: AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.parse(
        model="smollm2", messages=PARIS, seed=1, response_format=Answer, max_tokens=250
    )

    _check_parsed(answer.choices[0].message.content, answer.choices[0].message.parsed)


def test_structured_output_is_enforced_in_streams(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="smollm2", messages=PARIS, seed=1, response_format=Answer, max_tokens=250
    ) as stream:
        final = stream.get_final_completion()

    _check_parsed(final.choices[0].message.content, final.choices[0].message.parsed)


def test_a_schema_reaches_the_provider_as_the_client_wrote_it(client: OpenAI, upstream: FakeUpstream) -> None:
    sent: list[bytes] = []

    def note(request: httpx2.Request) -> None:
        sent.append(request.content)

    content = Answer(zone="Europe", capital=Place(name="Paris", kind="city"), is_large=True, areas=[]).model_dump_json()
    with (
        upstream.scripted(Script(body=completion({"content": content}))) as script,
        client.with_options(http_client=DefaultHttpxClient(event_hooks={"request": [note]})) as recorded,
    ):
        answer = recorded.chat.completions.parse(
            model="echo", messages=HELLO, response_format=Answer, tools=[WEATHER], user=script.user
        )

    assert answer.choices[0].message.parsed is not None
    received, asked = script.received[0], json.loads(sent[0])
    assert (received["response_format"], received["tools"]) == (asked["response_format"], asked["tools"])
    for body in (received, asked):
        body["schemas"] = [body["response_format"]["json_schema"]["schema"], body["tools"][0]["function"]["parameters"]]
    assert json.dumps(received["schemas"]) == json.dumps(asked["schemas"])  # the order of the keys too


def test_an_answer_cut_short_is_no_structured_output(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError) as caught:
        client.chat.completions.parse(model="smollm2", messages=PARIS, response_format=Answer, max_tokens=2)

    assert caught.value.completion.choices[0].finish_reason == "length"


def test_a_filtered_answer_is_no_structured_output(client: OpenAI, upstream: FakeUpstream) -> None:
    with (
        upstream.scripted(Script(body=completion({"content": None}, finish="content_filter"))) as script,
        pytest.raises(openai.ContentFilterFinishReasonError),
    ):
        client.chat.completions.parse(model="echo", messages=HELLO, response_format=Answer, user=script.user)


def test_models_are_listed(client: OpenAI) -> None:
    models = client.models.list()

    assert models.object == "list"
    by_id = {model.id: model for model in models}
    assert set(by_id) == {*SCRIPTED_MODELS, "smollm2", *SEED_MODELS}
    assert len(models.data) == len(by_id)
    assert by_id["echo"].to_dict() == {"id": "echo", "object": "model", "created": 1700000000, "owned_by": "scripted"}
    assert by_id["smollm2"].owned_by == "local"


async def test_models_are_listed_async(async_client: AsyncOpenAI) -> None:
    assert "smollm2" in [model.id async for model in async_client.models.list()]


@pytest.mark.parametrize("model", ["echo", "org/echo", "claude-3-7-sonnet"])
def test_a_model_is_retrieved_by_any_id(client: OpenAI, model: str) -> None:
    response = client.models.with_raw_response.retrieve(model)

    assert response.http_request.url.raw_path.endswith(model.replace("/", "%2F").encode())
    assert (response.parse().id, response.parse().object) == (model, "model")


async def test_a_model_is_retrieved_async(async_client: AsyncOpenAI) -> None:
    assert (await async_client.models.retrieve("org/echo")).id == "org/echo"


@pytest.mark.parametrize("model", ["nope", "org/nope", "org", "echo/", "a b?c#d%2F"])
def test_an_unknown_model_is_not_found(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve(model)

    assert (caught.value.code, caught.value.param, caught.value.type) == (
        "model_not_found",
        "model",
        "invalid_request_error",
    )


def test_tools_are_called_and_their_results_sent_back(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(
        Script(body=completion({"content": None, "tool_calls": CALLS}, finish="tool_calls"))
    ) as asked:
        answer = client.chat.completions.create(
            model="echo",
            messages=PARIS,
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            parallel_tool_calls=True,
            user=asked.user,
        )
    assert asked.received[0]["tools"] == [WEATHER]
    assert asked.received[0]["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert asked.received[0]["parallel_tool_calls"] is True
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert [call.to_dict() for call in message.tool_calls or ()] == CALLS

    results: list[ChatCompletionMessageParam] = [
        {"role": "tool", "tool_call_id": "call_1", "content": "21 °C"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "24 °C"}]},
    ]
    said = cast("ChatCompletionMessageParam", message.to_dict())
    with upstream.scripted(Script(body=completion({"content": "Warm."}))) as told:
        answer = client.chat.completions.create(
            model="echo", messages=[*PARIS, said, *results], tools=[WEATHER], user=told.user
        )
    assert answer.choices[0].message.content == "Warm."
    assert told.received[0]["messages"] == [*PARIS, {"role": "assistant", "tool_calls": CALLS}, *results]


def _fragments() -> list[Any]:
    """Two calls whose arguments come in pieces, the second before the first is complete."""

    def piece(index: int, **call: Any) -> dict[str, Any]:
        return chunk(delta={"tool_calls": [{"index": index, **call}]})

    def begin(index: int, id_: str) -> dict[str, Any]:
        return piece(index, id=id_, type="function", function={"name": "get_weather", "arguments": ""})

    first, second = ARGUMENTS.values()
    return [
        chunk(delta={"role": "assistant", "content": None}),
        begin(0, "call_1"),
        piece(0, function={"arguments": first[:9]}),
        begin(1, "call_2"),
        piece(1, function={"arguments": second}),
        piece(0, function={"arguments": first[9:]}),
        chunk(finish="tool_calls"),
        usage_chunk(),
    ]


def _check_fragments(chunks: list[ChatCompletionChunk]) -> None:
    pieces = [call for part in chunks for call in part.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.id, call.type, call.function and call.function.name) for call in pieces] == [
        (0, "call_1", "function", "get_weather"),
        (0, None, None, None),
        (1, "call_2", "function", "get_weather"),
        (1, None, None, None),
        (0, None, None, None),
    ]
    arguments = ["", ""]
    for call in pieces:
        assert call.function is not None
        arguments[call.index] += call.function.arguments or ""
    assert arguments == list(ARGUMENTS.values())
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_tool_calls_are_streamed_in_fragments(client: OpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=_fragments())) as script:
        stream = client.chat.completions.create(
            model="echo", messages=PARIS, tools=[WEATHER], stream=True, user=script.user
        )
        _check_fragments(list(stream))


async def test_tool_calls_are_streamed_in_fragments_async(async_client: AsyncOpenAI, upstream: FakeUpstream) -> None:
    with upstream.scripted(Script(events=_fragments())) as script:
        stream = await async_client.chat.completions.create(
            model="echo", messages=PARIS, tools=[WEATHER], stream=True, user=script.user
        )
        _check_fragments([part async for part in stream])


def test_the_stream_helper_parses_tool_calls(client: OpenAI, upstream: FakeUpstream) -> None:
    events = [event for event in _fragments() if event not in (_fragments()[3], _fragments()[4])]
    with (
        upstream.scripted(Script(events=events)) as script,
        client.chat.completions.stream(model="echo", messages=PARIS, tools=[WEATHER], user=script.user) as stream,
    ):
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()

    assert [(event.name, event.index, event.parsed_arguments) for event in done] == [
        ("get_weather", 0, GetWeather(city="Paris", days=2))
    ]
    assert final.choices[0].message.tool_calls is not None
    [call] = final.choices[0].message.tool_calls
    assert (call.id, call.function.parsed_arguments) == ("call_1", GetWeather(city="Paris", days=2))


def test_a_custom_tool_is_called(client: OpenAI, upstream: FakeUpstream) -> None:
    tool: ChatCompletionToolUnionParam = {"type": "custom", "custom": {"name": "shell", "description": "Runs it."}}
    call = {"id": "call_1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
    with upstream.scripted(
        Script(body=completion({"content": None, "tool_calls": [call]}, finish="tool_calls"))
    ) as script:
        answer = client.chat.completions.create(model="echo", messages=HELLO, tools=[tool], user=script.user)

    assert script.received[0]["tools"] == [tool]
    assert [made.to_dict() for made in answer.choices[0].message.tool_calls or ()] == [call]


TOKENS = [
    {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []},
    {
        "token": "!",
        "logprob": -1.5,
        "bytes": [33],
        "top_logprobs": [
            {"token": "!", "logprob": -1.5, "bytes": [33]},
            {"token": ".", "logprob": -2.0, "bytes": [46]},
        ],
    },
]


def test_logprobs(client: OpenAI, upstream: FakeUpstream) -> None:
    body = completion({"content": "Hi!"})
    body["choices"][0]["logprobs"] = {"content": TOKENS, "refusal": None}
    with upstream.scripted(Script(body=body)) as script:
        answer = client.chat.completions.create(
            model="echo", messages=HELLO, logprobs=True, top_logprobs=2, user=script.user
        )

    assert (script.received[0]["logprobs"], script.received[0]["top_logprobs"]) == (True, 2)
    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content or []
    assert tokens[0].top_logprobs == []
    assert [token.to_dict() for token in tokens] == TOKENS


def test_logprobs_of_a_stream(client: OpenAI, upstream: FakeUpstream) -> None:
    events = [chunk("Hi"), chunk("!"), chunk(finish="stop")]
    for event, token in zip(events, TOKENS, strict=False):
        event["choices"][0]["logprobs"] = {"content": [token]}
    with upstream.scripted(Script(events=events)) as script:
        chunks = list(
            client.chat.completions.create(model="echo", messages=HELLO, logprobs=True, stream=True, user=script.user)
        )

    logprobs = [part.choices[0].logprobs for part in chunks]
    tokens = [token for each in logprobs if each for token in each.content or ()]
    assert tokens[0].top_logprobs == []
    assert [token.to_dict() for token in tokens] == TOKENS


def test_the_embedded_model_tells_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2", messages=PARIS, seed=1, max_tokens=3, logprobs=True, top_logprobs=2
    )

    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content or []
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert [len(token.top_logprobs) for token in tokens] == [2, 2, 2]
    assert all(token.logprob <= 0 for token in tokens)


def test_the_clients_request_id_comes_back(client: OpenAI, stack: Stack) -> None:
    sent = f"mine-{uuid.uuid4()}"
    response = client.chat.completions.with_raw_response.create(
        model="echo", messages=HELLO, extra_headers={"x-request-id": sent}
    )

    check_headers(response.headers)
    assert response.headers["x-request-id"] == sent
    assert response.parse()._request_id == sent
    assert response.parse().choices[0].message.content == "Hello"
    [call] = stack.calls(sent)
    assert (call["model"], call["provider"]) == ("echo", "scripted")


def test_a_request_id_is_made_where_none_is_sent(client: OpenAI, stack: Stack) -> None:
    ids = []
    for _ in range(2):
        response = client.chat.completions.with_raw_response.create(model="echo", messages=HELLO)
        check_headers(response.headers)
        ids.append(response.headers["x-request-id"])

    assert [str(uuid.UUID(made)) for made in ids] == ids
    assert ids[0] != ids[1]
    assert [len(stack.calls(made)) for made in ids] == [1, 1]


def test_a_streaming_response_shows_headers_first(client: OpenAI, upstream: FakeUpstream) -> None:
    gate = threading.Event()
    events = [chunk("a"), chunk("b"), chunk(finish="stop")]
    with (
        upstream.scripted(Script(events=events, gates={1: gate})) as script,
        client.chat.completions.with_streaming_response.create(
            model="echo",
            messages=HELLO,
            stream=True,
            user=script.user,
            extra_headers={"x-request-id": "streamed-1"},
        ) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-request-id"] == "streamed-1"
        check_headers(response.headers)
        assert not gate.is_set()
        gate.set()
        lines = [line for line in response.iter_lines() if line]

    assert lines[-1] == "data: [DONE]"
    assert [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in lines[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "b"},
        {},
    ]


async def test_a_streaming_response_of_an_answer_async(async_client: AsyncOpenAI) -> None:
    async with async_client.chat.completions.with_streaming_response.create(model="echo", messages=HELLO) as response:
        assert response.headers["content-type"] == "application/json"
        check_headers(response.headers)
        answer = await response.parse()

    assert answer.choices[0].message.content == "Hello"
