"""Server-side tools of a real MCP server, over both of its transports and over both faces, whole and streamed."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.conftest import KEY
from tests.support.faces import Face, Outcome, ask
from tests.support.stack import wait_for
from tests.support.tool_projects import (
    MINE,
    TRANSPORTS,
    Tools,
    answering,
    asking,
    calling,
    finish_of,
    message_in,
    tokens_of,
    tool_projects,
)
from tests.support.upstream import FakeUpstream, Script

Way = tuple[Face, bool]
"""The face, and whether the answer is streamed."""
WAYS: list[Way] = [("grpc", False), ("grpc", True), ("rest", False), ("rest", True)]
WAY_IDS = ["grpc-whole", "grpc-stream", "rest-whole", "rest-stream"]
every_way = pytest.mark.parametrize("way", WAYS, ids=WAY_IDS)
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@pytest.fixture(scope="module")
def tools(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    with tool_projects(upstream, tmp_path_factory.mktemp("tools")) as started:
        yield started


Turn = tuple[str, list[dict[str, Any]]]
"""Its text, and its calls."""


def _told(
    tools: Tools, upstream: FakeUpstream, project: str, way: Way, turns: list[Turn], **fields: Any
) -> tuple[Outcome, Script]:
    """What comes of a request that the model answers in those turns."""
    face, stream = way
    script = Script(turns=[answering(text, *calls, stream=stream) for text, calls in turns])
    if stream:
        fields = {"stream": True, "stream_options": {"include_usage": True}, **fields}
    with upstream.scripted(script):
        return ask(tools.stack, face, asking(project, user=script.user, **fields)), script


def _results(message: dict[str, Any]) -> list[tuple[int, str, str, str]]:
    return [(each["turn"], each["tool"], each["status"], each["result"]) for each in message.get("tool_events", [])]


@every_transport
@every_way
def test_several_turns_make_one_answer(tools: Tools, upstream: FakeUpstream, transport: str, way: Way) -> None:
    turns: list[Turn] = [
        ("Let me see.", [calling("shop__echo", text="ä 🙂")]),
        ("", [calling("shop__echo", "call_2", text="2"), calling("shop__fail", "call_3")]),
        ("Done.", []),
    ]
    outcome, script = _told(tools, upstream, transport, way, turns)

    message = message_in(outcome)
    assert message["content"] == "Let me see.\n\nDone."
    assert "tool_calls" not in message
    assert [(turn, tool, status) for turn, tool, status, _ in _results(message)] == [
        (0, "shop__echo", "ok"),
        (1, "shop__echo", "ok"),
        (1, "shop__fail", "error"),
    ]
    assert [event["index"] for event in message["tool_events"]] == [0, 1, 2]
    assert message["tool_events"][0]["result"] == "ä 🙂"
    assert finish_of(outcome) == "stop"
    assert tokens_of(outcome) == 36
    assert {tool["function"]["name"] for tool in script.received[0]["tools"]} >= {"shop__echo", "slow__hang"}
    roles = [each["role"] for each in script.received[2]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "tool"]


@every_transport
@every_way
def test_calls_made_at_once_run_at_once(tools: Tools, upstream: FakeUpstream, transport: str, way: Way) -> None:
    calls = [calling("shop__meet", f"call_{number}", count=3) for number in range(3)]
    outcome, script = _told(tools, upstream, transport, way, [("", calls), ("All.", [])])

    assert _results(message_in(outcome)) == [(0, "shop__meet", "ok", "met")] * 3
    answered = [each["tool_call_id"] for each in script.received[1]["messages"] if each["role"] == "tool"]
    assert answered == ["call_0", "call_1", "call_2"]


WRONG = {
    "hangs": (calling("slow__hang"), "not done within 0.5 s"),
    "is too large": (calling("shop__large", size=10_000_000), "too large"),
    "is far too large": (calling("shop__large", size=20_000_000), "too large"),
    "fails": (calling("shop__fail"), "Error executing"),
    "gets no arguments": (calling("shop__echo"), "text"),
}


@every_transport
@every_way
@pytest.mark.parametrize("case", WRONG)
def test_the_model_is_told_what_a_tool_does_wrong(
    tools: Tools, upstream: FakeUpstream, transport: str, way: Way, case: str
) -> None:
    call, told = WRONG[case]
    outcome, script = _told(tools, upstream, transport, way, [("Wait.", [call]), ("Sorry.", [])])

    message = message_in(outcome)
    [(_, _, status, result)] = _results(message)
    assert status == "error"
    assert told in result
    assert len(result) < 2000
    assert message["content"] == "Wait.\n\nSorry."
    assert script.received[1]["messages"][-1]["content"] == result


@every_transport
def test_a_server_that_dies_is_told_to_the_model_and_comes_back(
    tools: Tools, upstream: FakeUpstream, transport: str
) -> None:
    way: Way = ("rest", transport == "http")
    outcome, _ = _told(tools, upstream, transport, way, [("", [calling("shop__die")]), ("Sorry.", [])])

    message = message_in(outcome)
    assert "has ended while the tool was running" in _results(message)[0][3]
    assert message["content"] == "Sorry."

    def again() -> str | None:
        turns: list[Turn] = [("", [calling("shop__echo", text="back")]), ("Yes.", [])]
        outcome, _ = _told(tools, upstream, transport, way, turns)
        if outcome.failure is not None:
            assert outcome.failure.code == "tool_server_unavailable"
            return None
        return _results(message_in(outcome))[0][3]

    wait_for(lambda: again() == "back", 60)
    tools.wait_up("http", "short", "narrow", "read")  # they have one server


@every_transport
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_both_kinds_is_continued_with_the_message_as_it_came(
    tools: Tools,
    upstream: FakeUpstream,
    transport: str,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    calls = [calling("mine", "call_m", city="Paris"), calling("shop__echo", "call_s", text="42")]
    turns = [("One.", [calling("shop__echo", "call_0", text="41")]), ("Two.", calls), ("Three.", [])]
    script = Script(turns=[answering(text, *calls, stream=stream) for text, calls in turns])
    messages: list[Any] = [{"role": "user", "content": "How is it?"}]
    request: dict[str, Any] = {"model": transport, "user": script.user, "tools": [MINE], "messages": messages}
    with (
        OpenAI(base_url=f"{tools.stack.url}/v1", api_key=KEY, max_retries=0) as client,
        upstream.scripted(script),
    ):
        for _ in range(2):
            if stream:
                with client.chat.completions.stream(**request) as events:
                    choice = events.get_final_completion().choices[0]
            else:
                choice = client.chat.completions.create(**request).choices[0]
            messages.append(choice.message)
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": "mine is done"}
                for call in choice.message.tool_calls or []
            ]

    first, second = messages[1], messages[3]
    assert (first.content, second.content) == ("One.\n\nTwo.", "Three.")
    assert [call.id for call in first.tool_calls] == ["call_m"]
    assert [event["result"] for event in first.model_extra["tool_events"]] == ["41", "42"]
    told = script.received[2]["messages"]
    assert [(each["role"], each.get("content")) for each in told] == [
        ("user", "How is it?"),
        ("assistant", "One."),
        ("tool", "41"),
        ("assistant", "Two."),
        ("tool", "42"),
        ("tool", "mine is done"),
    ]
    assert told[:3] == script.received[1]["messages"], "the model is told the same as the first time"
    assert [call["id"] for call in told[3]["tool_calls"]] == ["call_s", "call_m"]


@every_way
def test_the_last_turn_is_to_answer_without_tools(tools: Tools, upstream: FakeUpstream, way: Way) -> None:
    calls = [calling("shop__echo", text="1")]
    answered, script = _told(tools, upstream, "narrow", way, [("", calls), ("Enough.", [])])
    refused, _ = _told(tools, upstream, "narrow", way, [("", calls), ("", calls)])

    assert message_in(answered)["content"] == "Enough."
    assert [each.get("tool_choice") for each in script.received] == [None, "none"]
    assert refused.failure is not None
    assert refused.failure.code == "tool_turns_exceeded"


@every_way
def test_tools_have_a_time_of_their_own_together(tools: Tools, upstream: FakeUpstream, way: Way) -> None:
    calls = [calling("shop__echo", "call_1", text="quick"), calling("shop__hang", "call_2")]
    outcome, script = _told(tools, upstream, "short", way, [("", calls), ("Without.", [])])

    message = message_in(outcome)
    assert message["content"] == "Without."
    assert [event["status"] for event in message["tool_events"]][1] == "error"
    assert script.received[1]["tool_choice"] == "none"


@every_way
def test_a_server_that_is_down_fails_the_request_or_is_left_out(tools: Tools, upstream: FakeUpstream, way: Way) -> None:
    failed, _ = _told(tools, upstream, "down", way, [])
    switched, _ = _told(tools, upstream, "down", way, [("Alone.", [])], use_tools=False)
    without, script = _told(tools, upstream, "without", way, [("Alone.", [])])

    assert failed.failure is not None
    assert (failed.failure.http_status, failed.failure.code) == (503, "tool_server_unavailable")
    assert "`gone`" in failed.failure.message
    assert int(failed.metadata["retry-after"]) >= 1
    assert message_in(switched)["content"] == message_in(without)["content"] == "Alone."
    assert "tools" not in script.received[0]


@every_way
def test_what_is_stored_has_the_events_and_is_continued_by_its_id(
    tools: Tools, upstream: FakeUpstream, way: Way
) -> None:
    turns: list[Turn] = [("One.", [calling("shop__echo", text="41")]), ("Two.", [])]
    outcome, script = _told(tools, upstream, "http", way, turns, store=True)
    message = message_in(outcome)
    first = outcome.answer or outcome.chunks[0]

    answer = httpx.get(f"{tools.stack.url}/v1/chat/completions/{first['id']}", headers={"x-api-key": KEY}, timeout=30)
    stored = answer.json()
    assert stored["choices"][0]["message"]["tool_events"] == message["tool_events"]
    assert stored["usage"]["total_tokens"] == 24
    question = {"role": "user", "content": "Go on"}
    messages = [question, {"role": "assistant", "completion_id": first["choices"][0]["completion_id"]}, question]
    _, further = _told(tools, upstream, "http", way, [("Three.", [])], messages=messages)
    told = further.received[0]["messages"]
    assert [(each["role"], each.get("content")) for each in told] == [
        ("user", "Go on"),
        ("assistant", "One."),
        ("tool", "41"),
        ("assistant", "Two."),
        ("user", "Go on"),
    ]
    assert told[1] == script.received[1]["messages"][1]


def test_tool_choice_none_offers_no_tools(tools: Tools, upstream: FakeUpstream) -> None:
    _, script = _told(tools, upstream, "http", ("rest", False), [("Alone.", [])], tool_choice="none")

    assert {"tools", "tool_choice"} & set(script.received[0]) == set(), "OpenAI refuses a choice without tools"


def test_a_stream_tells_events_that_the_clients_helper_and_a_plain_reader_join_to_the_same(
    tools: Tools, upstream: FakeUpstream
) -> None:
    calls = [calling("shop__echo", f"call_{number}", text=str(number)) for number in range(3)]
    seen = []
    with OpenAI(base_url=f"{tools.stack.url}/v1", api_key=KEY, max_retries=0) as client:
        for has_helper in (False, True):
            script = Script(turns=[answering("One.", *calls, stream=True), answering("Two.", stream=True)])
            request: dict[str, Any] = asking("stdio", user=script.user)
            with upstream.scripted(script):
                if has_helper:
                    with client.chat.completions.stream(**request) as stream:
                        message = stream.get_final_completion().choices[0].message.to_dict()
                    told: Any = message["tool_events"]
                else:
                    chunks = client.chat.completions.create(**request, stream=True)
                    deltas = [part.choices[0].delta.to_dict() for part in chunks if part.choices]
                    told = list(itertools.chain.from_iterable(delta.get("tool_events", []) for delta in deltas))
                seen.append([{**event, "duration_ms": 0} for event in told])

    assert seen[0] == seen[1]
    assert [event["result"] for event in seen[0]] == ["0", "1", "2"]


def test_text_flows_and_signs_of_life_come_while_a_tool_runs(tools: Tools, upstream: FakeUpstream) -> None:
    calls = [calling("shop__meet", count=2)]
    script = Script(turns=[answering("At once.", *calls, stream=True), answering("Later.", stream=True)])
    body = asking("http", stream=True, user=script.user)
    headers = {"x-api-key": KEY}
    lines: list[str] = []
    with (
        upstream.scripted(script),
        httpx.stream(
            "POST", f"{tools.stack.url}/v1/chat/completions", json=body, headers=headers, timeout=30
        ) as response,
    ):
        reading = response.iter_lines()
        for line in reading:
            lines.append(line)
            if lines.count(": keepalive") == 2:
                break
        text = "".join(
            json.loads(line[6:])["choices"][0]["delta"].get("content", "")
            for line in lines
            if line.startswith("data: ")
        )
        assert text == "At once."
        assert not any("tool_events" in line for line in lines)
        other, _ = _told(tools, upstream, "http", ("grpc", False), [("", calls), ("Yes.", [])])
        lines = list(reading)

    assert _results(message_in(other))[0][3] == "met"
    assert any('"tool_events"' in line for line in lines)
    assert [line for line in lines if line][-1] == "data: [DONE]"


@pytest.mark.parametrize("size", [60_000, 65_536])
@pytest.mark.parametrize("stream", [False, True])
def test_large_results_reach_clients_and_the_model_whole(
    tools: Tools,
    upstream: FakeUpstream,
    size: int,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    calls = [calling("shop__large", f"call_{number}", size=size) for number in range(8)]
    turns: list[Turn] = [("", calls), ("", calls), ("Done.", [])]
    outcome, script = _told(tools, upstream, "http", ("rest", stream), turns)

    assert [len(result) for *_, result in _results(message_in(outcome))] == [size] * 16
    assert [len(each["content"]) for each in script.received[2]["messages"] if each["role"] == "tool"] == [size] * 16


async def test_200_requests_with_tools_at_once_are_unmixed(tools: Tools, upstream: FakeUpstream) -> None:
    limits = httpx.Limits(max_connections=None)
    with ExitStack() as scripts:
        async with httpx.AsyncClient(headers={"x-api-key": KEY}, timeout=60, limits=limits) as client:

            async def told(number: int) -> list[str]:
                stream = number % 2 == 0
                calls = [calling("shop__echo", f"call_{each}", text=f"{number}-{each}") for each in range(2)]
                turns = [answering("", *calls, stream=stream), answering("Yes.", stream=stream)]
                script = scripts.enter_context(upstream.scripted(Script(turns=turns)))
                body = asking(TRANSPORTS[number // 2 % 2], stream=stream, user=script.user)
                response = await client.post(f"{tools.stack.url}/v1/chat/completions", json=body)
                assert response.status_code == 200, response.text
                return re.findall(r'"result":"(.*?)"', response.text)

            results = await asyncio.gather(*map(told, range(200)))

    assert results == [[f"{number}-0", f"{number}-1"] for number in range(200)]
