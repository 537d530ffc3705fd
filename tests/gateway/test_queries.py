"""Queries of lists: what of them reaches the service, and what is refused by name."""

from __future__ import annotations

import http.client
import json
from random import Random
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlencode

import httpx
import pytest
from google.protobuf.message import Message

from service._gen.parley.v1.chat_service_pb2 import ListChatCompletionMessagesRequest, ListChatCompletionsRequest
from service._gen.parley.v1.session_service_pb2 import ListSessionsRequest
from tests.gateway.answers import CHAT
from tests.gateway.conftest import ORIGIN
from tests.gateway.scratch import Gateway, Scratch, Service, wait_until
from tests.gateway.test_errors import INVALID, SECRET, error_of

MESSAGES = f"{CHAT}/chatcmpl-1/messages"
SESSIONS = "/v1/sessions"
ODD_KEY, ODD_VALUE = "a b&c=d%e+f[x]ü", " &=%+ü😀/?#,"
# `list(metadata={"a": "b", ODD_KEY: ODD_VALUE}, model="m/x y", limit=2, order="desc", after="x")` of openai-python 3.54
# and of the npm package openai 7.57, as they stood on the wire.
OF_PYTHON = (
    "after=x&limit=2&metadata%5Ba%5D=b&metadata%5Ba+b%26c%3Dd%25e%2Bf%5Bx%5D%C3%BC%5D="
    "+%26%3D%25%2B%C3%BC%F0%9F%98%80%2F%3F%23%2C&model=m%2Fx+y&order=desc"
)
OF_NODE = (
    "metadata%5Ba%5D=b&metadata%5Ba%20b%26c%3Dd%25e%2Bf%5Bx%5D%C3%BC%5D=%20%26%3D%25%2B%C3%BC%F0%9F%98%80%2F%3F%23%2C"
    "&model=m%2Fx%20y&limit=2&order=desc&after=x"
)
OF_CLIENTS = ListChatCompletionsRequest(
    after="x", limit=2, order="desc", model="m/x y", label_pairs=["a=b", f"a b&c%3Dd%25e+f[x]ü={ODD_VALUE}"]
)


def get(gateway: Gateway, target: str) -> tuple[int, Any]:
    """A GET of exactly these bytes: httpx would write the query anew."""
    host, port = gateway.address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (OF_PYTHON, OF_CLIENTS),
        (OF_NODE, OF_CLIENTS),
        ("", ListChatCompletionsRequest()),
        ("&&", ListChatCompletionsRequest()),
        ("&limit=2&&", ListChatCompletionsRequest(limit=2)),
        ("limit=2147483647&order=asc", ListChatCompletionsRequest(limit=2147483647, order="asc")),
        ("limit=-1", ListChatCompletionsRequest(limit=-1)),
        ("limit=%31", ListChatCompletionsRequest(limit=1)),
        ("l%69mit=1", ListChatCompletionsRequest(limit=1)),
        ("user=a+b%2Bc%20d", ListChatCompletionsRequest(user="a b+c d")),
        ("user=100%&session_id=%zz%4", ListChatCompletionsRequest(user="100%", session_id="%zz%4")),
        ("user=a?b=c;d:/@!$'()*,~", ListChatCompletionsRequest(user="a?b=c;d:/@!$'()*,~")),
        ("user=%00%09%0A%22%5C", ListChatCompletionsRequest(user='\0\t\n"\\')),
        ("user=%26limit%3D2", ListChatCompletionsRequest(user="&limit=2")),
        ("model", ListChatCompletionsRequest(model="")),
        ("model=", ListChatCompletionsRequest(model="")),
        ("metadata=", ListChatCompletionsRequest()),  # openai-node's `metadata: null`
        ("metadata[a]", ListChatCompletionsRequest(label_pairs=["a="])),
        ("metadata[a]=b=c", ListChatCompletionsRequest(label_pairs=["a=b=c"])),
        ("metadata[%25]=%25", ListChatCompletionsRequest(label_pairs=["%25=%"])),
        ("metadata[%253D]=x", ListChatCompletionsRequest(label_pairs=["%253D=x"])),
        ("metadata[[]=1&metadata[]]=2", ListChatCompletionsRequest(label_pairs=["[=1", "]=2"])),
        ("metadata[a][b]=c", ListChatCompletionsRequest(label_pairs=["a][b=c"])),
        ("metadata[%20]=x", ListChatCompletionsRequest(label_pairs=[" =x"])),
        ("metadata[a%0A]=x%0A", ListChatCompletionsRequest(label_pairs=["a\n=x\n"])),
        ("metadata[label_pairs]=x&labels[a]=b", ListChatCompletionsRequest(label_pairs=["label_pairs=x", "a=b"])),
        ("metadata[a]=1&labels[a]=2", ListChatCompletionsRequest(label_pairs=["a=1", "a=2"])),
        ("tags=b&tags=a&tags=b", ListChatCompletionsRequest(tags=["b", "a", "b"])),
        ("tags[]=b&tags[0]=a&tags%5B17%5D=c&tags=a,b", ListChatCompletionsRequest(tags=["b", "a", "c", "a,b"])),
        ("tags[]=", ListChatCompletionsRequest(tags=[""])),
    ],
)
def test_what_a_query_says_reaches_the_service(
    gateway: Gateway, script: Scratch, prefix: str, query: str, expected: Message
) -> None:
    status, _ = get(gateway, f"{prefix}{CHAT}?{query}")
    assert status == 200
    assert script.method == "ListChatCompletions"
    assert script.requests == [expected]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            f"{MESSAGES}?limit=3&after=m%2F1&order=desc",
            ListChatCompletionMessagesRequest(completion_id="chatcmpl-1", limit=3, after="m/1", order="desc"),
        ),
        (MESSAGES, ListChatCompletionMessagesRequest(completion_id="chatcmpl-1")),
        (
            f"{SESSIONS}?user=a+b&limit=3&after=x&order=desc",
            ListSessionsRequest(user="a b", limit=3, after="x", order="desc"),
        ),
        (SESSIONS, ListSessionsRequest()),
    ],
)
def test_other_lists_take_queries_of_their_own(
    gateway: Gateway, script: Scratch, target: str, expected: Message
) -> None:
    for prefix in ("", "/api"):
        script.reset()
        status, _ = get(gateway, prefix + target)
        assert status == 200
        assert script.requests == [expected]


