"""A gRPC server whose event loop is late: `python -m tests.support.late_loop CALLS` prints how many turns it then takes to
read a message of each of so many calls.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import grpc
import uvloop

from service.grpc_wakeups import grpc_that_never_waits

METHOD = "/late.Loop/Read"
_LATE_S = 1.0


async def turns_of(calls: int) -> int:
    """How many turns of the loop it takes."""
    with grpc_that_never_waits():
        return await _turns_of(calls)


async def _turns_of(calls: int) -> int:
    begun = read = 0
    go_on = threading.Event()

    async def read_two(_requests: object, context: Any) -> bytes:
        nonlocal begun, read
        await context.read()
        begun += 1
        await context.read()
        read += 1
        return b""

    def requests() -> Any:
        yield b"first"
        go_on.wait()
        yield b"second"

    server = grpc.aio.server()
    handler: Any = grpc.stream_unary_rpc_method_handler(read_two)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("late.Loop", {"Read": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.stream_unary(METHOD)
        futures = await asyncio.to_thread(lambda: [method.future(requests()) for _ in range(calls)])
        while begun < calls:  # noqa: ASYNC110 - a number is no event  # noqa: ASYNC110 - a number is no event
            await asyncio.sleep(0.01)
        go_on.set()
        time.sleep(_LATE_S)  # noqa: ASYNC251 - what is tested
        turns = 0
        while read < calls:
            turns += 1
            await asyncio.sleep(0)
        await asyncio.to_thread(lambda: [future.result() for future in futures])
    await server.stop(None)
    return turns


if __name__ == "__main__":
    sys.stdout.write(f"{uvloop.run(turns_of(int(sys.argv[1])))}\n")
