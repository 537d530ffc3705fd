"""What a stream of several turns looks like, piece by piece."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Delta
from service._gen.parley.v1.tool_pb2 import ToolCallDelta
from service.answers.joining import Joining
from service.errors import Unavailable
from service.json_values import object_to_json
from service.rpc.merging import merged
from service.turns.telling import Telling
from tests.support.streams import call, piece
from tests.turns.script import Call, Found, Tools, Turn, in_order, scene, sunny

WEATHER = Call("srv__weather")
TURNS = (
    Turn(
        "Let me look.",
        calls=[WEATHER, Call("srv__time", "{}")],
        reasoning="First",
        details=[
            {"type": "reasoning.text", "text": "First", "signature": "s0", "format": "anthropic-claude-v1"},
            {"type": "reasoning.encrypted", "data": "zzz", "format": "anthropic-claude-v1"},
        ],
        provider_content=[
            {"format": "anthropic", "reasoning_index": 0},
            {"format": "anthropic", "reasoning_index": 1},
            {"format": "anthropic", "text_length": 12},
            {"format": "anthropic", "tool_call_id": "call_0_0"},
        ],
        annotations=[{"type": "url_citation", "url_citation": {"url": "https://a", "start_index": 0, "end_index": 3}}],
    ),
    Turn(
        "Sunny, früh: ja.",
        calls=[Call("mine", '{"x":1}'), WEATHER],
        reasoning="Then",
        details=[{"type": "reasoning.text", "text": "Then", "signature": "s1", "format": "anthropic-claude-v1"}],
        provider_content=[{"format": "anthropic", "reasoning_index": 0}],
        annotations=[
            {"type": "url_citation", "url_citation": {"url": "https://b", "start_index": 0, "end_index": 5}},
            {"type": "reference", "reference_ids": [1], "end_index": 7},
        ],
    ),
)


async def streamed(*turns: Turn) -> list[ChatCompletionChunk]:
    stage = scene(*turns)
    await stage.ask(stream=True)
    return stage.seen


def joined(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    joining = Joining()
    for chunk in chunks:
        joining.take(chunk)
    return joining.completion()


@pytest.mark.parametrize(
    "turns",
    [
        [Turn("Hello.")],
        [Turn("One.", calls=[WEATHER]), Turn("Two.")],
        [Turn(calls=[WEATHER]), Turn("Two.")],
        [Turn("One.", calls=[WEATHER, Call("mine")])],
        [Turn("One.", calls=[WEATHER], usage=None), Turn("Two.")],
        [Turn(calls=[WEATHER]), Turn("")],
        list(TURNS),
    ],
)
async def test_a_stream_joins_to_the_answer_in_one_piece(turns: list[Turn]) -> None:
    streaming, whole = scene(*turns), scene(*turns)

    assert in_order(await streaming.ask(stream=True)) == in_order(await whole.ask(stream=False))
    assert [in_order(request) for request in streaming.requests] == [in_order(request) for request in whole.requests]


async def test_a_merged_stream_is_the_same_answer() -> None:
    chunks = await streamed(*TURNS)

    assert joined(merged(chunks)) == joined(chunks)


async def test_the_stream_is_that_of_one_answer() -> None:
    chunks = await streamed(*TURNS)

    assert {(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks} == {
        ("answer-0", 1000, "m", "chat.completion.chunk")
    }
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices] == ["assistant"] + [""] * (
        len(chunks) - 2
    )
    assert chunks[0].choices[0].delta.content == ""
    assert chunks[0].choices[0].delta.HasField("content")
    finishes = [chunk.choices[0].finish_reason.string_value for chunk in chunks if chunk.choices]
    assert finishes == [""] * (len(chunks) - 2) + ["tool_calls"]
    assert all(chunk.choices[0].finish_reason.WhichOneof("kind") for chunk in chunks if chunk.choices)
    assert chunks[-2].choices[0].native_finish_reason == "end-1"
    assert [chunk.HasField("usage") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert not chunks[-1].choices
    assert (chunks[-1].usage.total_tokens, chunks[-1].system_fingerprint) == (30, "fp-1")


async def test_nothing_of_server_side_calls_is_streamed_but_the_events() -> None:
    chunks = await streamed(*TURNS)

    fragments = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls]
    assert {call.index for call in fragments} == {0}
    assert [(call.id, call.function.name) for call in fragments if call.id] == [("call_1_0", "mine")]
    assert "".join(call.function.arguments for call in fragments) == '{"x":1}'
    events = [event for chunk in chunks for choice in chunk.choices for event in choice.delta.tool_events]
    assert [(event.index, event.id, event.turn) for event in events] == [
        (0, "call_0_0", 0),
        (1, "call_0_1", 0),
        (2, "call_1_1", 1),
    ]
    assert [(each.text_length, each.reasoning_length, each.provider_content_length) for each in events] == [
        (12, 2, 4),
        (12, 2, 4),
        (30, 3, 5),
    ]


def test_of_a_call_whose_name_comes_late_it_is_known_whose_it_is() -> None:
    """Some providers tell ids alone first."""
    telling = Telling(lambda name: name.startswith("srv__"))
    telling.begin_turn()
    ids = [ToolCallDelta(index=number, id=f"call_{number}", type="function") for number in range(3)]
    pieces = [Delta(tool_calls=ids), call(1, "{", name="mine"), call(0, "{", name="srv__weather")]
    pieces += [call(0, "}"), call(1, "}")]
    told = [each for delta in pieces for each in telling.told(piece(delta))]
    told += telling.told(piece(Delta(), finish="tool_calls"))
    told += telling.ending(ChatCompletion(), None)

    calls = joined(told).choices[0].message.tool_calls
    assert [(each.id, each.function.name, each.function.arguments) for each in calls] == [
        ("call_1", "mine", "{}"),
        ("call_2", "", ""),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_numbers_that_count_within_a_turn_count_within_the_message(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    answer = await scene(*TURNS).ask(stream=stream)

    message = answer.choices[0].message
    assert message.content == "Let me look.\n\nSunny, früh: ja."
    assert [object_to_json(block)["index"] for block in message.reasoning_details] == [0, 1, 2]
    assert [object_to_json(entry).get("reasoning_index") for entry in message.provider_content] == [
        *(0, 1, None, None),
        2,
    ]
    first, second, reference = map(object_to_json, message.annotations)
    assert first["url_citation"] == {"url": "https://a", "start_index": 0, "end_index": 3}
    assert second["url_citation"] == {"url": "https://b", "start_index": 14, "end_index": 19}
    assert message.content[14:19] == "Sunny"
    assert reference["end_index"] == 21


async def test_every_entry_of_a_streamed_list_has_a_number_of_its_own() -> None:
    """OpenAI's helper adds what has the same number to what was there."""
    chunks = await streamed(*TURNS)

    for name, count in (("annotations", 3), ("provider_content", 5)):
        entries = [entry for chunk in chunks for choice in chunk.choices for entry in getattr(choice.delta, name)]
        assert [object_to_json(entry)["index"] for entry in entries] == list(range(count))


