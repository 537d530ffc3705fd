"""Server-side tools with the providers that are not OpenAI's like: what they are told of the turns, at once and later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ONCE
from tests.support.faces import Face, ask
from tests.support.stack import Stack, running, wait_for
from tests.support.tool_projects import UP_S, message_in
from tests.support.upstream import FakeUpstream, Script
from tests.tools.mcp_support import http_server

Json = dict[str, Any]
ARGUMENTS = [{"text": "forty-one"}, {"text": "forty-two"}]
NAME = "shop__echo"


def _anthropic_events(message: Json) -> list[Json]:
    events: list[Json] = [{"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}]
    for index, block in enumerate(message["content"]):
        kind, begun = block["type"], dict(block)
        deltas: list[Json] = []
        match kind:
            case "text":
                begun["text"] = ""
                deltas = [{"type": "text_delta", "text": block["text"]}]
            case "thinking":
                begun |= {"thinking": "", "signature": ""}
                deltas = [
                    {"type": "thinking_delta", "thinking": block["thinking"]},
                    {"type": "signature_delta", "signature": block["signature"]},
                ]
            case "tool_use":
                begun["input"] = {}
                text = json.dumps(block["input"])
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:4], text[4:])]
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": message["usage"]}
    return [*events, ending, {"type": "message_stop"}]


def _anthropic(*blocks: Json, stop_reason: str, stream: bool) -> Any:
    usage = {"input_tokens": 7, "output_tokens": 5}
    message = {"id": "m", "type": "message", "role": "assistant", "content": list(blocks), "usage": usage}
    return (
        _anthropic_events(message | {"stop_reason": stop_reason}) if stream else message | {"stop_reason": stop_reason}
    )


def _gemini(*parts: Json, stream: bool) -> Any:
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
    ended = {"finishReason": "STOP"}
    if not stream:
        return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **ended}], "usageMetadata": usage}
    events: list[Json] = [{"candidates": [{"content": {"parts": [part], "role": "model"}}]} for part in parts]
    events[-1]["candidates"][0] |= ended
    return [*events[:-1], events[-1] | {"usageMetadata": usage}]


def _cohere(plan: str, text: str, calls: list[Json], *, stream: bool) -> Any:
    reason = "TOOL_CALL" if calls else "COMPLETE"
    usage = {"tokens": {"input_tokens": 7.0, "output_tokens": 5.0}}
    if not stream:
        message: Json = {"role": "assistant"}
        message |= {"tool_plan": plan, "tool_calls": calls} if calls else {"content": [{"type": "text", "text": text}]}
        return {"id": "m", "finish_reason": reason, "message": message, "usage": usage}

    def event(kind: str, index: int | None = None, **message: Any) -> Json:
        return {"type": kind, "index": index, "delta": {"message": message}}

    events: list[Json] = [{"type": "message-start", "id": "m"}]
    if calls:
        events.append(event("tool-plan-delta", tool_plan=plan))
    for index, call in enumerate(calls):
        function = call["function"]
        events += [
            event("tool-call-start", index, tool_calls={**call, "function": {**function, "arguments": ""}}),
            event("tool-call-delta", index, tool_calls={"function": {"arguments": function["arguments"]}}),
            {"type": "tool-call-end", "index": index},
        ]
    if text:
        events += [
            event("content-start", 0, content={"type": "text", "text": ""}),
            event("content-delta", 0, content={"text": text}),
            {"type": "content-end", "index": 0},
        ]
    return [*events, {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}}]


def _turns(name: str, *, stream: bool) -> list[Any]:
    """Two calls at once, and an answer; whoever reasons, does so signed."""
    match name:
        case "anthropic":
            uses = [
                {"type": "tool_use", "id": f"toolu_{n}", "name": NAME, "input": each}
                for n, each in enumerate(ARGUMENTS)
            ]
            reasoned = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
            said = {"type": "text", "text": "Let me see."}
            done = {"type": "text", "text": "Done."}
            return [
                _anthropic(reasoned, said, *uses, stop_reason="tool_use", stream=stream),
                _anthropic({**reasoned, "signature": "Mg=="}, done, stop_reason="end_turn", stream=stream),
            ]
        case "gemini":
            calls: list[Json] = [{"functionCall": {"name": NAME, "args": each}} for each in ARGUMENTS]
            calls[0]["thoughtSignature"] = "c2ln"
            thought: Json = {"text": "Hm", "thought": True}
            return [
                _gemini(thought, {"text": "Let me see."}, *calls, stream=stream),
                _gemini({"text": "Done.", "thoughtSignature": "Mg=="}, stream=stream),
            ]
        case _:
            made = [
                {"id": f"c{n}", "type": "function", "function": {"name": NAME, "arguments": json.dumps(each)}}
                for n, each in enumerate(ARGUMENTS)
            ]
            return [_cohere("Hm", "", made, stream=stream), _cohere("", "Done.", [], stream=stream)]


PROVIDERS = ("anthropic", "gemini", "cohere")


@pytest.fixture(scope="module")
def stack(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("providers")
    root = upstream.base_url.removesuffix("/v1")
    urls = {"anthropic": root, "gemini": f"{root}/v1beta/", "cohere": root}
    with http_server(folder) as (url, _):
        config = {
            "providers": {
                name: {"kind": name, "base_url": place, "api_key_env": "OTHER_KEY"} for name, place in urls.items()
            },
            "models": {f"m-{name}": {"targets": [{"provider": name, "model": "up-1"}], **ONCE} for name in urls},
            "projects": {
                name: {
                    "default_model": "m",
                    "models": {"m": f"m-{name}"},
                    "tools": {"shop": {"url": url, "only": ["echo"]}},
                }
                for name in urls
            },
        }
        with running(config, folder, environ={"OTHER_KEY": "sk-c4n4ry"}) as started:
            wait_for(
                lambda: (
                    sum("tool server shop: connected" in line["message"] for line in started.service.json_lines("log"))
                    == 3
                ),
                UP_S,
            )
            yield started


@pytest.mark.parametrize("face", ["grpc", "rest"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_is_told_of_the_turns_and_later_of_the_same(
    stack: Stack,
    upstream: FakeUpstream,
    name: str,
    stream: bool,  # noqa: FBT001 - a column of the table
    face: Face,
) -> None:
    script = Script(turns=[*_turns(name, stream=stream), _turns(name, stream=stream)[1]], ending="close")
    question = {"role": "user", "content": f"How is it, {script.user}?"}
    body: Json = {"model": name, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    with upstream.scripted(script):
        outcome = ask(stack, face, {**body, "messages": [question]}, key=None)
        message = message_in(outcome)
        further = ask(stack, face, {**body, "messages": [question, message, question]}, key=None)

    assert message["content"] == ("Done." if name == "cohere" else "Let me see.\n\nDone.")
    assert [event["result"] for event in message["tool_events"]] == ["forty-one", "forty-two"]
    assert "tool_calls" not in message
    usage = (outcome.answer or outcome.chunks[-1])["usage"]
    assert usage["total_tokens"] == 24
    assert message_in(further)["content"] == "Done."
    key = "contents" if name == "gemini" else "messages"
    first, second, third = (received[key] for received in script.received)
    assert second[: len(first)] == first
    assert third[: len(second)] == second, "what was told before is told again as it was"
    assert len(third) == len(second) + 2
    told = json.dumps(second)
    assert told.count("forty-one") == told.count("forty-two") == 2, "in the call and in its result"
    if name != "cohere":
        assert "c2ln" in told, "the signature"
        assert "Mg==" in json.dumps(third)
