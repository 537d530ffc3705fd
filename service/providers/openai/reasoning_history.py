"""How earlier reasoning is sent back to a dialect. Pure."""

from __future__ import annotations

from typing import Any, Final

from service.providers.openai.dialect import Dialect

_Body = dict[str, Any]

_TEXTS: Final = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""By type of entry, the member that comes in pieces."""
_FORMATS: Final = frozenset(
    {"unknown", "openai-responses-v1", "azure-openai-responses-v1", "bedrock-openai-responses-v1"}
    | {"bedrock-xai-responses-v1", "xai-responses-v1", "meta-responses-v1", "anthropic-claude-v1", "google-gemini-v1"}
)
"""What OpenRouter can read. Two of them are also what Parley's own adapters of Anthropic and Gemini write.

Source: https://openrouter.ai/docs/guides/best-practices/reasoning-tokens (2026-11-22, by openrouter 1.3:
ReasoningFormat).
"""


def adapt_reasoning(body: _Body, dialect: Dialect) -> None:
    """Bring the reasoning of an assistant's message into the dialect's form, in place."""
    if dialect.reasoning_history == "as_given":
        return
    texts = [body.pop(name, None) for name in ("reasoning_content", "reasoning")]
    text = next((given for given in texts if given), "" if "" in texts else None)
    details = body.pop("reasoning_details", None)
    if text is None and dialect.wants_reasoning_of_calls and "tool_calls" in body:
        text = ""
    match dialect.reasoning_history:
        case "details" if details:
            _put_details(body, details, text)
        case "reasoning" | "details" if text is not None:
            body["reasoning"] = text
        case "reasoning_content" if text is not None:
            body["reasoning_content"] = text
        case "parts" if text:
            content = body.get("content") or []
            said = [{"type": "text", "text": content}] if isinstance(content, str) else content
            body["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}, *said]


def _put_details(body: _Body, details: list[_Body], text: str | None) -> None:
    """The blocks that OpenRouter can read; where there is none, at least the text."""
    blocks = _whole_blocks(details)
    readable = [block for block in blocks if _is_readable(block)]
    if readable:
        body["reasoning_details"] = readable
        return
    said = text or "".join(told for block in blocks if isinstance(told := block.get("text"), str))
    if said:
        body["reasoning"] = said


def _is_readable(block: _Body) -> bool:
    """Whether the block's format is one of OpenRouter's; its own entries need not have one."""
    told = block.get("format")
    return told is None or (isinstance(told, str) and told in _FORMATS)


def _whole_blocks(details: list[_Body]) -> list[_Body]:
    """Entries, with the pieces of text that a stream brought one by one put together.

    Only the first piece of a block need have its format and id (streams tell them once); later ones of the same
    type and index are of the same block.

    Source: https://openrouter.ai/docs/guides/best-practices/reasoning-tokens (2026-11-22).
    """
    blocks: list[_Body] = []
    pieces: list[str] = []
    formats: dict[tuple[str, int], Any] = {}
    for detail in details:
        name = _piece_of(detail)
        last = blocks[-1] if blocks else {}
        if name is None or not _goes_on(last, detail):
            _join(last, pieces)
            last = dict(detail)
            blocks.append(last)
        else:
            last |= {member: value for member, value in detail.items() if value is not None and member != name}
        if name is not None and detail.get(name):
            pieces.append(detail[name])
        _note_format(last, formats)
    _join(blocks[-1] if blocks else {}, pieces)
    return blocks


def _piece_of(detail: _Body) -> str | None:
    """The member of the entry that may be a piece; None where it has none, or one that is no text."""
    kind = detail.get("type")
    name = _TEXTS.get(kind) if isinstance(kind, str) else None
    return name if name is not None and isinstance(detail.get(name), str | None) else None


def _goes_on(last: _Body, detail: _Body) -> bool:
    """Whether the entry goes on with the block before it, which ends with its signature."""
    if "index" not in detail or last.get("signature") or _piece_of(last) is None:
        return False
    is_same = all(last.get(member) == detail.get(member) for member in ("type", "index"))
    return is_same and detail.get("id") in (None, last.get("id"))


def _join(block: _Body, pieces: list[str]) -> None:
    """Put the pieces into the block that they are of."""
    if pieces:
        block[_TEXTS[block["type"]]] = "".join(pieces)
        pieces.clear()


def _note_format(block: _Body, formats: dict[tuple[str, int], Any]) -> None:
    kind, index = block.get("type"), block.get("index")
    if not isinstance(kind, str) or not isinstance(index, int):
        return
    if block.get("format") is None and (kind, index) in formats:
        block["format"] = formats[kind, index]
    elif block.get("format") is not None:
        formats[kind, index] = block["format"]
