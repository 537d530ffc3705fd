"""How the model's turns follow each other, and what answer they make; asked in one piece and as a stream."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk, Usage
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.tool_pb2 import FunctionDefinition
from service.catalogue import Prices
from service.dispatch.call import Deadline
from service.errors import Malformed, ParleyError, Reason, RequestError, Timeout, Unavailable
from service.limits import Limits, Retries
from service.project_settings import ToolLimits
from tests.turns.script import Call, Found, Tools, Turn, asking, function, names, scene, sunny, told

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
WEATHER = Call("srv__weather")
SUNNY = "srv__weather says sunny"


@BOTH
async def test_an_answer_without_server_side_calls_stays_as_it_is(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("Hello there.", calls=[Call("mine", "{}")]))

    answer = await stage.ask(stream=stream)

    assert len(stage.requests) == 1
    choice = answer.choices[0]
    assert (choice.message.content, names(choice.message.tool_calls)) == ("Hello there.", ["mine"])
    assert (choice.finish_reason, choice.native_finish_reason) == ("tool_calls", "end-0")
    assert (answer.id, answer.created, answer.object) == ("answer-0", 1000, "chat.completion")
    assert answer.usage.total_tokens == 15
    assert not choice.message.tool_events
    assert stage.tools.ran == []


@BOTH
async def test_a_call_of_a_server_side_tool_is_run_and_the_model_goes_on(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("Let me look.", calls=[WEATHER]), Turn("It is sunny."))

    answer = await stage.ask(stream=stream)

    message = answer.choices[0].message
    assert message.content == "Let me look.\n\nIt is sunny."
    assert not message.tool_calls
    assert told(message.tool_events) == [("call_0_0", "srv__weather", SUNNY)]
    event = message.tool_events[0]
    assert (event.status, event.duration_ms, event.turn, event.arguments) == ("ok", 7, 0, '{"city":"Bern"}')
    assert (event.text_length, event.reasoning_length, event.provider_content_length) == (12, 0, 0)
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", "end-1")
    assert (answer.id, answer.created, answer.system_fingerprint) == ("answer-0", 1000, "fp-1")
    assert [(name, arguments) for name, arguments, _ in stage.tools.ran] == [("srv__weather", '{"city":"Bern"}')]


@BOTH
async def test_the_next_turn_is_asked_with_what_was_called_and_found(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(
        Turn(
            "Let me look.",
            calls=[Call("srv__weather", extra={"google": {"thought_signature": "s"}})],
            reasoning="Hm",
            details=[{"type": "reasoning.text", "text": "Hm", "signature": "x", "format": "f"}],
            provider_content=[{"format": "f", "block": {"a": 1}}],
        ),
        Turn("It is sunny."),
    )

    await stage.ask(stream=stream)

    first, second = stage.requests
    assert [tool.function.name for tool in first.tools] == ["mine", "srv__weather", "srv__time"]
    assert len(first.messages) == 1
    _, assistant, result = second.messages
    assert (assistant.role, assistant.content.string_value, assistant.reasoning_content) == (
        "assistant",
        "Let me look.",
        "Hm",
    )
    assert names(assistant.tool_calls) == ["srv__weather"]
    assert assistant.tool_calls[0].HasField("extra_content")
    assert len(assistant.reasoning_details) == 1
    assert [member.key for member in assistant.provider_content[0].fields] == ["format", "block"]
    assert (result.role, result.tool_call_id, result.content.string_value) == ("tool", "call_0_0", SUNNY)
    assert not result.HasField("is_error")
    assert len(stage.call().request.messages) == 1, "the caller's own request stays as it is"


@BOTH
async def test_calls_made_at_once_run_at_once_and_are_told_in_their_order(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    both, second_ends = asyncio.Barrier(2), asyncio.Event()

    async def together(name: str, arguments: str) -> Found:
        await both.wait()
        if name == "srv__weather":
            await second_ends.wait()
        second_ends.set()
        return Found(name)

    stage = scene(Turn(calls=[WEATHER, Call("srv__time")]), Turn("Done."), tools=Tools(together))

    answer = await asyncio.wait_for(stage.ask(stream=stream), 10)

    events = answer.choices[0].message.tool_events
    assert [event.result for event in events] == ["srv__weather", "srv__time"]
    assert [event.index for event in events] == [0, 1]
    assert [message.content.string_value for message in stage.requests[1].messages[2:]] == ["srv__weather", "srv__time"]


@BOTH
async def test_no_more_tools_run_at_once_than_may(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def slow(name: str, arguments: str) -> Found:
        await asyncio.sleep(0.01)
        return Found("ok")

    tools = Tools(slow, ToolLimits(parallel=2))
    stage = scene(Turn(calls=[WEATHER] * 5), Turn("Done."), tools=tools)
    stage.actors[0].turns[0].calls = [Call("srv__weather", id=f"c{number}") for number in range(5)]

    await stage.ask(stream=stream)

    assert len(tools.ran) == 5
    assert tools.most_running == 2


@BOTH
async def test_several_turns_are_one_answer(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(
        Turn("One.", calls=[WEATHER], reasoning="a"),
        Turn(calls=[Call("srv__time", "{}")]),
        Turn("Two.", calls=[WEATHER], reasoning="b"),
        Turn("Three."),
    )

    answer = await stage.ask(stream=stream)

    message = answer.choices[0].message
    assert message.content == "One.\n\nTwo.\n\nThree."
    assert message.reasoning_content == "a\n\nb"
    assert [(event.index, event.turn, event.text_length) for event in message.tool_events] == [
        (0, 0, 4),
        (1, 1, 4),
        (2, 2, 10),
    ]
    assert [len(request.messages) for request in stage.requests] == [1, 3, 5, 7]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (40, 20, 60)


@BOTH
async def test_calls_of_both_kinds_at_once_end_the_answer(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    calls = [Call("srv__weather"), Call("mine", '{"a":1}'), Call("srv__time", "{}"), Call("mine", '{"b":2}')]
    stage = scene(Turn("Both.", calls=calls))

    answer = await stage.ask(stream=stream)

    choice = answer.choices[0]
    assert len(stage.requests) == 1
    assert choice.finish_reason == "tool_calls"
    assert [(call.id, call.function.arguments) for call in choice.message.tool_calls] == [
        ("call_0_1", '{"a":1}'),
        ("call_0_3", '{"b":2}'),
    ]
    assert [event.id for event in choice.message.tool_events] == ["call_0_0", "call_0_2"]


@BOTH
async def test_the_last_turn_is_told_to_call_no_tool(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    tools = Tools(sunny, ToolLimits(max_turns=3))
    stage = scene(Turn(calls=[WEATHER]), Turn(calls=[WEATHER]), Turn("Done."), tools=tools)

    answer = await stage.ask(stream=stream)

    assert answer.choices[0].message.content == "Done."
    assert [request.tool_choice.string_value for request in stage.requests] == ["", "", "none"]
    assert all(len(request.tools) == 3 for request in stage.requests)


@BOTH
async def test_a_model_that_calls_tools_without_end_is_an_error(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    tools = Tools(sunny, ToolLimits(max_turns=2))
    stage = scene(Turn("More.", calls=[WEATHER]), tools=tools)

    with pytest.raises(ParleyError) as raised:
        await stage.ask(stream=stream)

    assert raised.value.reason is Reason.TOOL_TURNS_EXCEEDED
    assert len(stage.requests) == 2
    assert len(tools.ran) == 1
    assert [usage.total_tokens for usage in stage.journal.turns if usage] == [15, 15]


@BOTH
async def test_where_the_time_for_tools_is_over_the_next_turn_is_the_last(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def slow(name: str, arguments: str) -> Found:
        await asyncio.sleep(0.05)
        return Found("too late", is_error=True)

    tools = Tools(slow, ToolLimits(total_s=0.02))
    stage = scene(Turn(calls=[WEATHER]), Turn("Done."), tools=tools)

    await stage.ask(stream=stream)

    assert stage.requests[1].tool_choice.string_value == "none"
    assert tools.ran[0][2] <= 0.02, "a tool is told how long it may take"


async def test_a_tool_may_take_no_longer_than_the_caller_waits() -> None:
    stage = scene(Turn(calls=[WEATHER]), Turn("Done."), deadline=Deadline(at=time.monotonic() + 30))

    await stage.ask(stream=False)

    assert 1 < stage.tools.ran[0][2] <= 30


@BOTH
async def test_a_tool_that_fails_tells_the_model_so(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def failing(name: str, arguments: str) -> Found:
        return Found("It is broken.", is_error=True)

    stage = scene(Turn(calls=[WEATHER]), Turn("Sorry."), tools=Tools(failing))

    answer = await stage.ask(stream=stream)

    assert answer.choices[0].message.tool_events[0].status == "error"
    result = stage.requests[1].messages[-1]
    assert (result.content.string_value, result.is_error) == ("It is broken.", True)


@BOTH
@pytest.mark.parametrize("arguments", ["", "{", "[1]", '{"a":'])
async def test_arguments_that_are_no_object_go_to_the_tool_and_not_back_to_the_provider(
    stream: bool,  # noqa: FBT001 - a column of the table
    arguments: str,
) -> None:
    stage = scene(Turn(calls=[Call("srv__weather", arguments)]), Turn("Done."))

    answer = await stage.ask(stream=stream)

    assert stage.tools.ran[0][1] == arguments
    assert answer.choices[0].message.tool_events[0].arguments == arguments
    assert stage.requests[1].messages[1].tool_calls[0].function.arguments == "{}"


@BOTH
@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_calls_of_a_turn_that_was_cut_are_not_run(
    stream: bool,  # noqa: FBT001 - a column of the table
    finish: str,
) -> None:
    stage = scene(Turn("Let me", calls=[Call("srv__weather", '{"ci')], finish=finish))

    answer = await stage.ask(stream=stream)

    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == (finish, "Let me")
    assert not choice.message.tool_calls
    assert stage.tools.ran == []


def choosing(kind: str, name: str) -> Value:
    choice = Value()
    choice.struct_value.update({"type": kind, kind: {"name": name}})
    return choice


def allowing(mode: str) -> Value:
    choice = Value()
    tools = [{"type": "function", "function": {"name": "srv__weather"}}]
    json_format.ParseDict({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}, choice)
    return choice


@BOTH
@pytest.mark.parametrize(
    ("choice", "later"),
    [
        (Value(string_value="required"), None),
        (Value(string_value="auto"), Value(string_value="auto")),
        (choosing("function", "mine"), None),
        (choosing("function", "srv__weather"), None),
        (allowing("required"), allowing("auto")),
        (allowing("auto"), allowing("auto")),
    ],
)
async def test_what_has_to_be_called_has_to_be_in_the_first_turn_only(
    stream: bool,  # noqa: FBT001 - a column of the table
    choice: Value,
    later: Value | None,
) -> None:
    stage = scene(Turn(calls=[WEATHER]), Turn("Done."), request=asking(tool_choice=choice))

    await stage.ask(stream=stream)

    first, second = stage.requests
    assert first.tool_choice == choice
    assert (second.tool_choice if second.HasField("tool_choice") else None) == later


@BOTH
@pytest.mark.parametrize(
    ("request_", "limits"),
    [
        (asking(tool_choice=Value(string_value="none")), ToolLimits()),
        (asking(tool_choice=Value(string_value="none"), n=2), ToolLimits()),
        (asking(), ToolLimits(max_turns=1)),
    ],
)
async def test_where_no_tool_could_run_none_is_offered(
    stream: bool,  # noqa: FBT001 - a column of the table
    request_: ChatCompletionRequest,
    limits: ToolLimits,
) -> None:
    stage = scene(Turn("Hello."), tools=Tools(sunny, limits), request=request_)

    answer = await stage.ask(stream=stream)

    assert answer.choices[0].message.content == "Hello."
    assert stage.requests == [request_]


@BOTH
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"functions": [FunctionDefinition(name="old")], "tools": []}, "functions"),
        ({"tools": [function("mine"), function("srv__time")]}, "tools[1].function.name"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tool_choice": choosing("function", "srvless")}, "tool_choice"),
    ],
)
async def test_what_can_not_be_had_with_server_side_tools_is_refused_by_name(
    stream: bool,  # noqa: FBT001 - a column of the table
    fields: dict[str, Any],
    param: str,
) -> None:
    stage = scene(Turn("never"), request=asking(**fields))

    with pytest.raises(RequestError) as raised:
        await stage.ask(stream=stream)

    assert (raised.value.reason, raised.value.param) == (Reason.PARAMETER_INVALID, param)
    assert stage.requests == []


@BOTH
async def test_the_first_tokens_time_is_the_first_turns(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """The first turn has 0.5 s; both together take longer."""
    deadline = Deadline(first_token_at=time.monotonic() + 0.5)
    stage = scene(Turn(calls=[WEATHER]), Turn("Done.", late_s=0.6), deadline=deadline)

    answer = await stage.ask(stream=stream)

    assert answer.choices[0].message.content == "Done."


@BOTH
async def test_a_later_turn_is_asked_however_little_time_is_left(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Whoever set the deadline ends the call; until then nothing is given up."""
    deadline = Deadline(at=time.monotonic() - 1)
    stage = scene(Turn(calls=[WEATHER]), Turn("Done."), deadline=deadline)

    answer = await stage.ask(stream=stream)

    assert answer.choices[0].message.content == "Done."


