"""A real MCP server, written with the SDK: `mcp_server.py stdio`, or `mcp_server.py http` on a port that it prints.

What happens in it is written to the file that `--journal` names, a line each.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

ARGUMENTS = argparse.ArgumentParser()
ARGUMENTS.add_argument("transport", choices=["stdio", "http"])
ARGUMENTS.add_argument("--journal", type=Path, required=True)
ARGUMENTS.add_argument("--port", type=int, default=0)
ARGUMENTS.add_argument("--key", help="what `authorization: Bearer` has to be")
ARGUMENTS.add_argument("--json", action="store_true", help="answer in JSON, not in events")
ARGUMENTS.add_argument(
    "--discover", choices=["answer", "refuse", "ignore", "die"], default="answer", help="how the newer era is met"
)
OPTIONS = ARGUMENTS.parse_args()
MEETING: list[asyncio.Future[None]] = []
server = MCPServer("tests", log_level="CRITICAL")


def note(line: str) -> None:
    with OPTIONS.journal.open("a") as journal:
        journal.write(f"{line}\n")


async def before(ctx: Any, call_next: Any) -> Any:
    """Middleware that meets the question of the newer era as older servers do."""
    if ctx.method == "server/discover":
        match OPTIONS.discover:
            case "refuse":
                raise MCPError(METHOD_NOT_FOUND, "Method not found")
            case "ignore":
                await asyncio.sleep(3600)
            case "die":
                os._exit(4)
    if ctx.method == "tools/list":
        note("list")
    return await call_next(ctx)


server.middleware.append(before)


@server.tool(structured_output=False)
async def echo(text: str) -> str:
    """Says what it is told."""
    return text


@server.tool(structured_output=False)
async def environment(name: str) -> str:
    """Tells a variable."""
    return os.environ.get(name, "(not set)")


@server.tool(structured_output=False)
async def pid() -> str:
    """Tells the server's process id."""
    return str(os.getpid())


@server.tool(structured_output=False)
async def meet(count: int) -> str:
    """Returns as soon as so many calls of it are there at once."""
    mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    MEETING.append(mine)
    if len(MEETING) == count:
        for each in MEETING:
            each.set_result(None)
        MEETING.clear()
    await mine
    return "met"


@server.tool(structured_output=False)
async def hang() -> str:
    """Never returns."""
    note("hang begun")
    try:
        await asyncio.sleep(3600)
    except BaseException:
        note("hang cancelled")
        raise
    return ""


@server.tool(structured_output=False)
async def large(size: int) -> str:
    """Returns so many bytes."""
    return "x" * size


@server.tool(structured_output=False)
async def die() -> str:
    """Ends the process."""
    os._exit(3)


@server.tool(structured_output=False)
async def fail() -> str:
    """Fails."""
    raise ValueError("no such order")


@server.tool()
async def blocks() -> CallToolResult:
    """Returns all kinds of content."""
    data = base64.b64encode(b"12345").decode()
    return CallToolResult(
        content=[
            TextContent(text="first"),
            ImageContent(data=data, mime_type="image/png"),
            AudioContent(data=data, mime_type="audio/wav"),
            ResourceLink(name="plan", uri="file:///plan.txt"),
            EmbeddedResource(resource=TextResourceContents(uri="file:///note.txt", text="a note")),
            EmbeddedResource(resource=BlobResourceContents(uri="file:///b.bin", mime_type="a/b", blob=data)),
        ]
    )


@server.tool()
async def structured() -> CallToolResult:
    """Returns structured content alone."""
    return CallToolResult(content=[], structured_content={"b": 1, "a": ["ü"]})


@server.tool()
async def nothing() -> CallToolResult:
    """Returns nothing."""
    return CallToolResult(content=[])


@server.tool(structured_output=False)
async def grow(ctx: Context[Any]) -> str:
    """Gets another tool."""
    server.add_tool(echo, name="grown", structured_output=False)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool(structured_output=False)
async def start_another() -> str:
    """Starts a process that does not end by itself, and tells its id."""
    return str((await asyncio.create_subprocess_exec("sleep", "3600", stdin=subprocess.DEVNULL)).pid)


@server.tool(name="dotted.name", structured_output=False)
async def dotted() -> str:
    """Has a name that OpenAI's API does not take."""
    return ""


class Guarded:
    """Asks for the key."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if (
            scope["type"] == "http"
            and OPTIONS.key
            and headers.get(b"authorization") != f"Bearer {OPTIONS.key}".encode()
        ):
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"CANARY wrong key"})
            return
        await self._app(scope, receive, send)


def serve_http() -> None:
    listener = socket.create_server(("127.0.0.1", OPTIONS.port), reuse_port=False)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    app = Guarded(server.streamable_http_app(json_response=OPTIONS.json))
    uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[listener])


async def serve_older_stdio() -> None:
    """As servers do that know nothing of the newer era."""
    inner = server._lowlevel_server
    options = inner.create_initialization_options(NotificationOptions(tools_changed=True))
    async with stdio_server() as (read, write), inner.lifespan(inner) as state:
        await serve_loop(inner, read, write, lifespan_state=state, init_options=options)


note(f"started {os.getpid()}")
if OPTIONS.transport == "stdio" and OPTIONS.discover == "answer":
    server.run("stdio")
elif OPTIONS.transport == "stdio":
    asyncio.run(serve_older_stdio())
else:
    serve_http()
note("ended")
