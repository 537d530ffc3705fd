"""A scratch service in a process of its own, to be killed: `python -m tests.gateway.doomed unix:/path`."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from tests.gateway.answers import text_chunk
from tests.gateway.scratch import Context, running_service


async def endless(request: Any, context: Context) -> None:
    await context.write(text_chunk("a"))
    await asyncio.Event().wait()


if __name__ == "__main__":
    with running_service(sys.argv[1]) as service:
        service.script.stream = endless
        signal.pause()
