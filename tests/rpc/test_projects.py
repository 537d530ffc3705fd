"""Projects over both faces: who answers for their names, who sees them, and what campaigns change."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from service._gen.parley.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from tests.conftest import KEY, stack_config
from tests.support.faces import FACES, Face, Failure, ask, grpc_failure
from tests.support.stack import Stack, running
from tests.support.upstream import FakeUpstream

BOUND, EMPTY = "key-bound-to-support", "key-bound-to-nothing"
CAMPAIGN_ID = "0b8f6f0e-6a53-4c39-8d1c-3f1c9f5a7c21"
MODELS = ["echo", "org/echo", "impatient", "dead", "plain", "lenient", "two", "fallback", "retried", "support/echo"]
"""As `stack_config` has them, and one that has the name of a project's model."""


def key(name: str, secret: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(secret.encode()).hexdigest(), **fields}


@pytest.fixture(scope="module")
def stack(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service and Envoy, with projects, and keys that are bound to them."""
    config = stack_config(upstream)
    config["auth"]["keys"] += [key("bound", BOUND, projects=["support"]), key("empty", EMPTY, projects=[])]
    config["models"]["support/echo"] = config["models"]["plain"]
    arms = {"as-ever": {"model": "echo", "weight": 3}, "other": {"model": "other", "weight": 1}}
    config["projects"] = {
        "support": {
            "default_model": "other",
            "models": {"echo": "echo", "other": "org/echo", "plain": "plain"},
            "campaigns": {
                "trial": {"id": CAMPAIGN_ID, "arms": arms},
                "over": {"end": "2026-01-01T00:00:00Z", "arms": arms},
                "only": {"arms": {"plain": {"model": "plain"}}},
            },
        },
        "sales": {"default_model": "a", "models": {"a": "echo"}},
        "echo": {"default_model": "a", "models": {"a": "plain"}},
    }
    with running(config, tmp_path_factory.mktemp("projects")) as started:
        yield started


def body(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


def target(stack: Stack, face: Face, model: str, secret: str = KEY, **fields: Any) -> str:
    """Whom the answer is from."""
    outcome = ask(stack, face, body(model, **fields), key=secret)
    assert outcome.failure is None
    return outcome.metadata["x-parley-target"]


def refusal(stack: Stack, face: Face, model: str, secret: str = KEY, **fields: Any) -> Failure:
    failure = ask(stack, face, body(model, **fields), key=secret).failure
    assert failure is not None
    return failure


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("model", "secret", "answers"),
    [
        ("org/echo", KEY, "scripted/echo-2"),
        ("support", KEY, "scripted/echo-2"),
        ("support/other", KEY, "scripted/echo-2"),
        ("support/plain", KEY, "scripted/plain-1"),
        ("sales/a", KEY, "scripted/echo-1"),
        # A model of the same id is meant, but to a key for which there is none.
        ("echo", KEY, "scripted/echo-1"),
        ("echo/a", KEY, "scripted/plain-1"),
        ("support/echo", KEY, "scripted/plain-1"),
        ("support/echo", BOUND, "scripted/echo-1"),
        ("support", BOUND, "scripted/echo-2"),
    ],
)
def test_a_project_answers_by_its_models(
    stack: Stack, face: Face, model: str, secret: str, answers: str, *, stream: bool
) -> None:
    assert target(stack, face, model, secret, stream=stream) == answers


@pytest.mark.parametrize("face", FACES)
def test_the_access_log_tells_model_and_project(stack: Stack, face: Face) -> None:
    outcome = ask(stack, face, body("support/plain", ab_campaign="only"))

    (line,) = stack.calls(outcome.metadata["x-request-id"])
    assert {name: line[name] for name in ("model", "project", "campaign", "arm")} == {
        "model": "plain",
        "project": "support",
        "campaign": "only",
        "arm": "plain",
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("hidden", ["echo", "org/echo", "sales", "sales/a", "echo/a"])
def test_what_a_key_may_not_ask_does_not_exist_for_it(stack: Stack, face: Face, hidden: str, *, stream: bool) -> None:
    nothing = refusal(stack, face, "nothing", BOUND, stream=stream)
    failure = refusal(stack, face, hidden, BOUND, stream=stream)

    assert (nothing.http_status, nothing.code, nothing.param) == (404, "model_not_found", "model")
    assert failure.identity() == (*nothing.identity()[:-1], nothing.message.replace("nothing", hidden))
    assert refusal(stack, face, hidden, EMPTY).identity() == failure.identity()


@pytest.mark.parametrize(
    "model", ["support/", "support/none", "support/smollm2", "Support", "none/echo", "support/echo/x"]
)
def test_a_project_has_no_other_models(stack: Stack, model: str) -> None:
    assert {refusal(stack, face, model).code for face in FACES} == {"model_not_found"}


ALL = [*sorted(MODELS), "echo/a", "sales", "sales/a", "support", "support/other", "support/plain"]
"""In the order of the file, which is written sorted."""


@pytest.mark.parametrize(
    ("secret", "names"),
    [(KEY, ALL), (BOUND, ["support", "support/echo", "support/other", "support/plain"]), (EMPTY, [])],
    ids=["all", "bound", "nothing"],
)
def test_a_key_is_listed_what_it_may_ask(stack: Stack, secret: str, names: list[str]) -> None:
    with stack.models() as models:
        answer = models.ListModels(ListModelsRequest(), metadata=(("x-api-key", secret),), timeout=20)
    assert [model.id for model in answer.data] == names
    assert not answer.HasField("empty_data")

    rest = httpx.get(f"{stack.url}/v1/models", headers={"x-api-key": secret}, timeout=20)
    assert rest.status_code == 200
    assert set(rest.json()) == {"object", "data"}
    assert [model["id"] for model in rest.json()["data"]] == names

    assert {refusal(stack, "grpc", name, secret).code for name in ALL if name not in names} <= {"model_not_found"}


@pytest.mark.parametrize(
    ("name", "model", "secret"),
    [("support", "org/echo", KEY), ("support/plain", "plain", KEY), ("support/echo", "support/echo", KEY), ("support/echo", "echo", BOUND)],
)  # fmt: skip
def test_a_projects_model_is_told_as_the_model_that_it_means(stack: Stack, name: str, model: str, secret: str) -> None:
    with stack.models() as models:
        told = models.GetModel(GetModelRequest(model=name), metadata=(("x-api-key", secret),), timeout=20)
        meant = models.GetModel(GetModelRequest(model=model), metadata=(("x-api-key", KEY),), timeout=20)
    meant.id = name
    assert told == meant
    assert (told.owned_by, len(told.targets)) == ("scripted", 1)

    for path in (name, name.replace("/", "%2F")):
        rest = httpx.get(f"{stack.url}/v1/models/{path}", headers={"x-api-key": secret}, timeout=20)
        assert (rest.status_code, rest.json()["id"]) == (200, name)


@pytest.mark.parametrize("name", ["echo", "sales", "sales/a", "none"])
def test_a_model_of_others_is_not_told(stack: Stack, name: str) -> None:
    with stack.models() as models, pytest.raises(grpc.RpcError) as raised:
        models.GetModel(GetModelRequest(model=name), metadata=(("x-api-key", BOUND),), timeout=20)
    assert grpc_failure(raised.value).code == "model_not_found"

    rest = httpx.get(f"{stack.url}/v1/models/{name}", headers={"x-api-key": BOUND}, timeout=20)
    assert (rest.status_code, rest.json()["error"]["code"]) == (404, "model_not_found")


ARMS = {"as-ever": "scripted/echo-1", "other": "scripted/echo-2"}


def arm_of(stack: Stack, face: Face, named: str = "trial", **fields: Any) -> str:
    outcome = ask(stack, face, body("support", ab_campaign=named, **fields))
    assert outcome.failure is None
    arm = outcome.metadata["x-parley-arm"]
    assert outcome.metadata["x-parley-target"] == ARMS[arm]
    return arm


def test_a_user_is_on_one_arm_on_every_face_and_by_either_name(stack: Stack) -> None:
    arms = {}
    for number in range(12):
        user = f"user-{number}"
        found = {arm_of(stack, face, user=user) for face in FACES}
        found |= {arm_of(stack, "rest", named, user=user, stream=True) for named in ("trial", CAMPAIGN_ID.upper())}
        (arms[user],) = found

    assert set(arms.values()) == set(ARMS)


def test_the_session_decides_where_there_is_no_user(stack: Stack) -> None:
    sessions = [f"0b8f6f0e-6a53-4c39-8d1c-{number:012d}" for number in range(12)]
    arms = [{arm_of(stack, face, session_id=session) for face in FACES} for session in sessions]

    assert {len(each) for each in arms} == {1}
    assert set.union(*arms) == set(ARMS)
    assert len({arm_of(stack, "grpc", session_id=session, user="user-1") for session in sessions}) == 1


def test_without_either_each_answer_is_assigned_by_itself(stack: Stack) -> None:
    counts = Counter(arm_of(stack, "grpc") for _ in range(60))

    assert set(counts) == set(ARMS)  # one of the arms alone: by chance once in thirty million runs


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("named", ["over", ""])
def test_without_a_running_campaign_the_request_is_answered_as_ever(stack: Stack, face: Face, named: str) -> None:
    outcome = ask(stack, face, body("support/plain", ab_campaign=named, user="user-1"))

    assert outcome.metadata["x-parley-target"] == "scripted/plain-1"
    assert "x-parley-arm" not in outcome.metadata


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("model", ["support", "sales/a", "echo"])
def test_a_campaign_that_the_project_does_not_have_is_refused(
    stack: Stack, face: Face, model: str, *, stream: bool
) -> None:
    named = "Trial" if model == "support" else "trial"
    failure = refusal(stack, face, model, ab_campaign=named, stream=stream)

    assert (failure.http_status, failure.code, failure.param) == (404, "campaign_not_found", "ab_campaign")
