"""Reference 001: what every field of its request does, and what a bad value of it gets, over both faces.

`GENERATE` is the reference's own curl command, as printed; placeholders are filled in and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import KEY, ONCE, stack_config
from tests.support.faces import FACES, Face, Outcome, ask
from tests.support.stack import Stack, running, wait_for
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

SERVER = Path(__file__).parents[1] / "tools" / "mcp_server.py"
PATH = "/api/v1/chat/completions"
UUID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
CAMPAIGN = "76d1fab3-214c-47ef-bb04-16270639bf89"
GENERATE = r"""
curl --request POST \
  --url https://api.example.com/api/v1/chat/completions \
  --header 'Content-Type: application/json' \
  --data '
{
  "messages": [
    {
      "content": "<string>",
      "role": "<string>",
      "name": "<string>",
      "completion_id": "3c90c3cc-0d44-4b50-8888-8dd25736052a",
      "metadata": "<unknown>"
    }
  ],
  "model": "<string>",
  "stop": [
    "<string>"
  ],
  "max_tokens": 1,
  "temperature": 123,
  "top_p": 123,
  "max_ttft_ms": 1,
  "stream": true,
  "stream_options": {
    "include_usage": true
  },
  "session_id": "3c90c3cc-0d44-4b50-8888-8dd25736052a",
  "user": "3c90c3cc-0d44-4b50-8888-8dd25736052a",
  "ab_campaign": "76d1fab3-214c-47ef-bb04-16270639bf89",
  "n": 1,
  "labels": {
    "key": "value"
  },
  "metadata": {
    "key": "value"
  },
  "system_prompt_args": {},
  "tags": [
    "<string>"
  ],
  "use_tools": true,
  "tools": [
    {
      "id": "<string>",
      "enabled": true
    }
  ],
  "store": true
}
'
"""
ORDINARY = ("grpc", "rest")
faces = pytest.mark.parametrize("face", ORDINARY)


@pytest.fixture(scope="module")
def seed(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parts with all that the reference names: a project, its prompt, campaign and tools, and a store."""
    folder = tmp_path_factory.mktemp("seed-001")
    config = stack_config(upstream)
    config["providers"]["local"] = {"kind": "embedded", "threads": 1, "context_tokens": 256}
    config["models"]["smollm2"] = {"targets": [{"provider": "local", "model": "smollm2-135m-instruct"}], **ONCE}
    config["storage"] = {"data_dir": str(folder / "data")}
    server = [sys.executable, str(SERVER), "stdio", "--journal", str(folder / "journal")]
    campaign = {"id": CAMPAIGN, "arms": {"small": {"model": "fast"}, "large": {"model": "smart"}}}
    config["projects"] = {
        "support": {
            "default_model": "fast",
            "models": {"fast": "echo", "smart": "org/echo"},
            "system_prompt": {"template": "You help {{ who }}.", "args": {"who": "everybody"}},
            "tools": {"shop": {"command": server}},
            "use_tools": False,
            "campaigns": {"size": campaign},
        },
        "small": {"default_model": "own", "models": {"own": "smollm2"}},
    }
    with running(config, folder) as started:
        wait_for(lambda: ask(started, "rest", _body(use_tools=True)).failure is None, 60)  # the tool server is up
        yield started


def _body(**fields: Any) -> dict[str, Any]:
    return {"model": "support", "messages": [{"role": "user", "content": "Hello"}], **fields}


def _filled(**fields: Any) -> dict[str, Any]:
    """The printed request with its placeholders filled in."""
    printed = json.loads(GENERATE[GENERATE.index("{") : GENERATE.rindex("}") + 1])
    message = {"content": "Hello", "role": "user", "name": "ada", "metadata": {"any": ["value"]}}
    return {
        **printed,
        "messages": [printed["messages"][0] | message],
        "model": "support/smart",
        "stop": ["END"],
        "max_tokens": 20,
        "temperature": 1,
        "top_p": 1,
        "max_ttft_ms": 30_000,
        "tags": ["value"],
        "tools": [{"id": "shop__echo", "enabled": True}],
        **fields,
    }


