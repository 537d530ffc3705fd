"""What the tests of the official Python client share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel, Field

PARIS: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
WITHIN_S = 2.0
"""The promise is a second; the machine may be busy."""
INTERNAL_HEADERS = ("grpc-", "x-envoy-", "x-error-", "x-parley-")
TOLD_HEADERS = {"x-parley-target", "x-parley-attempts"}


class GetWeather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


class Place(BaseModel):
    name: str = Field(max_length=20)
    kind: Literal["city", "river"]


class Answer(BaseModel):
    """Its properties stand in no alphabetical order on purpose."""

    zone: Literal["Europe", "Asia"]
    capital: Place
    is_large: bool
    areas: list[int] = Field(max_length=2)


WEATHER = openai.pydantic_function_tool(GetWeather, name="get_weather")
ARGUMENTS = {"call_1": '{"city":"Paris","days":2}', "call_2": '{"city":"Rome","days":1}'}
CALLS = [
    {"id": id_, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    for id_, arguments in ARGUMENTS.items()
]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(part.choices[0].delta.content or "" for part in chunks if part.choices)


def check_stream(chunks: list[ChatCompletionChunk], model: str) -> None:
    """The shape that every stream of one choice has."""
    assert len({part.id for part in chunks}) == 1
    assert {part.object for part in chunks} == {"chat.completion.chunk"}
    assert {part.model for part in chunks} == {model}
    assert all(type(part.created) is int and part.created > 1_600_000_000 for part in chunks)
    assert [len(part.choices) for part in chunks] == [1] * len(chunks)
    first, last = chunks[0].choices[0], chunks[-1].choices[0]
    assert first.delta.to_dict() == {"role": "assistant", "content": ""}
    assert last.delta.to_dict() == {}
    assert [part.choices[0].finish_reason for part in chunks] == [None] * (len(chunks) - 1) + ["stop"]


def check_headers(headers: Mapping[str, str]) -> None:
    assert [name for name in headers if name.lower().startswith(INTERNAL_HEADERS) and name not in TOLD_HEADERS] == []


def error_body(code: str) -> dict[str, Any]:
    return {"error": {"message": "CANARY of the provider", "type": "x", "param": None, "code": code}}
