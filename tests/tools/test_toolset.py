"""Which server-side tools a request may use, and what becomes of a call."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from service.errors import Reason, RequestError, ToolServerUnavailable
from service.json_values import object_to_json
from service.project_settings import ToolLimits, ToolServer
from service.tools.server import ToolServerConnection
from service.tools.toolset import Toolset
from tests.tools.mcp_support import QUICK, becomes, command, journal, running

ECHO, PID, FAIL = "shop__echo", "shop__pid", "shop__fail"
ALL = {ECHO, PID, FAIL}


def _offered(toolset: Toolset, use_tools: bool | None, switches: dict[str, bool]) -> set[str]:  # noqa: FBT001 - as offer
    offer = toolset.offer(use_tools, switches, {id_: f"tools[{index}].id" for index, id_ in enumerate(switches)})
    return set() if offer is None else {definition.name for definition in offer.definitions}


async def test_the_switches_of_project_server_request_and_tool(folder: Path) -> None:
    section: dict[str, Any] = {"command": command(folder), "only": ["echo", "pid", "fail"]}
    async with running(ToolServer(**section)) as shop:
        disabled = ToolServerConnection("shop", ToolServer(**section, enabled=False), timing=QUICK)
        disabled._listing, disabled._link = shop._listing, shop._link  # as if it had told the same
        for connection, of_project, of_request, switches, expected in [
            (shop, True, None, {}, ALL),
            (shop, True, True, {}, ALL),
            (shop, True, False, {}, set()),
            (shop, False, None, {}, set()),
            (shop, False, True, {}, ALL),
            (shop, True, None, {ECHO: False}, {PID, FAIL}),
            (shop, True, None, dict.fromkeys(ALL, False), set()),
            (shop, True, False, {ECHO: True}, {ECHO}),
            (shop, False, None, {ECHO: True, PID: False}, {ECHO}),
            (disabled, True, None, {}, set()),
            (disabled, True, True, {}, set()),
            (disabled, True, None, {PID: True}, {PID}),
        ]:
            toolset = Toolset({"shop": connection}, ToolLimits(), use_tools=of_project)
            assert _offered(toolset, of_request, switches) == expected


async def test_a_switch_of_an_unknown_tool_is_the_callers_fault(folder: Path) -> None:
    async with running(ToolServer(command=command(folder), only=["echo"])) as shop:
        toolset = Toolset({"shop": shop}, ToolLimits())
        for id_ in ("shop__absent", "shop__pid", "depot__echo", "shop", "echo", ""):
            for is_on in (True, False):
                with pytest.raises(RequestError) as caught:
                    _offered(toolset, None, {ECHO: True, id_: is_on})
                assert caught.value.reason is Reason.TOOL_NOT_FOUND
                assert caught.value.param == "tools[1].id"


@pytest.mark.parametrize(
    ("use_tools", "switches", "is_needed"),
    [
        (None, {}, True),
        (True, {}, True),
        (False, {}, False),
        (False, {ECHO: True}, True),
        (False, {ECHO: False}, False),
        (None, {ECHO: False}, True),
    ],
)
async def test_a_server_that_never_was_up_fails_requests_that_need_it(
    *, use_tools: bool | None, switches: dict[str, bool], is_needed: bool
) -> None:
    down = ToolServerConnection("shop", ToolServer(command=["/no/such/program"]))
    left_out = ToolServerConnection("shop", ToolServer(command=["/no/such/program"], when_down="leave_out"))
    if is_needed:
        with pytest.raises(ToolServerUnavailable, match="`shop`") as caught:
            _offered(Toolset({"shop": down}, ToolLimits()), use_tools, switches)
        assert caught.value.retry_after_s == 1
    else:
        assert _offered(Toolset({"shop": down}, ToolLimits()), use_tools, switches) == set()
    assert _offered(Toolset({"shop": left_out}, ToolLimits()), use_tools, switches) == set()


async def test_a_server_that_went_down_is_left_out_or_fails_and_its_tools_stay_known(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(running(ToolServer(command=command(folder), only=["echo"])))
        depot = await stack.enter_async_context(
            running(ToolServer(command=command(folder), only=["pid"], when_down="leave_out"))
        )
        depot.name = "depot"
        toolset = Toolset({"shop": shop, "depot": depot}, ToolLimits())
        await depot.aclose()
        assert _offered(toolset, None, {}) == {ECHO}
        offer = toolset.offer(None, {}, {})
        await shop.aclose()
        with pytest.raises(ToolServerUnavailable, match="`shop`"):
            _offered(toolset, None, {})
        assert _offered(toolset, None, {ECHO: False}) == set()
        with pytest.raises(RequestError):
            _offered(toolset, None, {"shop__absent": True})
        assert offer is not None  # of before
        outcome = await offer.run(ECHO, '{"text": "x"}', 5)
        assert (outcome.text, outcome.is_error) == ("The tool's server is not available at the moment.", True)


async def test_an_offered_tool_is_run(folder: Path) -> None:
    async with running(ToolServer(command=command(folder), timeout_s=0.5)) as shop:
        limits = ToolLimits(max_turns=3)
        offer = Toolset({"shop": shop}, limits).offer(None, {}, {})
        assert offer is not None
        assert offer.limits is limits
        assert offer.is_server_side(ECHO)
        assert not offer.is_server_side("shop__absent")
        (echo,) = [definition for definition in offer.definitions if definition.name == ECHO]
        assert list(object_to_json(echo.parameters)["properties"]) == ["text"]  # type: ignore[arg-type] # an object
        for arguments, within_s, expected in [
            ('{"text": "ü"}', 60, ("ü", False)),
            ("[1]", 60, ("The tool was not called: its arguments must be one valid JSON object.", True)),
            ('{"text": "x"}', 0, ("The tool was not called: there is no time left.", True)),
        ]:
            outcome = await offer.run(ECHO, arguments, within_s)
            assert (outcome.text, outcome.is_error) == expected
        for left_s, text in ((60.0, "within 0.5 s"), (0.25, "within 0.25 s")):
            outcome = await offer.run("shop__hang", "", left_s)
            assert outcome.is_error
            assert text in outcome.text


async def test_a_cancellation_passes_through_an_offer(folder: Path) -> None:
    async with running(ToolServer(command=command(folder))) as shop:
        offer = Toolset({"shop": shop}, ToolLimits()).offer(None, {}, {})
        assert offer is not None
        call = asyncio.create_task(offer.run("shop__hang", "{}", 60))
        await becomes(lambda: "hang begun" in journal(folder))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await becomes(lambda: "hang cancelled" in journal(folder))