@BOTH
async def test_a_later_turn_is_repeated_and_done_by_another_target_as_the_first_would_be(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    limits = Limits(retries=Retries(max_attempts=2, backoff_s=0.001, budget=1), breaker=None)
    down = Turn(fails_with=Unavailable("down"))
    prices = [Prices(input=100_000, output=0), Prices(input=200_000, output=0)]
    stage = scene(Turn("One.", calls=[WEATHER]), down, down, others=[[Turn("Two.")]], prices=prices, limits=limits)

    answer = await stage.ask(stream=stream)

    assert answer.choices[0].message.content == "One.\n\nTwo."
    assert [(attempt.target.provider, attempt.outcome) for attempt in stage.journal.attempts] == [
        ("a", "OK"),
        ("a", "UPSTREAM_UNAVAILABLE"),
        ("a", "UPSTREAM_UNAVAILABLE"),
        ("b", "OK"),
    ]
    assert answer.usage.cost_usd == pytest.approx(1 + 2), "each turn by its own target's prices"


@BOTH
@pytest.mark.parametrize("prices", [[None, Prices(input=1, output=1)], [Prices(input=1, output=1), None]])
async def test_the_cost_is_not_known_where_that_of_a_turn_is_not(
    stream: bool,  # noqa: FBT001 - a column of the table
    prices: list[Prices | None],
) -> None:
    down = Turn(fails_with=Unavailable("down"))
    stage = scene(Turn(calls=[WEATHER]), down, others=[[Turn("Two.")]], prices=prices)

    answer = await stage.ask(stream=stream)

    assert answer.usage.total_tokens == 30
    assert not answer.usage.HasField("cost_usd")


@BOTH
async def test_the_usage_is_not_known_where_that_of_a_turn_is_not(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn(calls=[WEATHER], usage=None), Turn("Done."))

    answer = await stage.ask(stream=stream)

    assert not answer.HasField("usage")
    assert stage.journal.turns == [None, Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15)]


