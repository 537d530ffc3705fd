"""Turns with the tools of a real MCP server, over both transports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service._gen.parley.v1.chat_completion_pb2 import AssistantMessage
from service._gen.parley.v1.tool_pb2 import ToolEvent
from service.project_settings import ToolLimits, ToolServer
from service.tools.server import ToolServerConnection
from service.tools.toolset import Toolset
from service.turns.offer import Offer
from tests.tools.mcp_support import becomes, command, http_server, journal, running
from tests.turns.script import Call, Scene, Turn, scene

LONGEST_S = 1.0
"""Of each call of a tool here."""


@pytest.fixture(params=["stdio", "http"])
def settings(request: pytest.FixtureRequest, folder: Path) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        if request.param == "stdio":
            yield {"command": command(folder)}
        else:
            yield {"url": stack.enter_context(http_server(folder))[0]}


@pytest.fixture
async def shop(settings: dict[str, Any]) -> AsyncIterator[ToolServerConnection]:
    async with running(ToolServer(**settings)) as connection:
        yield connection


def offer_of(shop: ToolServerConnection, limits: ToolLimits | None = None) -> Offer:
    offer = Toolset({"shop": shop}, limits or ToolLimits()).offer(None, {}, {})
    assert offer is not None
    return offer


def calling(name: str, **arguments: Any) -> Call:
    return Call(f"shop__{name}", json.dumps(arguments))


async def answered(stage: Scene) -> AssistantMessage:
    """The message, which is the same whichever way it was asked for."""
    return (await stage.ask(stream=True)).choices[0].message


def results(events: Any) -> list[tuple[str, str]]:
    return [(event.status, event.result) for event in events]


async def test_the_model_is_told_of_the_tools_and_of_what_they_find(shop: ToolServerConnection) -> None:
    stage = scene(Turn("Well.", calls=[calling("echo", text="ä 🙂")]), Turn("It said so."), tools=offer_of(shop))

    message = await answered(stage)

    assert results(message.tool_events) == [("ok", "ä 🙂")]
    assert message.content == "Well.\n\nIt said so."
    offered = {tool.function.name: tool.function for tool in stage.requests[0].tools}
    assert offered["shop__echo"].description == "Says what it is told."
    assert stage.requests[1].messages[-1].content.string_value == "ä 🙂"


async def test_several_turns_use_one_server(shop: ToolServerConnection) -> None:
    turns = [Turn(calls=[calling("echo", text=str(number))]) for number in range(4)]

    message = await answered(scene(*turns, Turn("Done."), tools=offer_of(shop)))

    assert [(event.turn, event.result) for event in message.tool_events] == [(0, "0"), (1, "1"), (2, "2"), (3, "3")]


async def test_calls_made_at_once_meet(shop: ToolServerConnection) -> None:
    calls = [calling("meet", count=3)] * 3

    message = await answered(scene(Turn(calls=calls), Turn("Done."), tools=offer_of(shop)))

    assert results(message.tool_events) == [("ok", "met")] * 3


async def test_a_tool_that_hangs_is_given_up_and_the_model_goes_on(shop: ToolServerConnection, folder: Path) -> None:
    limits = ToolLimits(total_s=LONGEST_S)
    calls = [calling("echo", text="at once"), calling("hang")]
    stage = scene(Turn(calls=calls), Turn("Without it."), tools=offer_of(shop, limits))

    message = await answered(stage)

    assert [event.status for event in message.tool_events] == ["ok", "error"]
    assert message.content == "Without it."
    assert stage.requests[1].tool_choice.string_value == "none", "no time is left for more"
    await becomes(lambda: "hang cancelled" in journal(folder))


async def test_a_caller_who_leaves_ends_the_tool(shop: ToolServerConnection, folder: Path) -> None:
    task = asyncio.create_task(answered(scene(Turn(calls=[calling("hang")]), tools=offer_of(shop))))
    await becomes(lambda: "hang begun" in journal(folder))

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await becomes(lambda: "hang cancelled" in journal(folder))
    message = await answered(scene(Turn(calls=[calling("echo", text="x")]), Turn("Done."), tools=offer_of(shop)))
    assert results(message.tool_events) == [("ok", "x")], "the next call is not harmed by that"


@pytest.mark.parametrize("call", [Call("shop__echo", "{"), Call("shop__echo", "{}"), calling("large", size=10_000_000)])
async def test_what_a_tool_can_not_bring_is_told_to_the_model(shop: ToolServerConnection, call: Call) -> None:
    stage = scene(Turn(calls=[call]), Turn("Sorry."), tools=offer_of(shop))

    message = await answered(stage)

    event: ToolEvent = message.tool_events[0]
    assert event.status == "error"
    assert 0 < len(event.result) < 1000
    assert stage.requests[1].messages[-1].is_error
    assert message.content == "Sorry."


async def test_a_server_that_dies_amid_a_call_is_told_to_the_model(shop: ToolServerConnection) -> None:
    stage = scene(Turn(calls=[calling("die")]), Turn("Sorry."), tools=offer_of(shop))

    message = await answered(stage)

    assert message.tool_events[0].status == "error"
    assert message.content == "Sorry."
