"""From a message in OpenAI's form to what a dialect takes. Pure.

Marks and options are left to `Omissions`; what is said is never left out, but refused. Earlier
reasoning is the exception: an API that can't take it back has no use for it.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from service.providers.omissions import Omissions
from service.providers.openai.dialect import Dialect
from service.providers.openai.reasoning_history import adapt_reasoning

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
    if role == "function" and "function_call" not in dialect.members:
        omissions.refuse(f"{path}.role", "knows no messages of the deprecated role `function`")
    _adapt_members(path, body, dialect, omissions)
    for index, call in enumerate(body.get("tool_calls", ())):
        _adapt_tool_call(f"{path}.tool_calls[{index}]", call, dialect, omissions)
    if isinstance(body.get("content"), list):
        place = f"{path}.parts" if is_typed else f"{path}.content"
        body["content"] = [
            _adapt_part(f"{place}[{index}]", part, dialect, omissions) for index, part in enumerate(body["content"])
        ]
    if role == "assistant":
        adapt_reasoning(body, dialect)
    if "cache_control" in body:
        _mark_last_part(path, body, omissions)


def _adapt_members(path: str, body: _Body, dialect: Dialect, omissions: Omissions) -> None:
    role, named_roles = body["role"], dialect.named_roles
    if "name" in body and named_roles is not None and role not in named_roles and role != "function":
        omissions.omit(f"{path}.name", f'takes no names of messages of the role "{role}"')
        del body["name"]
    for member in _OPTIONS:
        if member in body and member not in dialect.members and body.pop(member):
            omissions.omit(f"{path}.{member}", "has no such member of messages")
    for member in _SAYINGS:
        if member in body and member not in dialect.members and body.pop(member):
            omissions.refuse(f"{path}.{member}", "takes no such member of messages back")


def _adapt_tool_call(path: str, call: _Body, dialect: Dialect, omissions: Omissions) -> None:
    if dialect.tool_kinds is not None and call["type"] not in dialect.tool_kinds:
        omissions.refuse(f"{path}.type", "has function tools alone")
    if "extra_content" not in dialect.members:
        call.pop("extra_content", None)  # another provider's, to which alone it means something


def _adapt_part(path: str, part: _Body, dialect: Dialect, omissions: Omissions) -> _Body:
    for mark in _PART_MARKS:
        if mark in part and (part[mark] is None or mark not in dialect.members):
            if part[mark] is not None:
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


def _mark_last_part(path: str, body: _Body, omissions: Omissions) -> None:
    """A mark of the whole message stands at the end of its last part."""
    mark = body.pop("cache_control")
    content = body.get("content")
    if not content:
        omissions.omit(f"{path}.cache_control", "can't mark a message without content")
    elif isinstance(content, str):
        body["content"] = [{"type": "text", "text": content, "cache_control": mark}]
    else:
        content[-1] = {"cache_control": mark} | content[-1]