@BOTH
@pytest.mark.parametrize("error", [Unavailable("down"), Timeout("slow")])
async def test_a_later_turn_that_fails_is_never_an_answer(
    stream: bool,  # noqa: FBT001 - a column of the table
    error: ParleyError,
) -> None:
    stage = scene(Turn("One.", calls=[WEATHER]), Turn("Two", fails_with=error))

    with pytest.raises(type(error)):
        await stage.ask(stream=stream)

    assert not any(choice.finish_reason.string_value for chunk in stage.seen for choice in chunk.choices)
    assert not any(chunk.HasField("usage") for chunk in stage.seen)
    assert stage.journal.turns == [Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15)]


@BOTH
async def test_several_answers_are_malformed(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    def renumber(answer: ChatCompletion | ChatCompletionChunk) -> None:
        for choice in answer.choices:
            choice.index = 1

    stage = scene(Turn("One."))
    stage.actors[0].change = renumber

    with pytest.raises(Malformed):
        await stage.ask(stream=stream)


@BOTH
async def test_dropped_parameters_of_all_turns_are_told_once(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn(calls=[WEATHER]), Turn("Done."))
    stage.actors[0].drops = [["seed", "top_k"], ["seed"]]

    await stage.ask(stream=stream)

    assert stage.journal.dropped == ["seed", "top_k"]


@BOTH
async def test_each_turn_has_an_id_of_its_own_for_calls_without_one(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn(calls=[WEATHER]), Turn(calls=[WEATHER]), Turn("Done."))

    await stage.ask(stream=stream)

    assert [call.identity.id for call in stage.actors[0].calls] == ["chatcmpl-1", "chatcmpl-1-1", "chatcmpl-1-2"]
