"""Servers of tools that are not there, that end, or that hang, and what is left behind of them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from service.project_settings import ToolServer
from service.settings import Secret
from service.tools.link import Link, LostError
from service.tools.outcome import ToolFailedError
from service.tools.server import Timing, ToolServerConnection
from service.tools.session import Session
from tests.support.envoy import ROOT
from tests.support.stack import wait_for
from tests.tools.mcp_support import QUICK, becomes, command, http_server, is_running, journal, running

SLOW_TO_LOOK = Timing(backoff_min_s=0.05, backoff_max_s=0.2, check_interval_s=600)


def started(folder: Path) -> list[int]:
    """Process ids of the servers that were started, in their order."""
    return [int(line.split()[1]) for line in journal(folder) if line.startswith("started")]


async def test_a_program_that_dies_in_a_call_is_started_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(ToolServer(command=command(folder)), timing=SLOW_TO_LOOK) as shop:
        waiting = asyncio.create_task(shop.call("hang", {}, 60))
        await becomes(lambda: "hang begun" in journal(folder))
        for outcome in (await shop.call("die", {}, 30), await waiting):
            assert outcome.is_error
            assert "has ended while the tool was running" in outcome.text
        await becomes(lambda: not shop.is_up)
        assert shop.is_known
        assert (await shop.call("echo", {"text": "x"}, 30)).text == "The tool's server is not available at the moment."
        await becomes(lambda: shop.is_up)
        assert (await shop.call("echo", {"text": "again"}, 30)).text == "again"
    assert len(started(folder)) == 2
    assert re.search(
        r"not connected: its (output has ended|process has ended with status 3); next try in 0\.", caplog.text
    )


async def test_a_program_that_dies_idle_is_noticed_at_once(folder: Path) -> None:
    changes: list[bool] = []
    connection: list[ToolServerConnection] = []
    settings = ToolServer(command=command(folder))
    async with running(
        settings, timing=SLOW_TO_LOOK, on_change=lambda: changes.append(connection[0].is_up if connection else True)
    ) as shop:
        connection.append(shop)
        os.kill(started(folder)[0], signal.SIGKILL)
        await becomes(lambda: len(started(folder)) == 2 and shop.is_up)
    assert changes == [True, False, True, False]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (["/no/such/program"], "it can't be started: No such file or directory"),
        ([sys.executable, "-c", "raise SystemExit(7)"], "its (process has ended with status 7|output has ended)"),
        (["sleep", "3600"], "it has not told its tools within 0.3 s"),
        ([sys.executable, "-c", "print('CANARY', flush=True); input()"], "its|it has not told"),
    ],
)
async def test_a_program_that_is_no_server_is_tried_again(
    caplog: pytest.LogCaptureFixture, program: list[str], reason: str
) -> None:
    settings = ToolServer(command=program, connect_timeout_s=0.3)
    async with running(settings, is_awaited=False) as shop:
        await becomes(lambda: caplog.text.count("not connected: ") >= 3)
        assert not shop.is_up
        assert not shop.is_known
        assert shop.retry_in_s == 1
    assert re.search(f"not connected: {reason}", caplog.text)


async def test_the_waits_between_tries_grow() -> None:
    timing = Timing(backoff_min_s=0.05, backoff_max_s=20)
    async with running(ToolServer(command=["/no/such/program"]), timing=timing, is_awaited=False) as shop:
        await becomes(lambda: shop.retry_in_s > 1)  # after 0.05, 0.1, 0.2, 0.4, 0.8 s


@pytest.mark.parametrize("way", ["ignore", "die"])
async def test_an_older_server_that_fails_at_the_question_of_the_newer_era_is_met_in_its_own(
    folder: Path, way: str
) -> None:
    settings = ToolServer(command=command(folder, "--discover", way), connect_timeout_s=6)
    async with running(settings) as shop:
        assert (await shop.call("echo", {"text": "old"}, 30)).text == "old"
        (await shop.call("die", {}, 30))
        await becomes(lambda: not shop.is_up)
        before = len(started(folder))
        await becomes(lambda: shop.is_up)
        assert len(started(folder)) == before + 1


@pytest.mark.parametrize("era", ["answer", "refuse"])
async def test_an_http_server_may_come_later_go_and_come_again(folder: Path, era: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    options = ("--port", port, "--discover", era)
    settings = ToolServer(url=f"http://127.0.0.1:{port}/mcp")
    async with running(settings, is_awaited=False) as shop:
        for _ in range(2):
            await becomes(lambda: shop.retry_in_s >= 1 and not shop.is_up)
            with http_server(folder, *options):
                await becomes(lambda: shop.is_up)
                assert (await shop.call("echo", {"text": "here"}, 30)).text == "here"
            # Nothing is called: the next look at the list shows it.
            await becomes(lambda: not shop.is_up)


async def test_a_call_is_made_in_a_new_session_where_the_server_has_forgotten_the_last(folder: Path) -> None:
    with http_server(folder, "--discover", "refuse") as (url, _):
        port = url.split(":")[2].split("/")[0]
        async with running(ToolServer(url=url), timing=SLOW_TO_LOOK) as shop:
            os.kill(started(folder)[0], signal.SIGKILL)
            await becomes(lambda: not is_running(started(folder)[0]))
            with http_server(folder, "--discover", "refuse", "--port", port):
                assert shop.is_up  # not noticed yet
                assert (await shop.call("echo", {"text": "anew"}, 30)).text == "anew"
                assert shop.is_up


async def test_a_wrong_key_is_told_in_the_log_and_the_right_one_is_sent(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_server(folder, "--key", "planted-secret-of-shop") as (url, _):
        keys = ["s3cret"]
        settings = ToolServer(url=url, api_key=Secret("s3cret"))
        async with running(settings, key=lambda: keys[-1], is_awaited=False) as shop:
            await becomes(lambda: "not connected: it answered HTTP 401" in caplog.text)
            assert not shop.is_up
            keys.append("planted-secret-of-shop")
            await becomes(lambda: shop.is_up)
            assert (await shop.call("echo", {"text": "in"}, 30)).text == "in"
        async with running(ToolServer(url=url, api_key=Secret("planted-secret-of-shop"))) as shop:
            assert (await shop.call("echo", {"text": "in"}, 30)).text == "in"
            assert "s3cret" not in f"{shop!r} {shop.settings!r} {shop._opening()!r}"
    assert url not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("service"))


@pytest.mark.parametrize("transport", ["stdio", "http", "http-legacy"])
async def test_a_server_that_stands_still_is_given_up(folder: Path, transport: str) -> None:
    timing = Timing(
        backoff_min_s=0.05, backoff_max_s=0.2, check_interval_s=0.2, check_timeout_s=0.3, silence_s=1, settle_s=0.01
    )
    era = "refuse" if transport == "http-legacy" else "answer"
    with http_server(folder, "--discover", era) as (url, _):
        place = {"command": command(folder)} if transport == "stdio" else {"url": url}
        async with running(ToolServer(timeout_s=1, **place), timing=timing) as shop:
            pid = started(folder)[-1]
            os.kill(pid, signal.SIGSTOP)
            try:
                # Who leaves has not to wait until the server has heard of it.
                leaving = asyncio.create_task(shop.call("echo", {"text": "x"}, 60))
                await asyncio.sleep(0)
                leaving.cancel()
                async with asyncio.timeout(4):  # the SDK alone takes 5 s
                    await asyncio.wait({leaving})
                assert leaving.cancelled()
                assert (await shop.call("echo", {"text": "x"}, 0.2)).is_error
                await becomes(lambda: not shop.is_up)
            finally:
                if is_running(pid):
                    os.kill(pid, signal.SIGCONT)
            await becomes(lambda: shop.is_up)
            assert (await shop.call("echo", {"text": "back"}, 30)).text == "back"


async def test_a_server_that_is_kept_busy_by_a_tool_is_not_given_up_before_the_tools_time(folder: Path) -> None:
    timing = Timing(check_interval_s=0.1, check_timeout_s=0.1, silence_s=0.1)
    async with running(ToolServer(command=command(folder), timeout_s=60), timing=timing) as shop:
        pid = int((await shop.call("pid", {}, 30)).text)
        os.kill(pid, signal.SIGSTOP)
        outcome = await shop.call("echo", {"text": "x"}, 2)
        os.kill(pid, signal.SIGCONT)
        assert outcome.is_error
        assert (await shop.call("pid", {}, 30)).text == str(pid)


async def _call_while_the_group_ends() -> None:
    async def fail() -> None:
        raise LostError("it does not answer")

    async with asyncio.TaskGroup() as group:
        link = Link(cast(Session, None), group)  # which is not asked any more
        group.create_task(fail())
        try:
            await asyncio.Event().wait()
        finally:  # the group takes no more tasks, and nobody has closed the link yet
            await link.call("echo", {})


async def test_a_call_in_the_moment_in_which_a_session_ends_is_as_one_without_a_server() -> None:
    with pytest.raises(ExceptionGroup) as ended:
        await _call_while_the_group_ends()
    lost, failed = ended.value.exceptions
    assert isinstance(lost, LostError)
    assert isinstance(failed, ToolFailedError)
    assert str(failed) == "The tool's server is not available at the moment."


async def test_nothing_is_left_of_a_program(folder: Path) -> None:
    async with running(ToolServer(command=command(folder))) as shop:
        others = [int((await shop.call(tool, {}, 30)).text) for tool in ("pid", "start_another")]
        assert all(is_running(pid) for pid in others)
    assert not any(is_running(pid) for pid in others)
    assert journal(folder)[-1] == "ended"  # it was asked before it was made to


async def test_a_program_that_does_not_heed_its_end_is_killed(folder: Path) -> None:
    script = f"import signal, pathlib, os, time; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(folder / 'journal')!r})"
    script += ".write_text(f'started {os.getpid()}\\n'); time.sleep(3600)"
    settings = ToolServer(command=[sys.executable, "-c", script], connect_timeout_s=60)
    async with running(settings, is_awaited=False):
        await becomes(lambda: started(folder))
    assert not is_running(started(folder)[0])


async def test_a_second_cancellation_kills_at_once(folder: Path) -> None:
    shop = ToolServerConnection("shop", ToolServer(command=command(folder)), timing=QUICK)
    running_task = asyncio.create_task(shop.run())
    await shop.wait_up()
    os.kill(started(folder)[0], signal.SIGSTOP)  # so that it can't end by itself
    running_task.cancel()
    await becomes(lambda: not shop.is_up)
    running_task.cancel()
    await asyncio.wait({running_task}, timeout=3)  # else it would be killed after twice 2 s
    assert running_task.cancelled()
    await becomes(lambda: not is_running(started(folder)[0]))


async def test_a_connection_is_closed_whatever_it_is_about(folder: Path) -> None:
    for moment in range(8):
        shop = ToolServerConnection("shop", ToolServer(command=command(folder)), timing=QUICK)
        await shop.aclose() if moment == 0 else None
        task = asyncio.create_task(shop.run())
        await asyncio.sleep(0.25 * moment)
        if shop.is_up and moment % 2:
            await shop.call("die", {}, 30)  # its end is told while it is being closed
        await shop.aclose()
        await shop.aclose()
        assert task.done() or moment == 0
        await asyncio.wait({task})
    await becomes(lambda: not any(is_running(pid) for pid in started(folder)))


OWNER = """
import asyncio, sys
from service.project_settings import ToolServer
from service.tools.server import ToolServerConnection
asyncio.run(ToolServerConnection("shop", ToolServer(command=sys.argv[1:])).run())
"""


async def test_a_program_ends_when_the_service_was_killed(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, *command(folder)], cwd=ROOT) as owner:  # noqa: ASYNC220 - it only starts
        await becomes(lambda: "list" in journal(folder))
        owner.kill()
    (pid,) = started(folder)
    wait_for(lambda: not is_running(pid), 30)
