"""Nothing goes on for a caller who has left: neither the provider nor a tool, and no task stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from tests.support.asking import until
from tests.turns.script import Call, Found, Scene, Tools, Turn, scene, sunny

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
WEATHER = Call("srv__weather")


async def hanging(name: str, arguments: str) -> Found:
    await asyncio.Event().wait()
    return Found("never")


def in_the_first_turn() -> Scene:
    return scene(Turn(waits=True))


def amid_tools() -> Scene:
    calls = [Call("srv__weather", id=str(number)) for number in range(6)]
    return scene(Turn("One.", calls=calls), tools=Tools(hanging))


def in_a_later_turn() -> Scene:
    return scene(Turn("One.", calls=[WEATHER]), Turn(waits=True))


def within_the_text_of_a_later_turn() -> Scene:
    return scene(Turn("One.", calls=[WEATHER]), Turn("Two", waits=True))


WHERE = pytest.mark.parametrize(
    "where", [in_the_first_turn, amid_tools, in_a_later_turn, within_the_text_of_a_later_turn]
)


def is_there(stage: Scene) -> bool:
    """Whether it waits where it is to be cancelled."""
    if stage.actors[0].turns[0].waits:
        return stage.actors[0].open == 1
    if stage.tools.answer is hanging:
        return stage.tools.running == 4
    return len(stage.requests) == 2 and stage.actors[0].open == 1


@BOTH
@WHERE
async def test_a_cancelled_call_leaves_nothing_behind(
    stream: bool,  # noqa: FBT001 - a column of the table
    where: Callable[[], Scene],
) -> None:
    stage = where()
    before = asyncio.all_tasks()
    task = asyncio.create_task(stage.ask(stream=stream))
    await until(lambda: is_there(stage))

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert stage.actors[0].open == 0
    assert (stage.tools.running, stage.tools.cancelled) == (0, 4 if stage.tools.answer is hanging else 0)
    assert asyncio.all_tasks() == before


async def _until_text(chunks: AsyncGenerator[ChatCompletionChunk], text: str) -> None:
    seen = ""
    while not seen.endswith(text):
        seen += (await anext(chunks)).choices[0].delta.content


@pytest.mark.parametrize("text", ["One.", "Two"])
async def test_a_stream_that_is_closed_midway_leaves_nothing_behind(text: str) -> None:
    stage = within_the_text_of_a_later_turn()
    before = asyncio.all_tasks()
    async with aclosing(stage.loop.stream(stage.call())) as chunks:
        await _until_text(chunks, text)

    assert stage.actors[0].open == 0
    assert asyncio.all_tasks() == before


async def test_a_stream_that_is_closed_while_tools_run_ends_them() -> None:
    async def one_hangs(name: str, arguments: str) -> Found:
        return await (sunny if name == "srv__time" else hanging)(name, arguments)

    stage = scene(Turn(calls=[Call("srv__time"), WEATHER]), tools=Tools(one_hangs))
    before = asyncio.all_tasks()
    async with aclosing(stage.loop.stream(stage.call())) as chunks:
        assert (await anext(chunks)).choices[0].delta.tool_events[0].tool == "srv__time"
        await until(lambda: stage.tools.running == 1)

    assert (stage.tools.running, stage.tools.cancelled) == (0, 1)
    assert asyncio.all_tasks() == before


@BOTH
async def test_a_tool_that_fails_in_a_way_it_must_not_ends_the_others(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def broken(name: str, arguments: str) -> Found:
        if name == "srv__time":
            raise RuntimeError("a fault")
        return await hanging(name, arguments)

    stage = scene(Turn(calls=[Call("srv__time"), WEATHER]), tools=Tools(broken))
    before = asyncio.all_tasks()
    with pytest.raises(RuntimeError):
        await stage.ask(stream=stream)

    assert stage.tools.running == 0
    assert asyncio.all_tasks() == before


@BOTH
async def test_no_tool_is_begun_for_a_caller_who_has_gone(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("One.", calls=[WEATHER]), Turn("never"))
    stage.journal.is_abandoned = True

    with pytest.raises(asyncio.CancelledError):
        await stage.ask(stream=stream)

    assert stage.tools.ran == []
    assert len(stage.requests) == 1
    assert [usage.total_tokens for usage in stage.journal.turns if usage] == [15], "what was read on for is known"


@BOTH
async def test_no_turn_is_begun_for_a_caller_who_has_gone(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def leaving(name: str, arguments: str) -> Found:
        stage.journal.is_abandoned = True
        return Found("late")

    stage = scene(Turn("One.", calls=[WEATHER]), Turn("never"), tools=Tools(leaving))

    with pytest.raises(asyncio.CancelledError):
        await stage.ask(stream=stream)

    assert len(stage.requests) == 1


@BOTH
async def test_an_answer_that_is_complete_is_read_to_its_end_without_a_caller(
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    stage = scene(Turn("One.", calls=[Call("mine")]))
    stage.journal.is_abandoned = True

    answer = await stage.ask(stream=stream)

    assert answer.usage.total_tokens == 15
