"""Every fault, over every face, in one piece and as a stream, with one target and with two."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.exchange import TEXT
from tests.faults.thread import FaultServer
from tests.reliability.asking import Told
from tests.reliability.matrix import Case, Result, ask_all, cases, stack_for
from tests.reliability.page import is_in_time, rendered, words_of
from tests.reliability.rows import EXPECTED, REASONS, Expected
from tests.support.envoy import ROOT
from tests.support.faces import FACES, Face

PAGE = ROOT / "docs" / "reliability.md"
SECOND = "second/healthy"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Case, Result]]:
    """What came of all calls."""
    asked = cases(EXPECTED)
    with FaultServer() as faults, stack_for(faults, asked, tmp_path_factory.mktemp("matrix")) as stack:
        yield asyncio.run(ask_all(stack, faults, asked))


ROWS = [
    pytest.param(fault, stream, has_second, id=f"{fault}-{'stream' if stream else 'unary'}-{1 + has_second}")
    for fault in EXPECTED
    for stream in (False, True)
    for has_second in (False, True)
]


@pytest.mark.parametrize(("fault", "stream", "has_second"), ROWS)
def test_the_caller_gets_what_the_table_says(
    results: Mapping[Case, Result], fault: str, *, stream: bool, has_second: bool
) -> None:
    expected = EXPECTED[fault][stream].of(has_second=has_second)
    for face in FACES:
        result = results[Case(fault, stream, face, has_second)]
        is_switched = has_second and expected.is_switched
        assert result.told.trouble == ""
        if expected.reason is None or is_switched:
            assert_whole(result.told, face, stream=stream)
        else:
            assert_failed(result.told, expected, face, fault)
        assert is_in_time(result.told.seconds, expected), f"{face}: {result.told.seconds} s"
        assert_requests(result, expected, fault, is_switched=is_switched)
        assert_connections(result, expected)


def assert_whole(told: Told, face: Face, *, stream: bool) -> None:
    assert (told.status, told.reason, told.is_done, told.finish) == (
        "200" if face == "rest" else "OK",
        "",
        True,
        "stop",
    )
    assert told.text in {TEXT, "x" * 10_000}
    if stream and face != "rest":  # by these a gRPC caller can tell that nothing is missing
        assert told.metadata["x-parley-finish"] == "stop"
        assert int(told.metadata["x-parley-tokens-out"]) > 0


def assert_failed(told: Told, expected: Expected, face: Face, fault: str) -> None:
    assert expected.reason is not None
    code, http_status, rest_code = REASONS[expected.reason]
    has_begun = expected.words != 0
    assert not told.is_done
    assert words_of(told) == expected.words
    assert told.finish == ("stop" if fault == "finish-alone" else None)
    assert bool(told.text) is has_begun
    if face == "rest":
        assert (told.status, told.reason) == ("200" if has_begun else http_status, rest_code)
    else:
        assert (told.status, told.reason.upper()) == (code, expected.reason)
    assert "x-parley-finish" not in told.metadata


def assert_requests(result: Result, expected: Expected, fault: str, *, is_switched: bool) -> None:
    told = result.told
    assert told.attempts == expected.requests + is_switched
    assert len(result.seen_by_second) == is_switched
    if expected.connection != "none":
        assert len(result.seen) == expected.requests
        assert told.target == (SECOND if is_switched else f"faults/{fault}")
    else:
        assert told.target == (SECOND if is_switched else f"{fault}/unreachable")


def assert_connections(result: Result, expected: Expected) -> None:
    allowed = {"closed": {"closed"}, "kept": {"kept"}, "free": {"closed", "kept"}, "none": set[str]()}
    assert result.uses <= allowed[expected.connection]
    assert bool(result.uses) is (expected.connection != "none")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_the_wait_that_a_provider_asks_for_reaches_the_caller(
    results: Mapping[Case, Result], face: Face, *, stream: bool
) -> None:
    told = results[Case("rate-limited-for:3600", stream, face, has_second=False)].told

    assert 3500 < int(told.metadata["retry-after"]) <= 3600


def test_every_fault_has_a_row() -> None:
    assert set(FAULTS) - {fault.partition(":")[0] for fault in EXPECTED} == set()


def test_the_page_tells_what_was_seen(results: Mapping[Case, Result]) -> None:
    text = rendered(results)
    if os.environ.get("PARLEY_WRITE_DOCS"):
        PAGE.write_text(text, "utf-8")

    assert PAGE.read_text("utf-8") == text, "write it anew with PARLEY_WRITE_DOCS=1"
