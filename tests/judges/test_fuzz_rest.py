"""Thousands of broken HTTP requests to the real gateway: nothing crashes, hangs or leaks, and every error has a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.judges.broken_http import broken_request
from tests.judges.fuzzing import MARK, REQUESTS, SEED, Fuzzed, Tally, fuzzed
from tests.judges.raw_http import Answer, exchange

WARM_UP = 500
AT_ONCE = 48


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with fuzzed(tmp_path_factory.mktemp("fuzzed")) as parts:
        yield parts


@pytest.mark.timeout(60 + REQUESTS // 20)
async def test_broken_requests_over_rest(parts: Fuzzed, record_property: Callable[[str, object], None]) -> None:
    tally = Tally()
    await _send(parts, range(WARM_UP), tally)
    await asyncio.to_thread(parts.note)
    await _send(parts, range(WARM_UP, REQUESTS), tally)

    record_property("seed", SEED)
    assert tally.wrong == [], tally.report(f"{REQUESTS} broken HTTP requests")
    await asyncio.to_thread(parts.check)


async def _send(parts: Fuzzed, numbers: range, tally: Tally) -> None:
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            answer = await exchange(parts.stack.http_address, broken_request(number))
            _judge(number, answer, tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


def _judge(number: int, answer: Answer, tally: Tally) -> None:
    error = answer.error()
    tally.endings[f"{answer.status} {error['code'] if error else ''}"] += 1
    if complaint := _complaint(answer):
        tally.wrong.append(f"request {number} of seed {SEED}: {complaint}: {answer.raw[:300]!r}")


def _complaint(answer: Answer) -> str:
    """What is wrong with an answer, if anything."""
    error = answer.error()
    if answer.is_hung:
        return "neither an answer nor an end"
    if answer.status is None:
        return "no HTTP" if answer.head and not answer.is_http2 else ""
    if answer.status < 400:
        return ""
    if MARK.encode() in answer.raw:
        return "a prompt in an error"
    if error is None and answer.body:
        return "no envelope"
    if answer.status >= 500 and (error or {}).get("code") != "deadline_exceeded":  # which requests may ask for
        return "the gateway's or the service's fault"
    return ""
