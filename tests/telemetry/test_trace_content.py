"""What was asked and answered, as spans have it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.tracing.content import answered, asked, bounded
from tests.support.json_form import to_proto

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
MOST_BYTES = 20_000


def messages_of(*messages: dict[str, Any]) -> Any:
    request: ChatCompletionRequest = to_proto({"model": "m", "messages": list(messages)})
    return request.messages


def test_a_conversation_is_told_in_the_conventions_form() -> None:
    told = asked(
        messages_of(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "In German."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "A cat."},
            {"role": "system", "content": "Hurry."},
        )
    )  # fmt: skip

    assert told.instructions is not None
    assert not told.instructions.is_cut
    assert json.loads(told.instructions.text) == [
        {"type": "text", "content": "Be brief."},
        {"type": "text", "content": "In German."},
    ]
    assert json.loads(told.messages.text) == [
        {"role": "user", "parts": [{"type": "text", "content": "What is it?"}, {"type": "image_url"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Hm."},
                {"type": "tool_call", "id": "c1", "name": "f", "arguments": '{"a":1}'},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "A cat."}]},
        {"role": "system", "parts": [{"type": "text", "content": "Hurry."}]},
    ]
    assert not told.messages.is_cut


def test_typed_parts_are_told_as_those_in_json() -> None:
    request = ChatCompletionRequest()
    request.messages.add(role="user").parts.add(type="text", text="Hello")
    told = asked(request.messages)

    assert told.instructions is None
    assert json.loads(told.messages.text) == [{"role": "user", "parts": [{"type": "text", "content": "Hello"}]}]


def test_an_answer_is_told_in_the_conventions_form() -> None:
    answer = ChatCompletion()
    first = answer.choices.add(finish_reason="stop")
    first.message.content, first.message.reasoning_content = "Yes.", "Hm."
    second = answer.choices.add(index=1, finish_reason="tool_calls")
    second.message.tool_calls.add(id="c1").function.name = "f"

    assert json.loads(answered(answer).text) == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Yes."}],
            "finish_reason": "stop",
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": ""}],
            "finish_reason": "tool_calls",
        },
    ]


@pytest.mark.parametrize(
    "text",
    ["x" * 100_000, "🙂" * 30_000, "\x00" * 100_000, '"\\' * 50_000],
    ids=["ascii", "emoji", "control", "quotes"],
)
def test_a_long_text_is_cut_to_a_bounded_size(text: str) -> None:
    told = asked(messages_of({"role": "system", "content": text}, {"role": "user", "content": text}))

    assert told.instructions is not None
    for each in (told.instructions, told.messages):
        assert each.is_cut
        assert 1_000 < len(each.text.encode()) < MOST_BYTES
        json.loads(each.text)
    (part,) = json.loads(told.messages.text)[0]["parts"]
    assert text.startswith(part["content"])
    assert bounded(text).is_cut


def test_of_a_long_conversation_the_end_is_told() -> None:
    told = asked(messages_of(*({"role": "user", "content": f"{number} " + "x" * 100} for number in range(1000))))
    messages = json.loads(told.messages.text)

    assert told.messages.is_cut
    assert len(told.messages.text) < MOST_BYTES
    assert 50 < len(messages) < 1000
    assert messages[-1]["parts"][0]["content"].startswith("999 ")


def test_many_small_parts_are_bounded_too() -> None:
    parts = [{"type": "text", "text": "a"}] * 10_000
    told = asked(messages_of({"role": "user", "content": parts}))
    assert told.messages.is_cut
    assert len(told.messages.text) < MOST_BYTES

    told = asked(messages_of(*[{"role": "assistant", "content": ""}] * 10_000))
    assert told.messages.is_cut
    assert len(told.messages.text) < MOST_BYTES


def test_what_just_fits_is_not_cut() -> None:
    assert not bounded("x" * 16_384).is_cut
    assert bounded("x" * 16_385).is_cut
    assert bounded("") == bounded("")