async def test_reasoning_blocks_without_a_number_get_one() -> None:
    block: dict[str, Any] = {"type": "reasoning.summary", "summary": "so"}
    turns = [Turn(calls=[WEATHER], details=[block, block]), Turn("Done.", details=[block])]

    answer = await scene(*turns).ask(stream=False)

    message = answer.choices[0].message
    assert [object_to_json(entry)["index"] for entry in message.reasoning_details] == [0, 1, 2]
    assert message.tool_events[0].reasoning_length == 2


async def test_text_flows_while_tools_run_and_before_the_next_turn() -> None:
    """Each piece is there before what comes after it can have begun."""
    go_on, second = asyncio.Event(), asyncio.Event()

    async def waiting(name: str, arguments: str) -> Found:
        await (go_on if name == "srv__weather" else second).wait()
        return Found(name)

    stage = scene(Turn("One.", calls=[WEATHER, Call("srv__time")]), Turn("Two.", waits=True), tools=Tools(waiting))
    async with asyncio.timeout(10), aclosing(stage.loop.stream(stage.call())) as chunks:
        text = ""
        while not text.endswith("One."):
            text += (await anext(chunks)).choices[0].delta.content
        assert stage.tools.ran == []
        go_on.set()
        event = (await anext(chunks)).choices[0].delta.tool_events[0]
        assert (event.result, len(stage.requests)) == ("srv__weather", 1)
        second.set()
        assert (await anext(chunks)).choices[0].delta.tool_events[0].index == 1
        assert "".join([(await anext(chunks)).choices[0].delta.content for _ in range(2)]) == "\n\nTwo."


async def test_nothing_is_streamed_before_there_is_something_to_see() -> None:
    """So that a failure before it is a plain status still."""

    async def failing(name: str, arguments: str) -> Found:
        raise Unavailable("a fault of the service's own")

    stage = scene(Turn(calls=[WEATHER]), tools=Tools(failing))
    with pytest.raises(Unavailable):
        await stage.ask(stream=True)

    assert stage.seen == []


async def test_an_event_may_open_the_answer() -> None:
    chunks = await streamed(Turn(calls=[WEATHER]), Turn("Done."))

    delta = chunks[0].choices[0].delta
    assert (delta.role, delta.HasField("content"), len(delta.tool_events)) == ("assistant", True, 1)


def _delta(chunk: ChatCompletion | ChatCompletionChunk) -> Delta:
    assert isinstance(chunk, ChatCompletionChunk)
    return chunk.choices[0].delta


async def test_filter_results_and_moderation_of_all_turns_are_told() -> None:
    def moderate(chunk: ChatCompletion | ChatCompletionChunk) -> None:
        if chunk.choices and _delta(chunk).role:
            chunk.moderation.fields.add(key=f"of-{chunk.id}").value.bool_value = True
        if chunk.choices and chunk.choices[0].HasField("native_finish_reason"):
            results = chunk.choices[0].content_filter_results
            results.fields.add(key=f"of-{chunk.id}").value.bool_value = True

    stage = scene(Turn(calls=[WEATHER]), Turn("Done."))
    stage.actors[0].change = moderate

    answer = await stage.ask(stream=True)

    found = {"of-answer-0": True, "of-answer-1": True}
    assert object_to_json(answer.moderation) == found
    assert object_to_json(answer.choices[0].content_filter_results) == found


async def test_tools_see_no_difference_between_both_kinds_of_request() -> None:
    streaming, whole = scene(*TURNS, tools=Tools(sunny)), scene(*TURNS, tools=Tools(sunny))
    await streaming.ask(stream=True)
    await whole.ask(stream=False)

    assert [ran[:2] for ran in streaming.tools.ran] == [ran[:2] for ran in whole.tools.ran]
