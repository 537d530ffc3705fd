"""Stored completions and sessions over REST, with the official Python client unchanged, on both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionDeleted, ChatCompletionStoreMessage

from service._gen.parley.v1.chat_service_pb2 import GetChatCompletionRequest, ListChatCompletionsRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.conftest import stack_config
from tests.support.faces import grpc_failure
from tests.support.json_form import json_of
from tests.support.openai_sdk import HELLO
from tests.support.postgres import running_postgres
from tests.support.stack import Stack, running, wait_for
from tests.support.upstream import FakeUpstream, Script, chunk, completion, usage_chunk

TENANTS = 100
"""As many as tests of one database may ask for: each sees what it has stored itself, and nothing else."""
GONE = "chatcmpl-01a202a4bc407836ba56eb662b462c00"
_numbers = count()


def _key(number: int) -> str:
    return f"test-key-of-tenant-{number}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stored(
    request: pytest.FixtureRequest, upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The service and Envoy, in front of the scripted provider, with a database."""
    folder = tmp_path_factory.mktemp(request.param)
    config = stack_config(upstream)
    digests = [hashlib.sha256(_key(number).encode()).hexdigest() for number in range(TENANTS)]
    config["auth"]["keys"] = [{"name": f"t{number}", "sha256": digest} for number, digest in enumerate(digests)]
    with ExitStack() as opened:
        environ = {}
        if request.param == "sqlite":
            config["storage"] = {"data_dir": str(folder / "data")}
        else:
            config["storage"] = {"url_env": "PARLEY_TEST_DATABASE_URL"}
            environ["PARLEY_TEST_DATABASE_URL"] = opened.enter_context(running_postgres()).new_database()
        yield opened.enter_context(running(config, folder, environ=environ))


@pytest.fixture
def key() -> str:
    """Of a tenant that has nothing stored."""
    return _key(next(_numbers) % TENANTS)