UNKNOWN, WRONG = "unknown_parameter", "invalid_value"
TWICE = "the parameter is given twice"


@pytest.mark.parametrize(
    ("target", "code", "param", "expected"),
    [
        (f"{CHAT}?foo=s3cret", UNKNOWN, "foo", "Unknown query parameter: 'foo'."),
        (f"{CHAT}?limit=1&foo", UNKNOWN, "foo", "Unknown"),
        (f"{CHAT}?sessionId=s3cret", UNKNOWN, "sessionId", "Unknown"),
        (f"{CHAT}?metadata.a=s3cret", UNKNOWN, "metadata.a", "Unknown"),
        (f"{CHAT}?metadata[a=s3cret", UNKNOWN, "metadata[a", "Unknown"),
        (f"{CHAT}?tags[x]=s3cret", UNKNOWN, "tags[x]", "Unknown"),
        (f"{CHAT}?limit[]=1", UNKNOWN, "limit[]", "Unknown"),
        (f"{CHAT}?user[a]=s3cret", UNKNOWN, "user[a]", "Unknown"),
        (f"{CHAT}?label_pairs=a%3Db", UNKNOWN, "label_pairs", "Unknown"),
        (f"{CHAT}?label_pairs[a]=b", UNKNOWN, "label_pairs[a]", "Unknown"),
        (f"{CHAT}?completion_id=x", UNKNOWN, "completion_id", "Unknown"),
        (f"{CHAT}?stream=true", UNKNOWN, "stream", "Unknown"),
        (f"{CHAT}?$alt=json", UNKNOWN, None, "Unknown query parameter."),
        (f"{CHAT}?=s3cret", UNKNOWN, None, "Unknown query parameter."),
        (f"{CHAT}?%C3%BC=s3cret", UNKNOWN, None, "Unknown query parameter."),
        (f"{CHAT}?%22%5C%0A=s3cret", UNKNOWN, None, "Unknown query parameter."),
        (f"{CHAT}?{'x' * 200}=s3cret", UNKNOWN, None, "Unknown query parameter."),
        (f"{MESSAGES}?completion_id=s3cret", UNKNOWN, "completion_id", "Unknown"),
        (f"{MESSAGES}?user=s3cret", UNKNOWN, "user", "Unknown"),
        (f"{SESSIONS}?model=s3cret", UNKNOWN, "model", "Unknown"),
        (f"{SESSIONS}?metadata[a]=s3cret", UNKNOWN, "metadata[a]", "Unknown"),
        (f"{CHAT}?metadata=s3cret", WRONG, "metadata", "expected metadata[KEY]=VALUE"),
        (f"{CHAT}?metadata[]=s3cret", WRONG, "metadata", "expected metadata[KEY]=VALUE"),
        (f"{CHAT}?labels=s3cret", WRONG, "labels", "expected labels[KEY]=VALUE"),
        (f"{CHAT}?limit=s3cret", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit=", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit=1.5", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit=1e1", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit=0x10", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit=+1", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit=2147483648", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit={'9' * 400}", WRONG, "limit", "expected an integer"),
        (f"{SESSIONS}?limit=s3cret", WRONG, "limit", "expected an integer"),
        (f"{CHAT}?limit=1&limit=1", WRONG, "limit", TWICE),
        (f"{CHAT}?user=s3cret&user=s3cret", WRONG, "user", TWICE),
        (f"{CHAT}?metadata[a]=s3cret&metadata%5Ba%5D=1", WRONG, "metadata[a]", TWICE),
        (f"{CHAT}?labels[%C3%BC]=s3cret&labels[%C3%BC]=1", WRONG, "labels", TWICE),
        (f"{MESSAGES}?after=s3cret&after=s3cret", WRONG, "after", TWICE),
    ],
)
def test_a_wrong_query_is_refused_by_name(
    gateway: Gateway, script: Scratch, target: str, code: str, param: str | None, expected: str
) -> None:
    for prefix in ("", "/api"):
        status, body = get(gateway, prefix + target)
        assert status == 400
        error = body["error"]
        assert (error["type"], error["param"], error["code"]) == (INVALID, param, code)
        assert expected in error["message"]
        assert SECRET not in json.dumps(body)
    assert script.method == ""


def test_a_refused_query_has_an_envelope_like_any_other(rest: httpx.Client) -> None:
    answer = rest.get(f"{CHAT}?foo=1", headers={"origin": ORIGIN, "x-request-id": "mine"})
    assert error_of(answer)["param"] == "foo"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("name", ["user", "metadata[a]", "tags"])
@pytest.mark.parametrize("letter", ["x", "(", "%28", "%C3%BC"])
def test_long_queries_arrive(gateway: Gateway, script: Scratch, name: str, letter: str) -> None:
    """Metadata of gRPC is limited, so the query must not be among it as well."""
    text = unquote(letter) * (50_000 // len(letter))
    status, _ = get(gateway, f"{CHAT}?{name}={letter * (50_000 // len(letter))}")
    assert status == 200
    request = script.requests[0]
    assert {"user": request.user, "metadata[a]": "".join(request.label_pairs)[2:], "tags": "".join(request.tags)}[
        name
    ] == text
    assert script.metadata["x-envoy-original-path"] == CHAT


def test_a_list_without_a_service_is_a_503(rest: httpx.Client, service: Service) -> None:
    service.set_serving(serving=False)
    try:
        wait_until(lambda: rest.get(f"{CHAT}?limit=1").status_code == 503)
        assert error_of(rest.get(f"{CHAT}?limit=1"))["code"] == "service_unavailable"
    finally:
        service.set_serving(serving=True)
    wait_until(lambda: rest.get(CHAT).status_code == 200)


def test_labels_of_any_text_arrive_as_they_were(rest: httpx.Client, script: Scratch) -> None:
    random = Random(5)
    letters = "ab0 %&=+[]{}#?/\\\"'.,;:!~^|<>\t\n\0ü😀"
    for _ in range(150):
        labels = {_text(random, letters, 1): _text(random, letters, 0) for _ in range(random.randint(0, 4))}
        tags = [_text(random, letters, 0) for _ in range(random.randint(0, 3))]
        script.reset()
        fields = [(f"{random.choice(['metadata', 'labels'])}[{key}]", value) for key, value in labels.items()]
        quote_via = random.choice([quote, quote_plus])
        query = urlencode([*fields, *(("tags[]", tag) for tag in tags)], quote_via=quote_via)
        assert rest.get(httpx.URL(rest.base_url, raw_path=f"{CHAT}?{query}".encode())).status_code == 200, query
        [request] = script.requests
        assert [_pair(text) for text in request.label_pairs] == list(labels.items()), query
        assert list(request.tags) == tags, query


def _text(random: Random, letters: str, least: int) -> str:
    return "".join(random.choices(letters, k=random.randint(least, 6)))


def _pair(text: str) -> tuple[str, str]:
    """As the contract says: `%` and `=` of the key are written as `%25` and `%3D`."""
    key, _, value = text.partition("=")
    return key.replace("%3D", "=").replace("%25", "%"), value
