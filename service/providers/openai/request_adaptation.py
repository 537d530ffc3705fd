"""From a message in OpenAI's form to what a dialect takes. Pure.

Marks and options are left to `Omissions`; what is said is never left out, but refused. Earlier
reasoning is the exception: an API that can't take it back has no use for it.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from service.providers.omissions import Omissions
from service.providers.openai.dialect import Dialect

_Body = dict[str, Any]

_OPTIONS: Final = ("prefix", "cache_control")
_SAYINGS: Final = ("audio", "function_call", "refusal")
_PART_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")


def adapt_message(path: str, body: _Body, dialect: Dialect, omissions: Omissions, *, is_typed: bool) -> None:
    """Bring `body` into the dialect's form.

    Args:
        path: Where the message stands, such as `messages[0]`.
        body: As `encode_message` makes it; changed in place.
        dialect: One that adapts messages.
        omissions: Takes what the API does not know.
        is_typed: Whether the caller gave the content as `parts`.

    Raises:
        RequestError: PARAMETER_UNSUPPORTED.
    """
    role = body["role"]
    if role == "developer" and not dialect.has_developer:
        body["role"] = "system"
    _adapt_members(path, body, dialect, omissions)
    for index, call in enumerate(body.get("tool_calls", ())):
        _adapt_tool_call(f"{path}.tool_calls[{index}]", call, dialect, omissions)
    if isinstance(body.get("content"), list):
        place = f"{path}.parts" if is_typed else f"{path}.content"
        body["content"] = [
            _adapt_part(f"{place}[{index}]", part, dialect, omissions) for index, part in enumerate(body["content"])
        ]
    if role == "assistant":
        _adapt_reasoning(body, dialect)
    if "cache_control" in body:
        _mark_last_part(body)


def _adapt_members(path: str, body: _Body, dialect: Dialect, omissions: Omissions) -> None:
    role, named_roles = body["role"], dialect.named_roles
    if "name" in body and named_roles is not None and role not in named_roles and role != "function":
        omissions.omit(f"{path}.name", f'takes no names of messages of the role "{role}"')
        del body["name"]
    for member in _OPTIONS:
        if member in body and member not in dialect.members and body.pop(member):
            omissions.omit(f"{path}.{member}", "has no such member of messages")
    for member in _SAYINGS:
        if member in body and member not in dialect.members:
            omissions.refuse(f"{path}.{member}", "takes no such member of messages back")


def _adapt_tool_call(path: str, call: _Body, dialect: Dialect, omissions: Omissions) -> None:
    if dialect.tool_kinds is not None and call["type"] not in dialect.tool_kinds:
        omissions.refuse(f"{path}.type", "has function tools alone")
    if "extra_content" not in dialect.members:
        call.pop("extra_content", None)  # another provider's, to which alone it means something


def _adapt_part(path: str, part: _Body, dialect: Dialect, omissions: Omissions) -> _Body:
    for mark in _PART_MARKS:
        if mark in part and mark not in dialect.members:
            omissions.omit(f"{path}.{mark}", "has no such mark")
            part = {name: value for name, value in part.items() if name != mark}
    if dialect.parts is None:
        return part
    translate = dialect.parts.get(part["type"])
    if translate is None:
        omissions.refuse(f"{path}.type", f"reads no parts of type `{part['type']}`")

    def refuse(place: str, why: str) -> NoReturn:
        omissions.refuse(path + place, why)

    return translate(part, refuse)


def _adapt_reasoning(body: _Body, dialect: Dialect) -> None:
    if dialect.reasoning_history == "as_given":
        return
    texts = [body.pop(name, None) for name in ("reasoning_content", "reasoning")]
    text = next((given for given in texts if given), "" if "" in texts else None)
    details = body.pop("reasoning_details", None)
    if text is None and dialect.wants_reasoning_of_calls and "tool_calls" in body:
        text = ""
    match dialect.reasoning_history:
        case "details" if details:
            body["reasoning_details"] = _whole_blocks(details)
        case "reasoning" | "details" if text is not None:
            body["reasoning"] = text
        case "reasoning_content" if text is not None:
            body["reasoning_content"] = text
        case "parts" if text:
            content = body.get("content") or []
            said = [{"type": "text", "text": content}] if isinstance(content, str) else content
            body["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}, *said]


def _whole_blocks(details: list[_Body]) -> list[_Body]:
    """Entries, with the pieces of text that a stream brought one by one put together.

    Source: https://openrouter.ai/docs/guides/best-practices/reasoning-tokens (2026-11-22).
    """
    blocks: list[_Body] = []
    for detail in details:
        last = blocks[-1] if blocks else {}
        text = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(detail.get("type", ""))
        is_piece = text is not None and all(last.get(name) == detail.get(name) for name in ("type", "index", "id"))
        if not is_piece or text is None or "index" not in detail or last.get("signature"):
            blocks.append(dict(detail))
            continue
        joined = (last.get(text) or "") + (detail.get(text) or "")
        last.update({name: value for name, value in detail.items() if value is not None})
        last[text] = joined
    return blocks


def _mark_last_part(body: _Body) -> None:
    """A mark of the whole message stands at the end of its last part."""
    mark = body.pop("cache_control")
    content = body.get("content")
    if isinstance(content, str):
        body["content"] = [{"type": "text", "text": content, "cache_control": mark}]
    elif content:
        content[-1] = {"cache_control": mark} | content[-1]