@pytest.fixture
def client(stored: Stack, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stored.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def rest(stored: Stack, key: str) -> Iterator[httpx.Client]:
    """The gateway without a client in between, for the same tenant."""
    with httpx.Client(base_url=stored.url, headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
        yield client


def _store(client: OpenAI, content: str = "Hello", **fields: Any) -> ChatCompletion:
    answer = client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": content}], store=True, **fields
    )
    assert isinstance(answer, ChatCompletion)
    return answer


def _ids(client: OpenAI, **fields: Any) -> list[str]:
    return [each.id for each in client.chat.completions.list(**fields)]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_client_pages_through_all_of_them(client: OpenAI, order: Any) -> None:
    wanted = [_store(client, str(number)).id for number in range(45)]
    if order == "desc":
        wanted.reverse()

    assert _ids(client, limit=20, order=order) == wanted
    assert _ids(client, order=order) == wanted
    sizes = [len(page.data) for page in client.chat.completions.list(limit=20, order=order).iter_pages()]
    assert sizes == [20, 20, 5]
    assert _ids(client, limit=20, order=order, after=wanted[24]) == wanted[25:]


async def test_the_asynchronous_client_pages_as_well(client: OpenAI, stored: Stack, key: str) -> None:
    wanted = [_store(client, str(number)).id for number in range(5)]

    async with AsyncOpenAI(base_url=f"{stored.url}/v1", api_key=key, max_retries=0) as other:
        assert [each.id async for each in other.chat.completions.list(limit=2)] == wanted


def test_a_list_of_none_is_a_list(client: OpenAI, rest: httpx.Client) -> None:
    assert client.chat.completions.list().data == []
    assert rest.get("/v1/chat/completions").json() == {"object": "list", "has_more": False, "data": []}
    assert rest.get("/v1/sessions").json() == {"object": "list", "has_more": False, "data": []}


def test_an_answer_can_be_retrieved_as_it_was(client: OpenAI) -> None:
    answer = _store(
        client,
        metadata={"team": "x"},
        user="ann",
        temperature=0.5,
        extra_body={"tags": ["red"], "labels": {"team": "x"}},
    )

    told = client.chat.completions.retrieve(answer.id)

    ChatCompletion.model_validate(told.to_dict())  # the client itself lets pass what is missing
    extra = told.model_extra or {}
    same = {"id", "object", "created", "model", "choices", "usage", "session_id"}
    assert told.model_dump(include=same) == answer.model_dump(include=same)
    assert (extra["status"], told.metadata, extra["tags"]) == ("completed", {"team": "x"}, ["red"])
    assert (extra["user"], extra["target"]) == ("ann", {"provider": "scripted", "model": "echo-1"})
    assert (extra["request"]["temperature"], extra["request"]["store"]) == (0.5, True)
    assert "messages" not in extra["request"]
    choice: Any = answer.choices[0]
    assert client.chat.completions.retrieve(choice.completion_id).id == answer.id


def test_a_stream_can_be_retrieved_as_it_was(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": "one two three"}], store=True, stream=True
    )
    chunks = list(stream)

    told = client.chat.completions.retrieve(chunks[0].id)

    assert told.choices[0].message.content == "one two three"
    assert told.choices[0].finish_reason == "stop"
    assert told.usage, "a stream without `include_usage` has one all the same"


def test_empty_lists_within_an_answer_are_printed(client: OpenAI, upstream: FakeUpstream) -> None:
    body = completion()
    body["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1, "bytes": None, "top_logprobs": []}]}
    with upstream.scripted(Script(body=body)) as script:
        answer = client.chat.completions.create(
            model="echo", messages=HELLO, store=True, logprobs=True, user=script.user
        )

    (listed,) = client.chat.completions.list()
    for told in (listed, client.chat.completions.retrieve(answer.id)):
        ChatCompletion.model_validate(told.to_dict())
        assert told.choices[0].logprobs == answer.choices[0].logprobs


ODD = ("a b", "a&b", "a=b", "100%", "%41", "a+b", "ä€😀", "a[b]", "#?/\\", "\"'<>", "a;b,c", "]", "%3D", "\t\n")


def test_labels_of_any_characters_are_found(client: OpenAI) -> None:
    by_key = {text: _store(client, metadata={text: "value"}).id for text in ODD}
    by_value = {text: _store(client, metadata={"key": text}).id for text in ODD}

    for text in ODD:
        assert _ids(client, metadata={text: "value"}) == [by_key[text]], text
        assert _ids(client, metadata={"key": text}) == [by_value[text]], text
    assert _ids(client, metadata={"key": "other"}) == []


def test_several_filters_hold_together(client: OpenAI, rest: httpx.Client) -> None:
    session = str(uuid4())
    first = _store(client, metadata={"a": "1", "b": "2"}, user="ann", extra_body={"tags": ["x", "y"]}).id
    second = _store(client, metadata={"a": "1"}, user="ann", extra_body={"tags": ["x"], "session_id": session}).id
    table: list[tuple[dict[str, Any], list[str]]] = [
        ({"metadata": {"a": "1"}}, [first, second]),
        ({"metadata": {"a": "1", "b": "2"}}, [first]),
        ({"metadata": {"a": "1"}, "model": "echo"}, [first, second]),
        ({"model": "dead"}, []),
        ({"extra_query": {"labels[b]": "2"}}, [first]),
        ({"extra_query": {"tags": ["x", "y"]}}, [first]),
        ({"extra_query": {"tags": "x", "user": "ann"}}, [first, second]),
        ({"extra_query": {"user": "bob"}}, []),
        ({"extra_query": {"session_id": session}}, [second]),
    ]
    for fields, wanted in table:
        assert _ids(client, **fields) == wanted, fields
    answer = rest.get("/v1/chat/completions?tags=x&tags=y&metadata%5Ba%5D=1&labels[b]=2")
    assert [each["id"] for each in answer.json()["data"]] == [first]


def test_labels_are_updated(client: OpenAI) -> None:
    answer = _store(client, metadata={"a": "1", "b": "2"})

    told = client.chat.completions.update(answer.id, metadata={"c": "ä=%"})

    ChatCompletion.model_validate(told.to_dict())
    assert (told.id, told.metadata) == (answer.id, {"c": "ä=%"})
    assert _ids(client, metadata={"c": "ä=%"}) == [answer.id]
    assert _ids(client, metadata={"a": "1"}) == []
    told = client.chat.completions.update(answer.id, metadata=None)
    assert told.metadata is None, "null leaves none"
    assert _ids(client, metadata={"c": "ä=%"}) == []


def test_a_completion_is_deleted(client: OpenAI) -> None:
    first, second = _store(client), _store(client)

    told = client.chat.completions.delete(first.id)

    assert told == ChatCompletionDeleted(id=first.id, deleted=True, object="chat.completion.deleted")
    assert _ids(client) == [second.id]
    for call in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(first.id)
        assert (caught.value.code, caught.value.param) == ("completion_not_found", "completion_id")


def test_messages_are_listed(client: OpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
    ]
    texts = [{"role": "user", "content": str(number)} for number in range(5)]
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "ann"},
        *texts,
    ]
    answer = client.chat.completions.create(model="echo", messages=messages, store=True)

    told = list(client.chat.completions.messages.list(answer.id, limit=2))

    assert [each.id for each in told] == [f"{answer.id}-{place}" for place in range(7)]
    assert [each.role for each in told] == ["system", *["user"] * 6]
    assert [each.content for each in told] == ["Be brief.", None, "0", "1", "2", "3", "4"]
    assert [part.to_dict() for part in told[1].content_parts or []] == parts
    assert isinstance(told[0], ChatCompletionStoreMessage)
    turned = list(client.chat.completions.messages.list(answer.id, limit=3, order="desc"))
    assert [each.id for each in turned] == [each.id for each in told[::-1]]


