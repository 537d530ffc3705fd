"""The processes that render: what they may do, how they end and begin anew, and that they hold up nobody."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from service.errors import ConfigError, ParleyError, Reason, RequestError
from service.json_values import Json
from service.prompts import process as process_module
from service.prompts.child import MAX_MEMORY_BYTES
from service.prompts.prompt import Prompt
from service.prompts.renderer import Renderer

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
SLOW = "{{ x }}{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer()
    yield made
    await made.aclose()
    assert made.pids == ()


async def checked(renderer: Renderer, template: str) -> Prompt:
    prompt = Prompt(template)
    await renderer.check({"p": prompt})
    return prompt


async def refused(renderer: Renderer, prompt: Prompt, args: dict[str, Json]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await renderer.render(prompt, args)
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  other processes set no event
            await asyncio.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Gone, or a zombie: nobody reaps orphans in a container whose process 1 does not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_process_has_no_environment_and_can_open_nothing(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-secret")
    prompt = await checked(renderer, "{{ x }}")
    assert await renderer.render(prompt, {"x": 1}) == "1"
    (pid,) = renderer.pids
    process = psutil.Process(pid)
    assert process.environ().keys() == {"PYTHONPATH"}
    assert [file.fd for file in process.open_files()] == []
    assert process.num_fds() == 3
    for kind, most in {
        resource.RLIMIT_AS: MAX_MEMORY_BYTES,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }.items():
        assert resource.prlimit(pid, kind) == (most, most)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_a_process_that_died_is_replaced(renderer: Renderer, signal_number: signal.Signals) -> None:
    prompt = await checked(renderer, "{{ x }}")
    (pid,) = renderer.pids
    os.kill(pid, signal_number)
    assert await renderer.render(prompt, {"x": 1}) == "1"
    (other,) = renderer.pids
    assert other != pid
    assert not psutil.pid_exists(pid)


async def test_a_process_that_dies_at_its_work_is_replaced_and_asked_again(renderer: Renderer) -> None:
    prompt = await checked(renderer, "{{ x }}{% for i in range(100000) %}{{ '' }}{% endfor %}")
    (pid,) = renderer.pids
    os.kill(pid, signal.SIGSTOP)
    render = asyncio.create_task(renderer.render(prompt, {"x": 1}))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    assert await render == "1"
    assert pid not in renderer.pids


async def test_a_process_that_is_held_up_is_given_up(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_ANSWER_TIMEOUT_S", 0.3)
    prompt = await checked(renderer, "{{ x }}")
    (pid,) = renderer.pids
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ParleyError) as caught:
        await renderer.render(prompt, {"x": "private"})
    assert caught.value.reason is Reason.INTERNAL
    assert "private" not in caught.value.message
    assert not psutil.pid_exists(pid)
    monkeypatch.undo()
    assert await renderer.render(prompt, {"x": "private"}) == "private"


async def test_a_process_that_cannot_be_started_is_told_and_tried_again(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = await checked(renderer, "{{ x }}")
    await renderer.aclose()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(ParleyError) as caught:
            await renderer.render(prompt, {"x": 1})
        with pytest.raises(ConfigError, match="it can't be started: No such file or directory"):
            await renderer.check({"p": Prompt("{{ y }}")})
    assert caught.value.reason is Reason.INTERNAL
    assert await renderer.render(prompt, {"x": 1}) == "1"


async def test_a_failure_is_remembered(renderer: Renderer) -> None:
    prompt = await checked(renderer, SLOW)
    assert (await refused(renderer, prompt, {"x": 1})).reason is Reason.SYSTEM_PROMPT_FAILED
    assert renderer.pids == ()
    assert "takes too long" in (await refused(renderer, prompt, {"x": 1})).message
    assert renderer.pids == ()


async def test_a_template_that_takes_long_holds_up_no_other(renderer: Renderer) -> None:
    slow, quick = await checked(renderer, SLOW), await checked(renderer, "{{ x }}")
    attacks = [asyncio.create_task(refused(renderer, slow, {"x": n})) for n in range(3)]
    await until(lambda: len(renderer.pids) > 0)
    answers = 0
    while not attacks[0].done():
        assert await renderer.render(quick, {"x": answers}) == str(answers)
        answers += 1
    # In a second of computing, that is some thousands; on a machine with much to do fewer.
    assert answers > 20
    assert not attacks[2].done()
    for attack in attacks:
        attack.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)


async def test_a_cancellation_leaves_nothing(renderer: Renderer) -> None:
    slow, quick = await checked(renderer, SLOW), await checked(renderer, "{{ x }}")
    tasks = asyncio.all_tasks()
    for n in range(5):
        before = set(renderer.pids)
        render = asyncio.create_task(renderer.render(slow, {"x": n}))
        waiting = asyncio.create_task(renderer.render(slow, {"x": -1}))
        await until(lambda: any(psutil.Process(pid).cpu_times().user > 0.3 for pid in renderer.pids))
        waiting.cancel()
        render.cancel()
        for task in (waiting, render):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert renderer.pids == ()
        assert not any(psutil.pid_exists(pid) for pid in before)
        assert await renderer.render(quick, {"x": n}) == str(n)
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_cancellation_while_a_process_starts_leaves_nothing(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    before = set(psutil.Process().children())

    async def cancel_after(steps: int) -> None:
        renderer, prompt = Renderer(), Prompt("{{ x }}")
        prompt.learn(("x",))
        render = asyncio.create_task(renderer.render(prompt, {"x": steps}))
        for _ in range(steps):
            await asyncio.sleep(0)
        render.cancel()
        with pytest.raises(asyncio.CancelledError):
            await render
        assert renderer.pids == ()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        for steps in range(12):
            runner.run(cancel_after(steps))
    assert set(psutil.Process().children()) == before


async def test_many_at_once_each_get_their_own(renderer: Renderer) -> None:
    prompts = [await checked(renderer, f"{n}: {{{{ x }}}}") for n in range(10)]
    wanted = [(n % 10, n // 20) for n in range(400)]  # each twice
    answers = await asyncio.gather(*(renderer.render(prompts[p], {"x": x}) for p, x in wanted))
    assert answers == [f"{p}: {x}" for p, x in wanted]
    assert len(renderer.pids) <= 2


ORPHANS = """
import asyncio, sys
from service.prompts.prompt import Prompt
from service.prompts.renderer import Renderer

async def main():
    renderer = Renderer()
    slow, quick = Prompt(sys.argv[1]), Prompt("{{ x }}")
    await renderer.check({"slow": slow, "quick": quick})
    render = asyncio.create_task(renderer.render(slow, {"x": 1}))
    await asyncio.sleep(0)
    while len(renderer.pids) < 2:
        await renderer.render(quick, {"x": 1})
        await asyncio.sleep(0.01)
        quick.template += " "
    print(*renderer.pids, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_no_process_outlives_a_service_that_is_killed() -> None:
    # One process has nothing to do, and one is at work.
    command = [sys.executable, "-c", ORPHANS, SLOW]
    with subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    until_s = time.monotonic() + PATIENCE_S
    while not all(has_ended(pid) for pid in pids):
        assert time.monotonic() < until_s
        time.sleep(0.01)
