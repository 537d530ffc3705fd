"""API keys of callers."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from service.errors import Reason, RequestError
from service.rpc.auth import CallerKey, Keys

SECRET = "sk-team-a-1"
OTHER = "sk-team-b-2"
MISSING = "No API key was given: send `authorization: Bearer KEY` or `x-api-key: KEY`."
UNKNOWN = "The API key is not known here."


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = Keys([("team-a", digest(SECRET)), ("team-b", digest(OTHER).upper()), ("greek", digest("κλειδί"))])


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        pytest.param([("authorization", f"Bearer {SECRET}")], "team-a", id="bearer"),
        pytest.param([("authorization", f"bearer {SECRET}")], "team-a", id="lower case"),
        pytest.param([("authorization", f"BEARER {SECRET}")], "team-a", id="upper case"),
        pytest.param([("authorization", f"Bearer   {SECRET}  ")], "team-a", id="spaces"),
        pytest.param([("x-api-key", SECRET)], "team-a", id="x-api-key"),
        pytest.param([("x-api-key", f" {SECRET} ")], "team-a", id="x-api-key with spaces"),
        pytest.param([("authorization", f"Bearer {OTHER}")], "team-b", id="a digest in upper case"),
        pytest.param([("x-api-key", "κλειδί")], "greek", id="not ASCII"),
        pytest.param([("x-request-id", "1"), ("x-api-key", OTHER), ("user-agent", "x")], "team-b", id="among others"),
        pytest.param([("authorization", f"Bearer {SECRET}"), ("x-api-key", OTHER)], "team-a", id="both"),
        pytest.param([("x-api-key", OTHER), ("authorization", f"Bearer {SECRET}")], "team-b", id="both, turned"),
        pytest.param([("authorization", "Bearer "), ("x-api-key", OTHER)], "team-b", id="an empty bearer"),
        pytest.param([("authorization", "Bearer dummy"), ("x-api-key", OTHER)], "team-b", id="a dummy bearer"),
        pytest.param([("x-api-key", " "), ("authorization", f"Bearer {SECRET}")], "team-a", id="an empty x-api-key"),
        pytest.param([("authorization", "Basic dTpw"), ("x-api-key", OTHER)], "team-b", id="another scheme"),
        pytest.param([("x-api-key", b"bytes"), ("x-api-key", OTHER)], "team-b", id="binary beside text"),
    ],
)
def test_a_known_key_is_told_by_its_name(metadata: list[tuple[str, str | bytes]], name: str) -> None:
    key = KEYS.authenticate(metadata)

    assert key is not None
    assert key.name == name


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        pytest.param([], MISSING, id="nothing"),
        pytest.param([("user-agent", "x")], MISSING, id="other metadata"),
        pytest.param([("authorization", "")], MISSING, id="empty"),
        pytest.param([("authorization", "Bearer")], MISSING, id="only the scheme"),
        pytest.param([("authorization", "Bearer ")], MISSING, id="an empty bearer"),
        pytest.param([("authorization", "Bearer \t ")], MISSING, id="a blank bearer"),
        pytest.param([("authorization", SECRET)], MISSING, id="no scheme"),
        pytest.param([("authorization", f"Basic {SECRET}")], MISSING, id="another scheme"),
        pytest.param([("authorization", f"Bearer{SECRET}")], MISSING, id="no space"),
        pytest.param([("x-api-key", "")], MISSING, id="an empty x-api-key"),
        pytest.param([("x-api-key", SECRET.encode())], MISSING, id="binary"),
        pytest.param([("x-api-key-bin", SECRET.encode())], MISSING, id="binary by name"),
        pytest.param([("api-key", SECRET)], MISSING, id="another name"),
        pytest.param([("x-api-key", "sk-wrong")], UNKNOWN, id="unknown"),
        pytest.param([("x-api-key", SECRET.upper())], UNKNOWN, id="another case"),
        pytest.param([("x-api-key", SECRET[:-1])], UNKNOWN, id="cut"),
        pytest.param([("x-api-key", digest(SECRET))], UNKNOWN, id="its digest"),
        pytest.param([("authorization", f"Bearer Bearer {SECRET}")], UNKNOWN, id="the scheme twice"),
        pytest.param([("x-api-key", "ключ")], UNKNOWN, id="not ASCII"),
        pytest.param([("x-api-key", "x" * 1_000_000)], UNKNOWN, id="very long"),
    ],
)
def test_a_missing_or_unknown_key_is_refused(metadata: list[tuple[str, str | bytes]], message: str) -> None:
    with pytest.raises(RequestError) as raised:
        KEYS.authenticate(metadata)

    assert (raised.value.reason, raised.value.message) == (Reason.API_KEY_INVALID, message)
    assert (raised.value.param, raised.value.metadata) == (None, {})


@pytest.mark.parametrize("metadata", [[], [("authorization", f"Bearer {SECRET}")], [("x-api-key", "anything")]])
def test_without_configured_keys_everyone_may_call(metadata: list[tuple[str, str | bytes]]) -> None:
    assert Keys([]).authenticate(metadata) is None


def test_every_key_is_compared_whichever_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that stopped at the first match would tell by its time how many keys come before."""
    compared: list[Any] = []

    def compare(given: str, known: str) -> bool:
        compared.append(known)
        return given == known

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = Keys([("a", digest("1")), ("b", digest("2")), ("c", digest("3"))])

    assert keys.authenticate([("x-api-key", "1")]) == CallerKey("a")
    assert compared == [digest("1"), digest("2"), digest("3")]


def test_a_key_tells_what_it_says_of_callers_who_leave() -> None:
    keys = Keys([("a", digest("1")), (CallerKey("b", "drain"), digest("2"))])

    assert keys.authenticate([("x-api-key", "1")]) == CallerKey("a", None)
    assert keys.authenticate([("x-api-key", "2")]) == CallerKey("b", "drain")


@pytest.mark.parametrize(
    ("key", "tenant", "projects"),
    [
        ("a", "a", None),
        (CallerKey("a"), "a", None),
        (CallerKey("a", tenant="shared"), "shared", None),
        (CallerKey("a", projects=frozenset({"support"})), "a", frozenset({"support"})),
        (CallerKey("a", projects=frozenset()), "a", frozenset()),
    ],
)
def test_a_key_tells_its_tenant_and_its_projects(
    key: CallerKey | str, tenant: str, projects: frozenset[str] | None
) -> None:
    found = Keys([(key, digest("1"))]).authenticate([("x-api-key", "1")])

    assert found is not None
    assert (found.tenant, found.projects) == (tenant, projects)


def test_keys_can_be_replaced() -> None:
    keys = Keys([(CallerKey("a", "drain"), digest("1"))])
    keys.replace([("a", digest("2"))])

    assert keys.authenticate([("x-api-key", "2")]) == CallerKey("a", None)
    with pytest.raises(RequestError):
        keys.authenticate([("x-api-key", "1")])


def test_no_key_is_kept_and_none_is_shown() -> None:
    with pytest.raises(RequestError) as raised:
        KEYS.authenticate([("x-api-key", "sk-c4n4ry")])

    assert "c4n4ry" not in f"{raised.value!s}{raised.value!r}{raised.value.metadata}"
    assert SECRET not in repr(vars(KEYS))
