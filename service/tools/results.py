"""A tool's result as text for the model. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

import msgspec

if TYPE_CHECKING:  # the package is heavy, and loaded only where there are tools
    from mcp_types import BlobResourceContents, CallToolResult, ContentBlock, TextResourceContents

_EMPTY: Final = "(the tool returned nothing)"


def result_text(result: CallToolResult) -> str:
    """All that a result holds, in its order.

    Texts stand as they are. Of what a tool's result can't carry to every model (images, audio, files) there is
    one line that says what it was. Structured content is told where there is nothing else.
    """
    pieces = [_block_text(block) for block in result.content]
    if not pieces and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(pieces) or _EMPTY


def _block_text(block: ContentBlock) -> str:
    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            return f"[{block.type}: {block.mime_type}, {_decoded_bytes(block.data)} bytes]"
        case "resource_link":
            return f"[resource: {block.name}, {block.uri}]"
        case "resource":
            return _resource_text(block.resource)
        case _:
            assert_never(block.type)


def _resource_text(resource: TextResourceContents | BlobResourceContents) -> str:
    text = getattr(resource, "text", None)
    if isinstance(text, str):
        return f"[resource: {resource.uri}]\n{text}"
    size = _decoded_bytes(str(getattr(resource, "blob", "")))
    return f"[resource: {resource.uri}, {resource.mime_type or 'of an unknown type'}, {size} bytes]"


def _decoded_bytes(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4
