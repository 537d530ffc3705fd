"""A slow reader: it holds up its own stream, gets all of its answer in fewer chunks, and bothers nobody else."""

from __future__ import annotations

import asyncio
import time

import grpc

from service.limits import Breaker, Concurrency, Limits
from tests.support.asking import SOON_S, Played, read_to_end, stub_of, until
from tests.support.chunks import ending, opening, saying, usage_of
from tests.support.faces import grpc_failure
from tests.support.in_process import in_process
from tests.support.json_form import to_proto
from tests.support.sessions import chunks_without_session

REQUEST = to_proto({"model": "m", "messages": [{"role": "user", "content": "x"}]})
OTHER = to_proto({"model": "other", "messages": [{"role": "user", "content": "x"}]})
WINDOW = 64 * 1024
ONE_WINDOW = {"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": WINDOW}
"""A client whose window does not grow with the speed of the link."""


async def _settled(provider: Played) -> int:
    """How many chunks were taken from the provider once no more are."""
    seen = -1
    while provider.sent != seen:
        seen = provider.sent
        await asyncio.sleep(0.3)
    return seen


async def test_a_reader_that_keeps_up_gets_every_chunk_as_it_was_sent() -> None:
    chunks = [opening(), *[saying(f"{number} ") for number in range(500)], ending(), usage_of()]
    provider = Played([step for chunk in chunks for step in (chunk, None)])
    provider.go.set()
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST))

    assert ended.text == "".join(f"{number} " for number in range(500))
    # A stall of the machine may look like a slow reader, once or twice.
    assert len(ended.chunks) > len(chunks) / 2


async def test_what_piled_up_behind_a_slow_reader_comes_in_few_chunks_and_whole() -> None:
    words = [f"{number} " for number in range(20_000)]
    provider = Played([opening(), *map(saying, words), ending(), usage_of()])
    async with in_process({"m": provider}) as service, stub_of(service.address, **ONE_WINDOW) as stub:
        call = stub.StreamChatCompletion(REQUEST)
        first = await call.read()
        taken = await _settled(provider)
        assert taken < len(words), "the provider waits"
        ended = await read_to_end(call)

    assert ended.error is None
    assert chunks_without_session([first]) == [opening()]
    assert ended.text == "".join(words)
    assert ended.chunks[-2:] == [ending(), usage_of()]
    assert len(ended.chunks) < taken, "merged"
    assert max(chunk.ByteSize() for chunk in ended.chunks) > 10 * saying(words[-1]).ByteSize()
    assert ended.trailing["x-parley-finish"] == "stop"


async def test_a_slow_reader_holds_up_nobody_else() -> None:
    slow = Played([opening(), *[saying("x" * 10_000)] * 10_000, ending()])
    quick = Played([opening(), *[saying("y")] * 100, ending(), usage_of()])
    async with in_process({"m": slow, "other": quick}) as service, stub_of(service.address, **ONE_WINDOW) as stub:
        call = stub.StreamChatCompletion(REQUEST)
        await call.read()
        await _settled(slow)
        async with grpc.aio.insecure_channel(service.address), stub_of(service.address) as another:
            began = time.monotonic()
            ended = await read_to_end(another.StreamChatCompletion(OTHER))
        assert ended.text == "y" * 100
        assert time.monotonic() - began < SOON_S
        assert not slow.closed.is_set()
        call.cancel()
        await asyncio.wait_for(slow.closed.wait(), SOON_S)
        await until(lambda: len(service.calls()) == 2)


async def test_a_reader_that_reads_nothing_keeps_its_slot_no_longer_than_an_attempt_may_take() -> None:
    slow = Played([opening(), *[saying("x" * 10_000)] * 10_000, ending()])
    limits = Limits(total_timeout_s=1, concurrency=Concurrency(limit=1, queue=0), breaker=Breaker(failures=1))
    async with in_process({"m": slow}, limits=limits) as service, stub_of(service.address, **ONE_WINDOW) as stub:
        call = stub.StreamChatCompletion(REQUEST)
        await call.read()
        await asyncio.wait_for(slow.closed.wait(), SOON_S)
        (target,) = service.served.models["m"].targets
        await until(lambda: target.slots.in_use == 0)
        ended = await read_to_end(call)

    assert slow.was_cut
    assert grpc_failure(ended.error).code == "upstream_timeout"
    assert target.breaker.state == "closed", "it is not the provider's fault"