def _received(seed: Stack, upstream: FakeUpstream, face: Face, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the provider is sent, and the answer."""
    with upstream.scripted(Script(body=completion())) as script:
        outcome = ask(seed, face, _body(**{"user": script.user, **fields}))
    assert outcome.failure is None, outcome.failure
    assert outcome.answer is not None
    return script.received[0], outcome.answer


def _get(seed: Stack, path: str) -> dict[str, Any]:
    response = httpx.get(f"{seed.url}{path}", headers={"x-api-key": KEY}, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def _stored(seed: Stack, answer: dict[str, Any]) -> dict[str, Any]:
    return _get(seed, f"{PATH}/{answer['id']}")


def test_the_printed_command_runs(seed: Stack, upstream: FakeUpstream) -> None:
    script = Script(events=[chunk("Hi"), chunk(finish="stop", delta={}), usage_chunk()], user=UUID)
    body = json.dumps(_filled())
    command = GENERATE[: GENERATE.index("{")] + body + GENERATE[GENERATE.rindex("}") + 1 :].strip()
    command = command.replace("https://api.example.com", seed.url) + f" --header 'x-api-key: {KEY}' --silent --include"
    with upstream.scripted(script):
        printed = subprocess.run(["sh", "-c", command], capture_output=True, check=True, text=True).stdout

    head, _, events = printed.replace("\r\n", "\n").partition("\n\n")
    assert "200" in head.splitlines()[0]
    assert "content-type: text/event-stream" in head
    assert any(line in head for line in ("x-parley-arm: small", "x-parley-arm: large"))
    *pieces, done = events.strip().split("\n\n")
    assert done == "data: [DONE]"
    first, *_, last = (json.loads(piece.removeprefix("data: ")) for piece in pieces)
    assert first["session_id"] == UUID
    [choice] = first["choices"]
    assert str(uuid.UUID(choice["completion_id"])) == choice["completion_id"]
    assert choice["delta"]["id"].startswith("msg_")
    assert last["usage"]["total_tokens"] == 12
    assert script.received[0]["messages"][0] == {"role": "system", "content": "You help everybody."}
    assert script.received[0]["tools"][0]["function"]["name"] == "shop__echo"


@faces
def test_the_answer_has_every_field_of_the_reference(seed: Stack, face: Face) -> None:
    outcome = ask(seed, face, _filled(stream=False, stream_options=None))

    answer = outcome.answer
    assert answer is not None, outcome.failure
    assert type(answer["created"]) is int
    assert answer["session_id"] == UUID
    [choice] = answer["choices"]
    assert set(choice) >= {"index", "message", "completion_id", "model", "finish_reason"}
    assert set(choice["message"]) >= {"id", "role", "content"}
    assert choice["model"] == {"small": "echo", "large": "org/echo"}[outcome.metadata["x-parley-arm"]]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["completion_tokens"] + usage["prompt_tokens"] > 0


@faces
@pytest.mark.parametrize(
    ("model", "target", "told"),
    [("support", "echo-1", "echo"), ("support/fast", "echo-1", "echo"), ("support/smart", "echo-2", "org/echo")],
)
def test_model_is_a_project_or_one_of_its_models(
    seed: Stack, upstream: FakeUpstream, face: Face, model: str, target: str, told: str
) -> None:
    received, answer = _received(seed, upstream, face, model=model)

    assert received["model"] == target
    assert (answer["model"], answer["choices"][0]["model"]) == (model, told)


@faces
def test_a_model_id_of_its_own_wins_over_projects(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    received, answer = _received(seed, upstream, face, model="org/echo")

    assert received["model"] == "echo-2"
    assert "model" not in answer["choices"][0]
    assert received["messages"] == [{"role": "user", "content": "Hello"}], "no project's prompt"


@faces
def test_the_conversation_reaches_the_provider(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    message = {"role": "user", "content": "Hello", "name": "ada"}
    fields = {"stop": ["END"], "max_tokens": 20, "temperature": 0.5, "top_p": 0.5, "n": 2}
    received, _ = _received(seed, upstream, face, messages=[message], **fields)

    assert received["messages"] == [{"role": "system", "content": "You help everybody."}, message]
    assert {name: received[name] for name in fields} == fields


@faces
def test_completion_id_fills_a_message_from_the_store(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    _, answer = _received(seed, upstream, face, store=True)
    choice = answer["choices"][0]
    user = {"role": "user", "content": "Go on"}
    for reference in ({"completion_id": choice["completion_id"]}, {"id": choice["message"]["id"]}):
        received, _ = _received(seed, upstream, face, messages=[user, {"role": "assistant", **reference}, user])
        assert received["messages"][2] == {"role": "assistant", "content": "Hello!"}


@faces
def test_message_metadata_is_kept_with_the_message(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    metadata = {"any": ["value", 1, None]}
    message = {"role": "user", "content": "Hello", "metadata": metadata}
    received, answer = _received(seed, upstream, face, messages=[message], store=True)

    assert "metadata" not in received["messages"][-1]
    [stored] = _get(seed, f"{PATH}/{answer['id']}/messages")["data"]
    assert (stored["content"], stored["metadata"]) == ("Hello", metadata)


@faces
def test_max_ttft_ms_bounds_the_first_token(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    with upstream.scripted(Script(events=[], ending="hang")) as script:
        outcome = ask(seed, face, _body(stream=True, max_ttft_ms=50, user=script.user))

    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.param) == ("max_ttft_exceeded", "max_ttft_ms")


@faces
def test_stream_options_give_the_usage(seed: Stack, face: Face) -> None:
    outcome = ask(seed, face, _body(stream=True, stream_options={"include_usage": True}))

    assert outcome.is_done
    assert outcome.chunks[-1]["choices"] == []
    assert outcome.chunks[-1]["usage"]["total_tokens"] == 12


@faces
@pytest.mark.parametrize("stream", [False, True])
def test_session_id_is_taken_or_made(seed: Stack, face: Face, stream: bool) -> None:  # noqa: FBT001 - a column
    def session_of(outcome: Outcome) -> str:
        found = outcome.chunks[0] if outcome.answer is None else outcome.answer
        return str(found["session_id"])

    given = session_of(ask(seed, face, _body(stream=stream, session_id=UUID.upper())))
    made = [session_of(ask(seed, face, _body(stream=stream))) for _ in range(2)]

    assert given == UUID
    assert len({uuid.UUID(each) for each in made}) == 2


@faces
def test_user_is_any_string_and_is_stored(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    for user in (UUID, "ada@example.com", "x" * 256):
        with upstream.scripted(Script(body=completion(), user=user)) as script:
            answer = ask(seed, face, _body(user=user, store=True)).answer
        assert answer is not None
        assert script.received[0]["user"] == user
        assert _stored(seed, answer)["user"] == user


@faces
@pytest.mark.parametrize("name", ["size", CAMPAIGN, CAMPAIGN.upper()])
def test_ab_campaign_chooses_the_model_and_a_user_stays_with_it(seed: Stack, face: Face, name: str) -> None:
    arms = {}
    for user in ("ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"):
        told = set()
        for stream in (False, True):
            outcome = ask(seed, face, _body(ab_campaign=name, user=user, stream=stream))
            assert outcome.failure is None
            told.add(outcome.metadata["x-parley-arm"])
        [arms[user]] = told

    assert set(arms.values()) == {"small", "large"}, (
        "with eight users one arm is missed in 1 of 128 cases, and never here"
    )


@faces
@pytest.mark.parametrize("name", ["labels", "metadata"])
def test_labels_and_their_alias_are_stored_and_found(seed: Stack, face: Face, name: str) -> None:
    value = uuid.uuid4().hex
    answer = ask(seed, face, _body(store=True, **{name: {"case": value}})).answer
    assert answer is not None
    both = ask(seed, face, _body(store=True, labels={"case": value}, metadata={"case": value})).answer
    assert both is not None

    assert _stored(seed, answer)["metadata"] == {"case": value}
    listed = _get(seed, f"{PATH}?metadata[case]={value}")["data"]
    assert [each["id"] for each in listed] == [answer["id"], both["id"]]


@faces
def test_system_prompt_args_render_the_projects_prompt(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    for args, text in (({}, "You help everybody."), ({"who": "Ada"}, "You help Ada."), ({"who": 7}, "You help 7.")):
        received, _ = _received(seed, upstream, face, system_prompt_args=args)
        assert received["messages"][0] == {"role": "system", "content": text}


@faces
def test_tags_are_stored_and_found(seed: Stack, face: Face) -> None:
    tag = uuid.uuid4().hex
    answer = ask(seed, face, _body(store=True, tags=[tag, "other"])).answer
    assert answer is not None

    assert _stored(seed, answer)["tags"] == [tag, "other"]
    assert [each["id"] for each in _get(seed, f"{PATH}?tags={tag}")["data"]] == [answer["id"]]


def _names(received: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in received.get("tools", [])}


@faces
def test_use_tools_and_tools_switch_server_side_tools(seed: Stack, upstream: FakeUpstream, face: Face) -> None:
    own = {"type": "function", "function": {"name": "mine"}}
    off, on = {"id": "shop__echo", "enabled": False}, {"id": "shop__echo", "enabled": True}
    without, _ = _received(seed, upstream, face, tools=[own])
    everything, _ = _received(seed, upstream, face, use_tools=True, tools=[own])
    single, _ = _received(seed, upstream, face, tools=[on, own])
    but_one, _ = _received(seed, upstream, face, use_tools=True, tools=[own, off])

    assert _names(without) == {"mine"}
    assert {"mine", "shop__echo", "shop__fail"} <= _names(everything)
    assert _names(single) == {"mine", "shop__echo"}
    assert _names(but_one) == _names(everything) - {"shop__echo"}


@faces
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_side_tool_runs(
    seed: Stack,
    upstream: FakeUpstream,
    face: Face,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "shop__echo", "arguments": '{"text": "42"}'}}
    answers = [completion({"content": "Let me see. ", "tool_calls": [call]}, finish="tool_calls"), completion()]
    first = [
        chunk("Let me see. "),
        chunk(delta={"tool_calls": [{"index": 0, **call}]}),
        chunk(finish="tool_calls", delta={}),
    ]
    events = [[*first, usage_chunk()], [chunk("Hello!"), chunk(finish="stop", delta={}), usage_chunk()]]
    with upstream.scripted(Script(turns=events if stream else answers)) as script:
        outcome = ask(
            seed,
            face,
            _body(
                use_tools=True,
                stream=stream,
                user=script.user,
                stream_options={"include_usage": True} if stream else None,
            ),
        )

    assert outcome.failure is None, outcome.failure
    assert outcome.text() == "Let me see. \n\nHello!"
    message = outcome.answer["choices"][0]["message"] if outcome.answer else {}
    told = [
        event
        for each in outcome.chunks
        for choice in each["choices"]
        for event in choice["delta"].get("tool_events", [])
    ]
    [event] = message.get("tool_events", told)
    assert (event["tool"], event["arguments"], event["status"], event["result"]) == (
        "shop__echo",
        '{"text": "42"}',
        "ok",
        "42",
    )
    usage = outcome.answer["usage"] if outcome.answer else outcome.chunks[-1]["usage"]
    assert usage["total_tokens"] == 24, "of both turns"
    assert script.received[1]["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "42"}


def _choice(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


CHOICES: list[tuple[dict[str, Any], Any, str | None]] = [
    ({"use_tools": True}, "required", None),
    ({"use_tools": True}, _choice("shop__echo"), None),
    ({"tools": [{"id": "shop__echo", "enabled": True}]}, _choice("shop__echo"), None),
    ({}, "required", "tool_choice"),
    ({}, _choice("shop__echo"), "tool_choice.function.name"),
    ({"use_tools": True, "tools": [{"id": "shop__echo", "enabled": False}]}, _choice("shop__echo"), "tool_choice.function.name"),
    ({"tools": [{"id": "shop__echo", "enabled": False}]}, "required", "tool_choice"),
]  # fmt: skip


@faces
@pytest.mark.parametrize(("fields", "choice", "param"), CHOICES)
def test_tool_choice_names_what_may_be_called(
    seed: Stack,
    face: Face,
    fields: dict[str, Any],
    choice: Any,
    param: str | None,
) -> None:
    failure = ask(seed, face, _body(**fields, tool_choice=choice)).failure

    assert (failure.param if failure else None) == param


@faces
def test_store_keeps_the_completion_and_nothing_is_kept_without_it(seed: Stack, face: Face) -> None:
    user = uuid.uuid4().hex
    fields = {"user": user, "session_id": str(uuid.uuid4())}
    answer = ask(seed, face, _body(store=True, temperature=0.5, **fields)).answer
    ask(seed, face, _body(**fields))
    ask(seed, face, _body(store=False, **fields))
    assert answer is not None

    [listed] = _get(seed, f"{PATH}?user={user}")["data"]
    stored = _stored(seed, answer)
    request = stored.pop("request")
    assert stored == listed
    assert {name: stored[name] for name in answer} == answer
    assert (stored["status"], stored["target"]) == ("completed", {"provider": "scripted", "model": "echo-1"})
    assert (request["temperature"], request["model"], "messages" in request) == (0.5, "support", False)
    assert _get(seed, f"/v1/sessions/{fields['session_id']}")["completions"] == 1


BAD: list[tuple[dict[str, Any], int, str, str]] = [
    ({"messages": []}, 400, "messages", "missing_required_parameter"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, 400, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "missing_required_parameter"),
    ({"messages": [{"role": "assistant", "completion_id": "x"}]}, 400, "messages[0].completion_id", "invalid_value"),
    (
        {"messages": [{"role": "assistant", "completion_id": UUID}]},
        404,
        "messages[0].completion_id",
        "completion_not_found",
    ),
    ({"messages": [{"role": "assistant", "id": "msg_x"}]}, 404, "messages[0].id", "completion_not_found"),
    ({"model": ""}, 400, "model", "missing_required_parameter"),
    ({"model": "support/none"}, 404, "model", "model_not_found"),
    ({"model": "none/fast"}, 404, "model", "model_not_found"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop", "invalid_value"),
    ({"max_tokens": -1}, 400, "max_tokens", "invalid_value"),
    ({"temperature": 3}, 400, "temperature", "invalid_value"),
    ({"top_p": 2}, 400, "top_p", "invalid_value"),
    ({"max_ttft_ms": -1}, 400, "max_ttft_ms", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "invalid_value"),
    ({"session_id": "no uuid"}, 400, "session_id", "invalid_value"),
    ({"user": "x" * 257}, 400, "user", "invalid_value"),
    ({"ab_campaign": "none"}, 404, "ab_campaign", "campaign_not_found"),
    ({"ab_campaign": "size", "model": "echo"}, 404, "ab_campaign", "campaign_not_found"),
    ({"n": -1}, 400, "n", "invalid_value"),
    ({"labels": {"": "x"}}, 400, "labels", "invalid_value"),
    ({"labels": {"k": "x" * 513}}, 400, "labels", "invalid_value"),
    ({"metadata": {str(n): "x" for n in range(17)}}, 400, "metadata", "invalid_value"),
    ({"labels": {"a": "1"}, "metadata": {"a": "2"}}, 400, "metadata", "invalid_value"),
    ({"system_prompt_args": {"unknown": 1}}, 400, "system_prompt_args.unknown", "invalid_value"),
    ({"system_prompt_args": {"who": 1}, "model": "echo"}, 400, "system_prompt_args", "invalid_value"),
    ({"tags": [""]}, 400, "tags[0]", "invalid_value"),
    ({"tags": ["x"] * 65}, 400, "tags", "invalid_value"),
    ({"use_tools": True, "model": "small"}, 400, "use_tools", "invalid_value"),
    ({"tools": [{"id": "shop__none", "enabled": True}]}, 404, "tools[0].id", "tool_not_found"),
    ({"tools": [{"id": "none__echo", "enabled": True}]}, 404, "tools[0].id", "tool_not_found"),
    ({"tools": [{"id": "shop__echo"}]}, 400, "tools[0].enabled", "missing_required_parameter"),
]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("fields", "status", "param", "code"), BAD, ids=[f"{b[2]}-{n}" for n, b in enumerate(BAD)])
def test_a_bad_value_is_refused_by_name(
    seed: Stack, face: Face, fields: dict[str, Any], status: int, param: str, code: str
) -> None:
    failure = ask(seed, face, _body(**fields)).failure

    assert failure is not None
    assert (failure.http_status, failure.param, failure.code) == (status, param, code)
    assert f"`{param}`" in failure.message or status == 404


WRONG_TYPES = [
    ("stream", "yes", "stream"), ("store", "maybe", "store"), ("use_tools", 1, "use_tools"),
    ("system_prompt_args", [1], "system_prompt_args"), ("labels", {"a": {}}, "labels"), ("tags", {"a": 1}, "tags"),
    ("session_id", {"a": 1}, "session_id"), ("tools", [{"id": "shop__echo", "enabled": "on"}], "tools"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "param"), WRONG_TYPES)
def test_a_value_of_a_wrong_type_is_refused(seed: Stack, name: str, value: Any, param: str) -> None:
    response = httpx.post(f"{seed.url}{PATH}", json=_body(**{name: value}), headers={"x-api-key": KEY}, timeout=30)

    assert response.status_code == 400
    assert str(response.json()["error"]["param"]).startswith(param)


@faces
def test_null_and_empty_values_are_accepted(seed: Stack, face: Face) -> None:
    names = (
        "stop max_tokens temperature top_p max_ttft_ms session_id user ab_campaign tags tools store use_tools labels"
        " metadata system_prompt_args"
    )
    nothing: dict[str, Any] = dict.fromkeys(names.split())
    empty: dict[str, Any] = {
        "store": False, "use_tools": False, "tags": [], "tools": [], "labels": {}, "metadata": {}, "session_id": "",
        "ab_campaign": "", "system_prompt_args": {}, "max_tokens": 0, "n": 0, "max_ttft_ms": 0,
    }  # fmt: skip
    for fields in (nothing, empty):
        assert ask(seed, face, _body(**fields)).failure is None
