"""An MCP server with one tool: `python examples/tool_server.py [PORT]`.

With a port it speaks streamable HTTP there, at /mcp; without one, what its starter writes to its standard input.
"""

from __future__ import annotations

import sys

from mcp.server import MCPServer

PARCELS = {"17": "left Hamburg this morning", "18": "waits for you at the post office"}
server = MCPServer("orders")


@server.tool()
def find(number: str) -> str:
    """Tells where the parcel of an order is."""
    return PARCELS.get(number, "There is no such order.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
