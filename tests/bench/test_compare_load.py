from __future__ import annotations

import json

import pytest

from bench.compare.bodies import body, conversation, order, path, question
from bench.compare.gateways.gateway import Face
from bench.compare.load import Logged, empty_answers, parse_log, rate_of
from bench.compare.measures import unary_measures
from bench.compare.results import Times, times_of
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest

_REST = Face("rest", "127.0.0.1:1", "/v1/chat/completions", {}, "m")
_GRPC = Face("grpc", "127.0.0.1:1", "/parley.v1.ChatService", {}, "m")
_TOLD = (
    "requests: 64 total, 64 started, 64 done, 64 succeeded, 0 failed, 0 errored, 0 timeout\n"
    "status codes: 64 2xx, 0 3xx, 0 4xx, 0 5xx\n"
    "traffic: 337.36KB (345456) total, 44.18KB (45236) headers (space savings 90.17%), 6.25KB ({}) data\n"
)


def test_the_log_of_h2load_is_read() -> None:
    text = "1795356626698290\t200\t1818\n1795356626700180\t429\t415\n1795356626700190\t-1\t7\n"
    assert parse_log(text) == [
        Logged(1795356626698290, 200, 1818),
        Logged(1795356626700180, 429, 415),
        Logged(1795356626700190, -1, 7),
    ]


def test_the_rate_leaves_beginning_and_end_out() -> None:
    even = [Logged(at * 1000, 200, 100) for at in range(100)]
    late = [Logged(100_000 + at * 1_000_000, 200, 100) for at in range(5)]
    assert rate_of(even) == pytest.approx(1000)
    assert rate_of([*even, *late]) == pytest.approx(1000)


@pytest.mark.parametrize("logged", [[], [Logged(1, 200, 1)], [Logged(1, 200, 1)] * 5])
def test_no_rate_is_told_of_too_few(logged: list[Logged]) -> None:
    assert rate_of(logged) == 0


@pytest.mark.parametrize(
    ("data_bytes", "empty"),
    [(6400, 0), (6390, 0), (6300, 1), (0, 64), (7000, 0)],
    ids=["all", "a little shorter", "one empty", "all empty", "longer"],
)
def test_calls_that_only_look_answered_are_found_by_their_bytes(data_bytes: int, empty: int) -> None:
    assert empty_answers(_TOLD.format(data_bytes), 64, 100) == empty


def test_quantiles_are_values_that_were_there() -> None:
    assert times_of([float(each) for each in range(1, 101)]) == Times(100, 50, 99)
    assert times_of([7.0]) == Times(1, 7, 7)
    assert times_of([]) is None


def test_both_faces_are_asked_the_same() -> None:
    for measure in unary_measures():
        messages = measure.messages()
        framed = body(_GRPC, messages)
        request = ChatCompletionRequest.FromString(framed[5:])
        assert int.from_bytes(framed[1:5]) == len(framed) - 5
        assert json.loads(body(_REST, messages))["messages"] == [
            {"role": each.role, "content": each.content.string_value} for each in request.messages
        ]


@pytest.mark.parametrize(("name", "size"), [("unary-32", 1000), ("body-100kB", 100_000), ("body-5MB", 5_000_000)])
def test_bodies_are_as_long_as_their_names_say(name: str, size: int) -> None:
    measure = next(each for each in unary_measures() if each.name == name)
    assert len(body(_REST, measure.messages())) == pytest.approx(size, rel=0.05)


def test_a_conversation_ends_with_its_user_and_grows_with_its_messages() -> None:
    short, long = conversation(20), conversation(200)
    assert (len(short), short[-1]["role"], len(long)) == (20, "user", 200)
    assert len(body(_REST, long)) == pytest.approx(10 * len(body(_REST, short)), rel=0.02)


def test_a_stream_is_asked_for_as_each_face_has_it() -> None:
    assert json.loads(body(_REST, order(5, 10), is_stream=True))["stream"] is True
    assert "stream" not in json.loads(body(_REST, question(100)))
    assert path(_GRPC, is_stream=True) == "/parley.v1.ChatService/StreamChatCompletion"
    assert path(_GRPC) == "/parley.v1.ChatService/CreateChatCompletion"
    assert path(_REST, is_stream=True) == _REST.path
