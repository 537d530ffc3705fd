"""What stored answers are called: names that lead back to the completion and the choice, in the order of time."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from service.answers.ids import (
    choice_id,
    completion_name,
    message_name,
    new_id,
    parse_completion,
    random_bytes,
    random_uuid,
)

FORKING = """
import os, sys
from service.answers.ids import random_bytes
random_bytes()
is_child = os.fork() == 0
sys.stdout.write("".join(random_bytes().hex() + "\\n" for _ in range(50)))
sys.stdout.flush()
if not is_child:
    os.wait()
"""
FIXED = UUID("0192f0c1-2a3b-7c4d-8e5f-60718293a400")


def test_an_id_is_a_uuid_of_version_7_whose_last_byte_is_free() -> None:
    made = new_id()

    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int & 0xFF == 0


def test_an_id_tells_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000

    assert before <= made.int >> 80 <= after


def test_the_time_counts_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter(range(1_700_000_000_123_000_000, 1_700_000_000_125_000_000, 250))
    monkeypatch.setattr(time, "time_ns", lambda: next(steps))

    made = [new_id() for _ in range(8000)]

    assert all(one < other for one, other in pairwise(made))
    assert {each.version for each in made} == {7}


def test_ids_of_the_same_moment_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_456_789)

    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_the_names_of_one_completion() -> None:
    assert completion_name(FIXED) == "chatcmpl-0192f0c12a3b7c4d8e5f60718293a400"
    assert str(choice_id(FIXED, 0)) == "0192f0c1-2a3b-7c4d-8e5f-60718293a401"
    assert str(choice_id(FIXED, 127)) == "0192f0c1-2a3b-7c4d-8e5f-60718293a480"
    assert message_name(FIXED, 1) == "msg_0192f0c12a3b7c4d8e5f60718293a402"


@pytest.mark.parametrize("index", [0, 1, 127])
def test_every_name_leads_back(index: int) -> None:
    made = new_id()

    assert parse_completion(completion_name(made)) == (made, None)
    assert parse_completion(str(choice_id(made, index))) == (made, index)
    assert parse_completion(str(choice_id(made, index)).upper()) == (made, index)
    assert parse_completion(message_name(made, index)) == (made, index)


@pytest.mark.parametrize("index", [-1, 128])
def test_there_are_no_names_for_more_choices_than_the_contract_allows(index: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 127"):
        choice_id(FIXED, index)


NO_NAMES = {
    "empty": "",
    "a provider's completion": "chatcmpl-AbC123",
    "too short": "chatcmpl-0192f0c12a3b7c4d8e5f60718293a4",
    "text behind it": "chatcmpl-0192f0c12a3b7c4d8e5f60718293a400\n",
    "a choice under the name of a completion": "chatcmpl-0192f0c12a3b7c4d8e5f60718293a401",
    "another version": "chatcmpl-0192f0c12a3b4c4d8e5f60718293a400",
    "a completion under the name of a message": "msg_0192f0c12a3b7c4d8e5f60718293a400",
    "more choices than there can be": "0192f0c1-2a3b-7c4d-8e5f-60718293a481",
    "a completion's UUID, which names no choice": str(FIXED),
    "a UUID of version 4": "3f2b1c66-1111-4f2b-9a52-8f4a4c4e8a01",
    "without hyphens": "0192f0c12a3b7c4d8e5f60718293a401",
    "in braces": "{0192f0c1-2a3b-7c4d-8e5f-60718293a401}",
    "digits of another script": "chatcmpl-" + "٣" * 32,
}


@pytest.mark.parametrize("case", NO_NAMES)
def test_anything_else_is_no_name(case: str) -> None:
    assert parse_completion(NO_NAMES[case]) is None


def test_a_random_uuid_is_one_of_version_4() -> None:
    made = {random_uuid() for _ in range(1000)}
    assert len(made) == 1000
    for text in made:
        parsed = UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, RFC_4122)


def test_random_bytes_never_repeat() -> None:
    made = [random_bytes() for _ in range(5_000)]

    assert {len(each) for each in made} == {16}
    assert len(set(made)) == len(made)
    ones = sum(int.from_bytes(each).bit_count() for each in made)
    assert 0.49 < ones / (128 * len(made)) < 0.51  # 0.5, and more than ten times what chance makes of it


def test_a_forked_process_draws_its_own() -> None:
    told = subprocess.run([sys.executable, "-c", FORKING], check=True, capture_output=True, text=True).stdout.split()

    assert len(told) == 100
    assert len(set(told)) == 100
