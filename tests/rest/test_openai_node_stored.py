"""Stored completions and server-side tools, with the official Node.js client unchanged."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.node import HELLO, Node
from tests.support.tool_projects import Tools, answering, calling, tool_projects
from tests.support.upstream import FakeUpstream, Script

ECHOES = [calling("shop__echo", f"call_{text}", text=text) for text in ("one", "two")]


@pytest.fixture(scope="module")
def tools(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    with tool_projects(upstream, tmp_path_factory.mktemp("tools")) as started:
        yield started


@pytest.fixture
def node(program: str, tools: Tools) -> Node:
    return Node(program, tools.stack.url)


def test_completions_are_listed_retrieved_updated_and_deleted(node: Node) -> None:
    metadata = {"case [1]": f"a&b=ä {uuid.uuid4()}"}
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    request = {"model": "echo", "messages": messages, "tags": ["x"]}
    told = node.ask("stored.mjs", {"request": request, "metadata": metadata, "unknown": "chatcmpl-none"})

    first, *_ = answers = told["answers"]
    assert [each["id"] for each in told["listed"]] == [each["id"] for each in reversed(answers)]
    retrieved = told["retrieved"]
    assert {name: retrieved[name] for name in first} == first
    assert (retrieved["status"], retrieved["metadata"], retrieved["tags"]) == ("completed", metadata, ["x"])
    assert [{name: each[name] for name in ("role", "content")} for each in told["messages"]] == messages
    assert told["updated"]["metadata"] == {"other": "label"}
    assert "metadata" not in told["emptied"]
    assert told["deleted"] == {"id": first["id"], "object": "chat.completion.deleted", "deleted": True}
    assert [(error["class"], error["code"], error["param"]) for error in told["errors"]] == [
        ("NotFoundError", "completion_not_found", "completion_id")
    ] * 2


def _events(result: dict[str, Any]) -> list[dict[str, Any]]:
    if "answer" in result:
        return list(result["answer"]["choices"][0]["message"]["tool_events"])
    return [
        event
        for part in result["chunks"]
        for choice in part["choices"]
        for event in choice["delta"].get("tool_events", ())
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_what_server_side_tools_found_is_told(
    node: Node,
    upstream: FakeUpstream,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    turns = [answering("Let me see.", *ECHOES, stream=stream), answering("Done.", stream=stream)]
    with upstream.scripted(Script(turns=turns)) as script:
        result = node.create(model="stdio", stream=stream, user=script.user)

    assert [(event["index"], event["tool"], event["status"], event["result"]) for event in _events(result)] == [
        (0, "shop__echo", "ok", "one"),
        (1, "shop__echo", "ok", "two"),
    ]


def test_the_stream_helper_keeps_the_text_and_the_store_all_events(node: Node, upstream: FakeUpstream) -> None:
    turns = [answering("Let me see.", *ECHOES, stream=True), answering("Done.", stream=True)]
    with upstream.scripted(Script(turns=turns)) as script:
        request = {"model": "stdio", "messages": HELLO, "store": True, "user": script.user}
        message = node.ask("runner.mjs", request)["message"]
    with upstream.scripted(Script(turns=[answering("Bye.", stream=False)])) as script:
        messages = [*HELLO, {"role": "assistant", "id": message["id"]}, *HELLO]
        node.create(model="stdio", messages=messages, user=script.user)

    assert message["content"] == "Let me see.\n\nDone."
    assert [event["index"] for event in message["tool_events"]] == [1], "this client keeps the last delta's only"
    sent = script.received[0]["messages"]
    assert [each["content"] for each in sent if each["role"] == "tool"] == ["one", "two"]
