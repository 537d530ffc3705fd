"""The buffer between provider and caller: nothing is changed for the quick, and little is kept for the slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletionChunk
from service.errors import Interrupted
from service.rpc import relay as module
from service.rpc.relay import MAX_PENDING_BYTES, MAX_PENDING_CHUNKS, Relay

SOON_S = 10.0


def piece(text: str) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="x", model="m")
    chunk.choices.add(index=0).delta.content = text
    return chunk


def texts_of(relay: Relay) -> list[str]:
    """Everything that is pending."""
    texts = []
    while (chunk := relay.take()) is not None:
        texts.append(chunk.choices[0].delta.content)
    return texts


@asynccontextmanager
async def endless(relay: Relay, text: str, put: list[int]) -> AsyncIterator[None]:
    """A provider that pauses only where it has to."""

    async def pump() -> None:
        while True:
            put[0] += 1
            if not relay.put(piece(text)):
                await relay.room()
                await asyncio.sleep(0)

    task = asyncio.create_task(pump())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _until(put: list[int], number: int) -> None:
    while put[0] < number:  # noqa: ASYNC110 - a number is no event
        await asyncio.sleep(0)


async def test_a_reader_that_keeps_up_gets_chunk_for_chunk() -> None:
    relay, read = Relay(), []

    async def write() -> None:
        while (chunk := relay.take()) is not None or not relay.is_over:
            if chunk is None:
                await relay.wait()
            else:
                read.append(chunk.choices[0].delta.content)

    writing = asyncio.create_task(write())
    for number in range(1000):
        if not relay.put(piece(str(number))):
            await relay.room()
        if number % 7 == 0:
            await asyncio.sleep(0)
    relay.end(None)
    async with asyncio.timeout(SOON_S):
        await writing

    assert read == [str(number) for number in range(1000)]


async def test_a_burst_is_bounded_even_where_the_writer_was_waiting() -> None:
    relay = Relay()
    waiting = asyncio.create_task(relay.wait())
    await asyncio.sleep(0)

    taken = 1
    while relay.put(piece("x")):
        taken += 1
    await waiting

    assert taken == MAX_PENDING_CHUNKS


async def test_what_piles_up_behind_a_slow_write_is_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLOW_S", 0.0)
    relay = Relay()
    relay.put(piece("a"))
    assert relay.take() is not None
    for text in "bcd":
        relay.put(piece(text))

    assert texts_of(relay) == ["bcd"]


@pytest.mark.parametrize("length", [1, 1000, 100_000])
async def test_behind_a_reader_that_reads_nothing_the_provider_is_read_no_more(length: int) -> None:
    relay, put = Relay(), [0]
    async with asyncio.timeout(SOON_S), endless(relay, "x" * length, put):
        seen = -1
        while put[0] != seen or not put[0]:
            seen = put[0]
            await asyncio.sleep(0.3)  # several times as long as it takes to call a reader slow

        pending = texts_of(relay)
        assert "".join(pending) == "x" * length * put[0]
        assert sum(map(len, pending)) < MAX_PENDING_BYTES + length
        assert len(pending) == 1


async def test_while_the_writer_is_held_no_more_is_read_and_the_next_take_gives_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SLOW_S", 0.0)
    relay, put = Relay(), [0]
    relay.hold()
    async with asyncio.timeout(SOON_S), endless(relay, "word ", put):
        await asyncio.sleep(0.3)
        assert put[0] == MAX_PENDING_CHUNKS

        chunk = relay.take()
        assert chunk is not None
        assert chunk.choices[0].delta.content == "word " * MAX_PENDING_CHUNKS
        assert relay.is_empty
        await _until(put, MAX_PENDING_CHUNKS + 1)


async def test_where_there_is_room_again_the_provider_is_read_on() -> None:
    relay, put = Relay(), [0]
    async with asyncio.timeout(SOON_S), endless(relay, "x" * MAX_PENDING_BYTES, put):
        await _until(put, 1)
        for number in range(2, 10):
            assert relay.take() is not None
            await _until(put, number)


async def test_what_came_before_an_error_is_taken_before_it() -> None:
    relay = Relay()
    relay.put(piece("a"))
    relay.end(Interrupted("broke off"))

    assert texts_of(relay) == ["a"]
    assert relay.is_over
    with pytest.raises(Interrupted):
        relay.raise_error()


async def test_a_closed_relay_keeps_nothing_and_holds_nobody_up() -> None:
    relay, put = Relay(), [0]
    async with asyncio.timeout(SOON_S), endless(relay, "x" * MAX_PENDING_BYTES, put):
        await _until(put, 1)
        relay.close()
        await _until(put, 2)


async def test_a_provider_that_never_pauses_lets_the_writer_take_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the loop is: here every wait is too long."""
    monkeypatch.setattr(module, "_SLOW_S", 0.0)
    relay, put = Relay(), 0
    taken_at: list[int] = []

    async def read() -> None:
        nonlocal put
        while len(taken_at) < 20:
            put += 1
            if not relay.put(piece("word")):
                await relay.room()

    async def write() -> None:
        while len(taken_at) < 20:
            await relay.wait()
            assert relay.take() is not None
            taken_at.append(put)
            await asyncio.sleep(0)
        relay.close()

    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        group.create_task(read())
        group.create_task(write())

    assert all(after - before <= 2 * MAX_PENDING_CHUNKS for before, after in pairwise(taken_at))
