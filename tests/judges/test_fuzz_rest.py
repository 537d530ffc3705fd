"""Thousands of broken HTTP requests to the real gateway: nothing crashes, hangs or leaks, and every error has a name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator

import pytest

from tests.judges.asked import MARK, SESSION
from tests.judges.broken_http import broken_request
from tests.judges.fuzzing import ENOUGH, REQUESTS, SEED, Fuzzed, Tally, fuzzed
from tests.judges.raw_http import Answer, exchange

WARM_UP = 500
AT_ONCE = 48
ASKED_TOO_MUCH = {"deadline_exceeded", "max_ttft_exceeded"}
"""Codes of 5xx that requests bring on themselves."""
_ASKED = re.compile(rb"(GET|POST|DELETE) (?:/api)?/v1/(chat/completions|sessions)(/[^/? ]+)?(/messages)?[? ]")
_SESSION = re.compile(rb"\w+ (?:/api)?/v1/sessions/%b" % SESSION.encode())
ASKABLE = {
    "POST chat/completions",
    "GET chat/completions",
    "GET chat/completions/ID",
    "GET chat/completions/ID/messages",
    "POST chat/completions/ID",
    "DELETE chat/completions/ID",
    "GET sessions",
    "GET sessions/ID",
    "DELETE sessions/ID",
}


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
    for further in range(REQUESTS, 2 * REQUESTS, WARM_UP):  # which of two is first, a delete or a read, is chance
        if set(tally.answered) >= ASKABLE or REQUESTS < ENOUGH:
            break
        await _send(parts, range(further, further + WARM_UP), tally)

    record_property("seed", SEED)
    assert tally.wrong == [], tally.report(f"{REQUESTS} broken HTTP requests")
    assert set(tally.answered) >= ASKABLE or REQUESTS < ENOUGH, tally.report(f"{REQUESTS} broken HTTP requests")
    await asyncio.to_thread(parts.check)


async def _send(parts: Fuzzed, numbers: range, tally: Tally) -> None:
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            sent = parts.ids.put(broken_request(number))
            if _SESSION.match(sent):  # which another request has deleted, most often
                await asyncio.to_thread(parts.store_session)
            answer = await exchange(parts.stack.http_address, sent)
            parts.ids.learn(answer.raw)
            _judge(number, answer, tally)
            if answer.status == 200 and (asked := _ASKED.match(sent)):
                tally.answered[_sort(asked)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


def _sort(asked: re.Match[bytes]) -> str:
    """What is asked for: method and path, without the prefix and the id."""
    method, path, name, rest = asked.groups(b"")
    return b"".join((method, b" ", path, b"/ID" if name else b"", rest)).decode()


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
    if answer.status >= 500 and (error or {}).get("code") not in ASKED_TOO_MUCH:
        return "the gateway's or the service's fault"
    return ""
