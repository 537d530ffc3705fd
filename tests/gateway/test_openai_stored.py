"""Stored completions with the official Python client, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import openai
import pytest
from google.protobuf.struct_pb2 import NULL_VALUE
from openai import OpenAI

from service._gen.parley.v1.chat_service_pb2 import (
    DeleteChatCompletionRequest,
    GetChatCompletionRequest,
    ListChatCompletionMessagesRequest,
    ListChatCompletionMessagesResponse,
    ListChatCompletionsRequest,
    ListChatCompletionsResponse,
    StoredChatCompletion,
    StoredMessage,
    UpdateChatCompletionRequest,
)
from tests.gateway.answers import failure
from tests.gateway.scratch import Context, Gateway, Scratch

IDS = [f"chatcmpl-{number}" for number in range(5)]
ODD = {"a b&c=d%e+f[x]ü": " &=%+ü😀/?#,", "%3D": "=", "a": ""}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://{gateway.address}/v1", api_key="k", max_retries=0) as client:
        yield client


def _stored(id_: str) -> StoredChatCompletion:
    stored = StoredChatCompletion(id=id_, object="chat.completion", created=1, model="m", metadata={"a": "b"})
    choice = stored.choices.add(index=0, finish_reason="stop")
    choice.message.role, choice.message.content = "assistant", "hello"
    return stored


async def _page(request: Any, context: Context) -> ListChatCompletionsResponse:
    first = IDS.index(request.after) + 1 if request.after else 0
    data = [_stored(id_) for id_ in IDS[first : first + request.limit]]
    last = data[-1].id if data else None
    return ListChatCompletionsResponse(object="list", data=data, last_id=last, has_more=last not in {IDS[-1], None})


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 100])
def test_list_follows_pages(client: OpenAI, script: Scratch, limit: int) -> None:
    script.stored["ListChatCompletions"] = _page
    found = client.chat.completions.list(metadata=ODD, model="m/x y", limit=limit, order="desc")
    assert [each.id for each in found] == IDS
    pairs = ["a b&c%3Dd%25e+f[x]ü= &=%+ü😀/?#,", "%253D==", "a="]
    asked = [None, *IDS[limit - 1 : -1 : limit]]
    assert script.requests == [
        ListChatCompletionsRequest(after=after, label_pairs=pairs, model="m/x y", limit=limit, order="desc")
        for after in asked
    ]


def test_list_of_nothing(client: OpenAI, script: Scratch) -> None:
    async def nothing(request: Any, context: Context) -> ListChatCompletionsResponse:
        await context.send_initial_metadata((("x-parley-empty-lists", "1"),))
        return ListChatCompletionsResponse(object="list", has_more=False, empty_data=NULL_VALUE)

    script.stored["ListChatCompletions"] = nothing
    page = client.chat.completions.list(metadata={"a": "b"}, extra_query={"tags": ["x", "y"], "labels": {"c": "d"}})
    assert page.data == []
    assert not page.has_more
    assert script.requests == [ListChatCompletionsRequest(label_pairs=["a=b", "c=d"], tags=["x", "y"])]


def test_retrieve_update_and_delete(client: OpenAI, script: Scratch) -> None:
    script.stored["GetChatCompletion"] = script.stored["UpdateChatCompletion"] = _stored("chatcmpl-0")
    found = client.chat.completions.retrieve("chatcmpl-0")
    assert (found.id, found.choices[0].message.content, found.metadata) == ("chatcmpl-0", "hello", {"a": "b"})
    assert client.chat.completions.update("chatcmpl-0", metadata=ODD).id == "chatcmpl-0"
    client.chat.completions.update("chatcmpl-0", metadata=None)
    gone = client.chat.completions.delete("chatcmpl-1")
    assert (gone.id, gone.object, gone.deleted) == ("chatcmpl-1", "chat.completion.deleted", True)
    assert script.requests == [
        GetChatCompletionRequest(completion_id="chatcmpl-0"),
        UpdateChatCompletionRequest(completion_id="chatcmpl-0", metadata=ODD),
        UpdateChatCompletionRequest(completion_id="chatcmpl-0"),
        DeleteChatCompletionRequest(completion_id="chatcmpl-1"),
    ]


def test_messages(client: OpenAI, script: Scratch) -> None:
    async def page(request: Any, context: Context) -> ListChatCompletionMessagesResponse:
        ids = ["chatcmpl-0-1"] if request.after else ["chatcmpl-0-0"]
        data = [StoredMessage(id=id_, role="user", content="hello") for id_ in ids]
        return ListChatCompletionMessagesResponse(object="list", data=data, has_more=not request.after)

    script.stored["ListChatCompletionMessages"] = page
    found = list(client.chat.completions.messages.list("chatcmpl-0", limit=1, order="asc"))
    assert [(each.id, each.role, each.content) for each in found] == [
        ("chatcmpl-0-0", "user", "hello"),
        ("chatcmpl-0-1", "user", "hello"),
    ]
    assert script.requests == [
        ListChatCompletionMessagesRequest(completion_id="chatcmpl-0", after=after, limit=1, order="asc")
        for after in (None, "chatcmpl-0-0")
    ]


def test_an_unknown_id(client: OpenAI, script: Scratch) -> None:
    told = (("x-error-type", "invalid_request_error"), ("x-error-param", "completion_id"), ("x-error-code", "x"))
    script.stored["GetChatCompletion"] = failure(grpc.StatusCode.NOT_FOUND, "There is none.", *told)
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.retrieve("a/b c")
    assert caught.value.param == "completion_id"
    assert script.requests == [GetChatCompletionRequest(completion_id="a/b c")]


def test_a_wrong_filter(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.list(extra_query={"until": "1"})
    assert (caught.value.param, caught.value.code) == ("until", "unknown_parameter")