@pytest.mark.parametrize(
    ("method", "path", "param", "code"),
    [
        ("GET", "/v1/chat/completions?limit=0", "limit", "invalid_value"),
        ("GET", "/v1/chat/completions?limit=101", "limit", "invalid_value"),
        ("GET", "/v1/chat/completions?limit=x", "limit", "invalid_value"),
        ("GET", "/v1/chat/completions?order=up", "order", "invalid_value"),
        ("GET", "/v1/chat/completions?after=x", "after", "invalid_value"),
        ("GET", "/v1/chat/completions?session_id=x", "session_id", "invalid_value"),
        ("GET", "/v1/chat/completions?user=", "user", "invalid_value"),
        ("GET", "/v1/chat/completions?model=", "model", "invalid_value"),
        ("GET", f"/v1/chat/completions?tags={'t' * 65}", "tags[0]", "invalid_value"),
        ("GET", f"/v1/chat/completions?metadata[{'k' * 65}]=v", "metadata", "invalid_value"),
        ("GET", f"/v1/chat/completions?metadata[k]={'v' * 513}", "metadata", "invalid_value"),
        ("GET", "/v1/chat/completions?metadata[k]=v&metadata[k]=w", "metadata[k]", "invalid_value"),
        ("GET", "/v1/chat/completions?metadata[k]=%00", "metadata", "invalid_value"),
        ("GET", "/v1/chat/completions?metadata[k]=v&labels[k]=w", "metadata", "invalid_value"),
        ("GET", f"/v1/chat/completions/{GONE}", "completion_id", "completion_not_found"),
        ("DELETE", f"/v1/chat/completions/{GONE}", "completion_id", "completion_not_found"),
        ("POST", f"/v1/chat/completions/{GONE}", "completion_id", "completion_not_found"),
        ("GET", "/v1/chat/completions/x", "completion_id", "completion_not_found"),
        ("GET", "/v1/chat/completions/%C3%A4%2F", "completion_id", "completion_not_found"),
        ("GET", f"/v1/chat/completions/{GONE}/messages", "completion_id", "completion_not_found"),
        ("GET", f"/v1/chat/completions/{GONE}/messages?limit=0", "limit", "invalid_value"),
        ("GET", "/v1/sessions?limit=0", "limit", "invalid_value"),
        ("GET", "/v1/sessions?order=up", "order", "invalid_value"),
        ("GET", "/v1/sessions?after=x", "after", "invalid_value"),
        ("GET", "/v1/sessions?user=", "user", "invalid_value"),
        ("GET", "/v1/sessions/x", "session_id", "session_not_found"),
        ("DELETE", "/v1/sessions/1862ecf3-b4e8-4848-bd5b-c14eae204150", "session_id", "session_not_found"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/api"])
def test_what_is_wrong_is_named(rest: httpx.Client, prefix: str, method: str, path: str, param: str, code: str) -> None:
    answer = rest.request(method, prefix + path, json={"metadata": {"k": "v"}} if method == "POST" else None)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404 if "found" in code else 400, code, param)
    assert (set(error), error["type"]) == ({"message", "type", "param", "code"}, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": {"k": "v"}, "labels": {"k": "w"}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"labels": {"k": "v" * 513}}, "labels"),
    ],
)
def test_bad_labels_are_named(client: OpenAI, rest: httpx.Client, body: dict[str, Any], param: str) -> None:
    answer = rest.post(f"/v1/chat/completions/{_store(client).id}", json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_sessions_are_listed_told_and_deleted(client: OpenAI, rest: httpx.Client) -> None:
    session, other = str(uuid4()), str(uuid4())
    for session_id, user in ((session, "ann"), (other, "bob"), (session, "bob")):
        _store(client, user=user, extra_body={"session_id": session_id})

    for prefix in ("", "/api"):
        told = rest.get(f"{prefix}/v1/sessions").json()
        assert [each["id"] for each in told["data"]] == [session, other]
        assert [each["user"] for each in told["data"]] == ["ann", "bob"]
        assert (told["first_id"], told["last_id"], told["has_more"]) == (session, other, False)
        assert rest.get(f"{prefix}/v1/sessions?limit=1&after={session}").json()["first_id"] == other
        assert rest.get(f"{prefix}/v1/sessions?order=desc&limit=1").json()["has_more"] is True
        assert rest.get(f"{prefix}/v1/sessions?user=bob").json()["first_id"] == other
        assert rest.get(f"{prefix}/v1/sessions/{session}").json()["completions"] == 2
    gone = rest.delete(f"/v1/sessions/{session}").json()
    assert gone == {"id": session, "object": "session.deleted", "deleted": True, "completions": 2}
    assert [each["id"] for each in rest.get("/v1/sessions").json()["data"]] == [other]
    assert len(_ids(client)) == 1


def test_the_other_path_does_the_same(client: OpenAI, rest: httpx.Client) -> None:
    answer = _store(client)
    path = f"/api/v1/chat/completions/{answer.id}"

    assert rest.get(path).json()["id"] == answer.id
    assert rest.post(path, json={"metadata": {"k": "v"}}).json()["metadata"] == {"k": "v"}
    listed = rest.get("/api/v1/chat/completions?metadata[k]=v").json()
    assert [each["id"] for each in listed["data"]] == [answer.id]
    assert rest.get(f"{path}/messages").json()["data"][0]["content"] == "Hello"
    assert rest.delete(path).json()["deleted"] is True
    assert rest.get(path).status_code == 404


def test_tenants_see_nothing_of_each_other_on_either_face(client: OpenAI, stored: Stack) -> None:
    answer = _store(client, metadata={"k": "v"}, extra_body={"session_id": str(uuid4())})
    session: Any = (answer.model_extra or {})["session_id"]
    other_key = _key(next(_numbers) % TENANTS)

    with httpx.Client(base_url=stored.url, headers={"x-api-key": other_key}) as other:
        for path in ("/v1/chat/completions?metadata[k]=v", "/v1/sessions"):
            assert other.get(path).json()["data"] == []
        mine, unknown = f"/v1/chat/completions/{answer.id}", f"/v1/chat/completions/{GONE}"
        body = {"metadata": {"x": "y"}}
        assert other.get(mine).json() == other.get(unknown).json()
        assert other.get(f"{mine}/messages").json() == other.get(f"{unknown}/messages").json()
        assert other.post(mine, json=body).json() == other.post(unknown, json=body).json()
        assert other.delete(mine).json() == other.delete(unknown).json()
        for method in ("GET", "DELETE"):
            foreign = other.request(method, f"/v1/sessions/{session}")
            assert foreign.json() == other.request(method, f"/v1/sessions/{uuid4()}").json()
    for through_gateway in (False, True):
        with stored.channel(through_gateway=through_gateway) as channel:
            stub, metadata = ChatServiceStub(channel), (("x-api-key", other_key),)
            assert not stub.ListChatCompletions(ListChatCompletionsRequest(), metadata=metadata).data
            with pytest.raises(Exception, match="no stored completion") as caught:
                stub.GetChatCompletion(GetChatCompletionRequest(completion_id=answer.id), metadata=metadata)
            assert grpc_failure(caught.value).code == "completion_not_found"
    assert client.chat.completions.retrieve(answer.id).metadata == {"k": "v"}


def test_both_faces_tell_the_same(client: OpenAI, rest: httpx.Client, stored: Stack, key: str) -> None:
    answer = _store(client, metadata={"k": "v"}, extra_body={"tags": ["x"]})
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "b": 1, "a": [2]}}}
    _store(client, tools=[tool], tool_choice="auto", extra_body={"extra_body": {"z": 1, "y": {"x": None}}})

    path = "/v1/chat/completions"
    for through_gateway in (False, True):
        with stored.channel(through_gateway=through_gateway) as channel:
            stub, metadata = ChatServiceStub(channel), (("x-api-key", key),)
            listed = stub.ListChatCompletions(ListChatCompletionsRequest(), metadata=metadata)
            assert json_of(listed) == rest.get(path).json()
            for each in listed.data:
                got = stub.GetChatCompletion(GetChatCompletionRequest(completion_id=each.id), metadata=metadata)
                assert json_of(got) == rest.get(f"{path}/{each.id}").json()
    assert str(UUID((answer.model_extra or {})["session_id"])) == (answer.model_extra or {})["session_id"]


def test_a_list_of_large_answers_is_read_to_its_end(client: OpenAI, upstream: FakeUpstream) -> None:
    body = completion({"content": "x" * 2_000_000})
    with upstream.scripted(Script(body=body)) as script:
        wanted = [
            client.chat.completions.create(model="echo", messages=HELLO, store=True, user=script.user).id
            for _ in range(20)
        ]

    pages = list(client.chat.completions.list(limit=100).iter_pages())

    assert [each.id for page in pages for each in page.data] == wanted
    assert len(pages) > 1, "a page is as large as fits into an answer"


def test_a_broken_stream_is_kept_as_what_it_was(client: OpenAI, upstream: FakeUpstream) -> None:
    script = Script(events=[chunk("He"), chunk("llo"), usage_chunk()], ending="cut")
    with upstream.scripted(script), pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="echo", messages=HELLO, store=True, stream=True, user=script.user))

    (told,) = wait_for(lambda: list(client.chat.completions.list()))  # the error is told at once
    extra = told.model_extra or {}
    assert (extra["status"], extra["error_reason"]) == ("partial", "UPSTREAM_INTERRUPTED")
    assert told.choices[0].message.content == "Hello"
