"""An answer that is sent back is to a provider what its turns were."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service.catalogue import Capabilities
from service.errors import Reason, RequestError
from service.json_values import Json, object_to_json
from service.providers.anthropic import ANTHROPIC
from service.providers.chat_api import ChatApi
from service.providers.cohere import COHERE
from service.providers.gemini import GEMINI
from service.providers.omissions import Omissions
from service.providers.openai.api import openai_api
from service.providers.openai.dialects import DIALECTS
from service.providers.provider import ProviderCall
from service.turns.history import expanded
from tests.support.json_form import to_proto
from tests.turns.script import IDENTITY, Call, Found, Tools, Turn, as_history, in_order, names, said, scene

CALL: dict[str, Json] = {"id": "c1", "tool": "srv__weather", "arguments": "{}", "status": "ok", "result": "sunny"}


def turns_of(**message: Any) -> list[Message]:
    """What an assistant message, as JSON, becomes."""
    request = to_proto({"messages": [{"role": "assistant", **message}]})
    return expanded(request.messages[0], "messages[1]")


def event(turn: int = 0, text_length: int = 0, **fields: Any) -> dict[str, Any]:
    return {**CALL, "id": f"c{turn}", "turn": turn, "text_length": text_length, **fields}


def shown(messages: list[Message]) -> list[tuple[Any, ...]]:
    """Who says what: role, text, and calls or the call that is answered."""
    return [
        (
            message.role,
            message.content.string_value or "".join(part.text for part in message.parts),
            names(message.tool_calls) if message.role == "assistant" else message.tool_call_id,
        )
        for message in messages
    ]


def test_an_answer_becomes_its_turns_again() -> None:
    turns = turns_of(content="One.\n\nTwo.\n\nThree.", tool_events=[event(0, 4), event(1, 10), event(1, 10, id="d")])

    assert shown(turns) == [
        ("assistant", "One.", ["srv__weather"]),
        ("tool", "sunny", "c0"),
        ("assistant", "Two.", ["srv__weather", "srv__weather"]),
        ("tool", "sunny", "c1"),
        ("tool", "sunny", "d"),
        ("assistant", "Three.", []),
    ]
    assert not any(turn.tool_events for turn in turns)


def test_calls_of_the_callers_stand_beside_the_server_side_ones_of_their_turn() -> None:
    mine = {"id": "m", "type": "function", "function": {"name": "mine", "arguments": "{}"}}
    beside = event(0, 4) | {"beside_calls": True}
    turns = turns_of(content="One.", tool_calls=[mine], tool_events=[beside])

    assert shown(turns) == [("assistant", "One.", ["srv__weather", "mine"]), ("tool", "sunny", "c0")]


def test_calls_of_the_callers_in_a_turn_without_text_stay_there() -> None:
    mine = {"id": "c0", "type": "function", "function": {"name": "mine", "arguments": "{}"}}
    turns = turns_of(content="One.", tool_calls=[mine], tool_events=[event(0, 4)])

    assert shown(turns) == [
        ("assistant", "One.", ["srv__weather"]),
        ("tool", "sunny", "c0"),
        ("assistant", "", ["mine"]),
    ]


def test_of_calls_made_at_once_the_signed_one_comes_first() -> None:
    signed = {"google": {"thought_signature": "s"}}
    mine = {"id": "m", "type": "function", "function": {"name": "mine", "arguments": "{}"}, "extra_content": signed}
    turns = turns_of(tool_calls=[mine], tool_events=[event() | {"beside_calls": True}])

    assert names(turns[0].tool_calls) == ["mine", "srv__weather"]


def test_calls_of_the_callers_in_a_turn_of_their_own_stay_there() -> None:
    mine = {"id": "m", "type": "function", "function": {"name": "mine", "arguments": "{}"}}
    turns = turns_of(content="One.\n\nTwo.", tool_calls=[mine], tool_events=[event(0, 4)])

    assert shown(turns)[2:] == [("assistant", "Two.", ["mine"])]


def test_an_answer_that_broke_off_behind_its_tools_ends_with_their_results() -> None:
    turns = turns_of(content="One.", cache_control={"type": "ephemeral"}, tool_events=[event(0, 4)])

    assert shown(turns) == [("assistant", "One.", ["srv__weather"]), ("tool", "sunny", "c0")]
    assert turns[-1].HasField("cache_control"), "the mark is for all that is sent"


def test_lists_are_told_apart_and_count_from_the_beginning_of_their_turn() -> None:
    def block(index: int, **members: Json) -> dict[str, Json]:
        return {"type": "reasoning.text", "index": index, **members}

    turns = turns_of(
        content="One.\n\nTwo.",
        reasoning_content="all of it",
        # As a stream brought them: in pieces, and the rest of one behind the first of another.
        reasoning_details=[block(0, text="a"), block(1, text="b"), block(0, text="c"), block(2, text="d")],
        provider_content=[
            {"format": "x", "reasoning_index": 1, "index": 0},
            {"format": "x", "text_length": 4, "index": 1},
            {"format": "x", "reasoning_index": 2, "index": 2},
        ],
        annotations=[{"type": "url_citation", "url_citation": {"url": "https://a"}}],
        tool_events=[event(0, 4, reasoning_length=2, provider_content_length=2)],
    )

    first, _, last = turns
    assert [object_to_json(each) for each in first.reasoning_details] == [
        block(0, text="a"),
        block(1, text="b"),
        block(0, text="c"),
    ]
    assert [object_to_json(each) for each in last.reasoning_details] == [block(0, text="d")]
    assert [object_to_json(each) for each in first.provider_content] == [
        {"format": "x", "reasoning_index": 1},
        {"format": "x", "text_length": 4},
    ]
    assert [object_to_json(each) for each in last.provider_content] == [{"format": "x", "reasoning_index": 0}]
    assert (first.reasoning_content, last.HasField("reasoning_content")) == ("all of it", False)
    assert not last.annotations


def test_a_failed_tool_is_told_as_one() -> None:
    turns = turns_of(tool_events=[event(status="error", result="broken")])

    assert (turns[1].content.string_value, turns[1].is_error) == ("broken", True)


def test_content_in_parts_is_told_apart_too() -> None:
    parts = [
        {"type": "text", "text": "One"},
        {"type": "text", "text": ".\n\nTwo.", "cache_control": {"type": "ephemeral"}},
        {"type": "refusal", "refusal": "no"},
    ]
    turns = turns_of(content=parts, tool_events=[event(0, 4)])

    first, _, last = turns
    assert [part.text for part in first.parts] == ["One", "."]
    assert not any(part.HasField("cache_control") for part in first.parts)
    assert [(part.type, part.text, part.HasField("cache_control")) for part in last.parts] == [
        ("text", "Two.", True),
        ("refusal", "", False),
    ]


def test_typed_parts_of_the_caller_stay_as_they_are() -> None:
    message = Message(role="assistant")
    message.parts.add(type="text", text="One.\n\nTwo.")
    message.tool_events.add(id="c", tool="srv__weather", status="ok", text_length=4)
    before = Message()
    before.CopyFrom(message)

    assert shown(expanded(message, "messages[0]"))[0] == ("assistant", "One.", ["srv__weather"])
    assert message == before


@pytest.mark.parametrize(
    ("events", "param", "reason"),
    [
        ([event(id="")], "tool_events[0].id", Reason.PARAMETER_MISSING),
        ([event(tool="")], "tool_events[0].tool", Reason.PARAMETER_MISSING),
        ([event(status="done")], "tool_events[0].status", Reason.PARAMETER_INVALID),
        ([event(status="")], "tool_events[0].status", Reason.PARAMETER_INVALID),
        ([event(0, 11)], "tool_events[0].text_length", Reason.PARAMETER_INVALID),
        ([event(0, 4), event(1, 3)], "tool_events[1].text_length", Reason.PARAMETER_INVALID),
        (
            [event(0, reasoning_length=2), event(1, reasoning_length=1)],
            "tool_events[1].reasoning_length",
            Reason.PARAMETER_INVALID,
        ),
        (
            [event(0, provider_content_length=2), event(1, provider_content_length=1)],
            "tool_events[1].provider_content_length",
            Reason.PARAMETER_INVALID,
        ),
        ([event(1), event(0)], "tool_events[1].turn", Reason.PARAMETER_INVALID),
        ([event(0, 4), event(0, 5, id="d")], "tool_events[1]", Reason.PARAMETER_INVALID),
        ([event(0), event(0)], "tool_events[1].id", Reason.PARAMETER_INVALID),
        ([event(number) for number in range(10_001)], "tool_events", Reason.PARAMETER_INVALID),
    ],
)
def test_events_that_no_answer_has_are_refused_by_their_place(
    events: list[dict[str, Any]], param: str, reason: Reason
) -> None:
    with pytest.raises(RequestError) as raised:
        turns_of(content="One.\n\nTwo.", tool_events=events)

    assert (raised.value.param, raised.value.reason) == (f"messages[1].{param}", reason)


def test_only_an_assistant_has_events() -> None:
    with pytest.raises(RequestError) as raised:
        turns_of(role="user", content="x", tool_events=[event()])

    assert raised.value.param == "messages[1].tool_events"


texts = st.sampled_from(["", "One.", "\n\n", "\n\nä ü\n\n", " ", "🌍"])
arguments = st.sampled_from(["{}", '{"a":1}', "", "{"])


@st.composite
def blocks(draw: st.DrawFn) -> list[dict[str, Json]]:
    kinds = draw(st.lists(st.sampled_from(["text", "encrypted"]), max_size=2))
    return [
        {"type": "reasoning.text", "text": "t", "signature": "s", "format": "f"}
        if kind == "text"
        else {"type": "reasoning.encrypted", "data": "d", "format": "f"}
        for kind in kinds
    ]


@st.composite
def turns(draw: st.DrawFn, *, is_last: bool) -> Turn:
    """A turn; one that is not the last calls server-side tools alone."""
    own = [] if is_last else draw(st.lists(st.builds(Call, st.just("srv__weather"), arguments), min_size=1, max_size=3))
    details = draw(blocks())
    told: list[dict[str, Json]] = [{"format": "f", "reasoning_index": index} for index in range(len(details))]
    return Turn(draw(texts), calls=own, details=details, provider_content=told if draw(st.booleans()) else ())


conversations = st.tuples(st.lists(turns(is_last=False), min_size=1, max_size=4), turns(is_last=True))


@settings(max_examples=150, deadline=None)
@given(conversations, st.booleans(), st.booleans())
def test_the_turns_are_those_that_the_model_was_asked_with(
    conversation: tuple[list[Turn], Turn],
    stream: bool,  # noqa: FBT001 - drawn
    is_mixed: bool,  # noqa: FBT001 - as above
) -> None:
    """Whatever was said, an answer that is sent back leads to what its last turn had been asked with."""
    before, last = conversation
    if is_mixed:
        last.calls = [Call("srv__weather"), Call("mine")]

    async def sometimes(name: str, given_arguments: str) -> Found:
        return Found("broken" if given_arguments == "{" else "sunny", is_error=given_arguments == "{")

    stage = scene(*before, last, tools=Tools(sometimes))
    answer = asyncio.run(stage.ask(stream=stream))

    sent_back = expanded(as_history(answer.choices[0].message), "messages[1]")

    asked = stage.requests[-1].messages[1:]
    assert [in_order(message) for message in sent_back[: len(asked)]] == [in_order(message) for message in asked]
    rest = sent_back[len(asked) :]
    if is_mixed:
        assert names(rest[0].tool_calls) == ["srv__weather", "mine"]
        assert (rest[0].content.string_value, [each.role for each in rest[1:]]) == (last.text, ["tool"])
    else:
        assert [each.content.string_value for each in rest] == (
            [last.text] if last.text or last.details or last.provider_content else []
        )


APIS: dict[str, ChatApi] = {
    **{name: openai_api(dialect) for name, dialect in DIALECTS.items()},
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "cohere": COHERE,
}


def body_for(api: ChatApi, messages: list[Message]) -> dict[str, Any]:
    """What a provider is sent."""
    request = ChatCompletionRequest(model="m", messages=messages)
    call = ProviderCall(request, "gemini-3-pro", IDENTITY, Capabilities(), Omissions("acme", may_drop=False))
    body: dict[str, Any] = json.loads(api.encode(call, False).body)  # noqa: FBT003 - ChatApi's form
    return body


@pytest.mark.parametrize("api", APIS.values(), ids=APIS)
async def test_every_provider_takes_the_turns(api: ChatApi) -> None:
    stage = scene(
        Turn("One.", calls=[Call("srv__weather", "{"), Call("srv__time", "")], reasoning="hm"),
        Turn(calls=[Call("srv__time", "{}")]),
        Turn("Two."),
    )
    answer = await stage.ask(stream=True)
    sent_back = expanded(as_history(answer.choices[0].message), "messages[1]")

    conversation = body_for(api, [said("user", "Hi"), *sent_back, said("user", "And now?")])

    assert body_for(api, list(stage.requests[-1].messages))
    assert json.dumps(conversation).count("says sunny") == 3


def test_anthropic_is_sent_the_turns_with_their_reasoning() -> None:
    thought = {"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1"}
    sent_back = turns_of(
        content="Two.",
        reasoning_details=[{**thought, "text": "a", "index": 0}, {**thought, "text": "b", "index": 1}],
        tool_events=[event(0, 0, reasoning_length=1)],
    )

    body = body_for(ANTHROPIC, [said("user", "Hi"), *sent_back])

    assert [[block["type"] for block in turn["content"]] for turn in body["messages"]] == [
        ["text"],
        ["thinking", "tool_use"],
        ["tool_result"],
        ["thinking", "text"],
    ]


def test_gemini_is_sent_each_signature_with_its_call() -> None:
    extra = {"google": {"thought_signature": "sig"}}
    sent_back = turns_of(content="Two.", tool_events=[event(extra_content=extra), event(id="second")])

    contents = body_for(GEMINI, [said("user", "Hi"), *sent_back])["contents"]

    assert [part.get("thoughtSignature") for part in contents[1]["parts"]] == ["sig", None]
    assert [part["functionResponse"]["name"] for part in contents[2]["parts"]] == ["srv__weather"] * 2
