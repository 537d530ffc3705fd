"""What the messages of a request must be like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.message_pb2 import ContentPart, Message
from service.errors import invalid, missing
from service.json_values import InvalidJsonError, value_to_json
from service.rpc.validation_stored import check_uuid

_Fields = Sequence[tuple[FieldDescriptor, Any]]
"""What of a message is set."""

# More is no conversation, and would keep every other call waiting while it is looked at.
_MAX_MESSAGES: Final = 10_000
_MAX_PARTS: Final = 10_000
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_PLAIN_ROLES: Final = frozenset({"system", "developer", "user", "assistant"})
"""Those whose messages need nothing but a content."""
_ASSISTANTS: Final = frozenset(
    {"tool_calls", "function_call", "refusal", "audio", "prefix", "provider_content", "tool_events"}
    | {"reasoning_content", "reasoning", "reasoning_details"}
)
"""What only assistant messages have."""
_ROLES_TEXT: Final = ", ".join(f'"{role}"' for role in _ROLES)

_PART_PAYLOADS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "text": ("text", ()),
    "image_url": ("image_url", ("url",)),
    "input_audio": ("input_audio", ("data", "format")),
    "file": ("file", ()),
    "video_url": ("video_url", ("url",)),
    "document_url": ("document_url", ()),
    "refusal": ("refusal", ()),
}
"""By type: the field that holds the part's content, and which strings it must have (none: it is a string)."""
_STRING_PAYLOADS: Final = frozenset({"text", "document_url", "refusal"})
_PART_TYPES_TEXT: Final = ", ".join(f'"{part}"' for part in _PART_PAYLOADS)


def check_messages(messages: Sequence[Message]) -> None:
    """Check all messages.

    Raises:
        RequestError: The first that is wrong; `param` is its path, such as `messages[0].role`.
    """
    if not messages:
        raise missing("messages", "an array of at least one message")
    if len(messages) > _MAX_MESSAGES:
        raise invalid("messages", f"an array of at most {_MAX_MESSAGES} messages")
    for index, message in enumerate(messages):
        fields = message.ListFields()
        if len(fields) == 2 and message.role in _PLAIN_ROLES and message.content.string_value:  # noqa: PLR2004 - no more than those two
            continue  # as most are: nothing can be wrong with it
        _check_message(f"messages[{index}]", message, fields)


def _check_message(path: str, message: Message, fields: _Fields) -> None:
    role = message.role
    if not role:
        raise missing(f"{path}.role", f"one of {_ROLES_TEXT}")
    if role not in _ROLES:
        raise invalid(f"{path}.role", f"one of {_ROLES_TEXT}")
    _check_stored(path, message)
    has_content = _check_content(path, message)
    if role == "assistant":
        _check_assistant(path, message, has_content=has_content)
    else:
        _check_other(path, message, fields, has_content=has_content)


def _check_other(path: str, message: Message, fields: _Fields, *, has_content: bool) -> None:
    """Check a message of any role but "assistant"."""
    if not has_content:
        if message.completion_id:
            raise invalid(f"{path}.completion_id", 'left out unless the role is "assistant": only those are filled in')
        raise missing(f"{path}.content", "a string or an array of parts")
    if message.role == "tool" and not message.tool_call_id:
        raise missing(f"{path}.tool_call_id", "the id of the tool call that the message answers")
    if message.role == "function" and not message.name:
        raise missing(f"{path}.name", "the name of the function that the message answers for")
    for field, value in fields:
        if field.name in _ASSISTANTS and value not in ("", False):
            raise invalid(f"{path}.{field.name}", 'left out unless the role is "assistant"')
    if message.is_error and message.role != "tool":
        raise invalid(f"{path}.is_error", 'left out unless the role is "tool"')


def _check_stored(path: str, message: Message) -> None:
    """Check what only a store reads."""
    if message.completion_id:
        check_uuid(f"{path}.completion_id", message.completion_id)
    if message.HasField("metadata"):
        try:
            value_to_json(message.metadata)
        except InvalidJsonError as error:
            raise invalid(f"{path}.metadata", f"a JSON value; it {error}") from None


def says_something(message: Message) -> bool:
    """Whether an assistant's message has anything that its provider can be told; an empty text is nothing."""
    content = message.content
    return bool(
        content.string_value
        or content.list_value.values
        or message.parts
        or message.tool_calls
        or message.refusal
        or message.HasField("function_call")
        or message.HasField("audio")
        or message.reasoning_content
        or message.reasoning
        or message.reasoning_details
        or message.provider_content
        or message.tool_events
    )


def _check_assistant(path: str, message: Message, *, has_content: bool) -> None:
    is_named = message.completion_id or message.id  # then it is filled from the store
    if not (has_content or is_named or says_something(message)):
        raise missing(f"{path}.content", "a string or an array of parts, unless the message has tool calls")
    if message.is_error:
        raise invalid(f"{path}.is_error", 'left out unless the role is "tool"')
    for index, call in enumerate(message.tool_calls):
        place = f"{path}.tool_calls[{index}]"
        if not call.id:
            raise missing(f"{place}.id", "the id of the call")
        if call.type not in {"", "function", "custom"}:
            raise invalid(f"{place}.type", '"function" or "custom"')
        kind = "custom" if call.type == "custom" or (not call.type and call.HasField("custom")) else "function"
        if not (call.custom.name if kind == "custom" else call.function.name):
            raise missing(f"{place}.{kind}.name", "the name of what was called")
    if message.HasField("audio") and not message.audio.id:
        raise missing(f"{path}.audio.id", "the id of the audio answer")


def _check_content(path: str, message: Message) -> bool:
    """Whether the message has a content, which is then well-formed."""
    kind = message.content.WhichOneof("kind") if message.HasField("content") else None
    if message.parts:
        if kind not in {None, "null_value"}:
            raise invalid(f"{path}.parts", "left out where `content` is given")
        if len(message.parts) > _MAX_PARTS:
            raise invalid(f"{path}.parts", f"an array of at most {_MAX_PARTS} parts")
        for index, part in enumerate(message.parts):
            _check_typed_part(f"{path}.parts[{index}]", part)
        return True
    match kind:
        case "string_value":
            return True
        case "list_value":
            items = message.content.list_value.values
            if len(items) > _MAX_PARTS:
                raise invalid(f"{path}.content", f"an array of at most {_MAX_PARTS} parts")
            for index, item in enumerate(items):
                _check_part(f"{path}.content[{index}]", item)
            return bool(items)
        case None | "null_value":
            return False
        case _:
            raise invalid(f"{path}.content", "a string, an array of parts, or null")


def _check_part(path: str, value: Value) -> None:
    if not value.HasField("struct_value"):
        raise invalid(path, 'an object with a "type"')
    part = value.struct_value.fields
    kind = part["type"].string_value if "type" in part else ""
    if not kind:
        raise missing(f"{path}.type", f"one of {_PART_TYPES_TEXT}")
    if kind not in _PART_PAYLOADS:
        raise invalid(f"{path}.type", f"one of {_PART_TYPES_TEXT}")
    field, required = _PART_PAYLOADS[kind]
    payload = part.get(field)
    if payload is None:
        raise missing(f"{path}.{field}", f'the content of a part of type "{kind}"')
    if kind in _STRING_PAYLOADS:
        if not payload.HasField("string_value"):
            raise invalid(f"{path}.{field}", "a string")
        return
    if not payload.HasField("struct_value"):
        raise invalid(f"{path}.{field}", "an object")
    members = payload.struct_value.fields
    for name in required:
        if name not in members or not members[name].string_value:
            raise missing(f"{path}.{field}.{name}", "a string that is not empty")


def _check_typed_part(path: str, part: ContentPart) -> None:
    if not part.type:
        raise missing(f"{path}.type", f"one of {_PART_TYPES_TEXT}")
    if part.type not in _PART_PAYLOADS:
        raise invalid(f"{path}.type", f"one of {_PART_TYPES_TEXT}")
    field, required = _PART_PAYLOADS[part.type]
    if not part.HasField(field):  # type: ignore[arg-type]  # one of the names above
        raise missing(f"{path}.{field}", f'the content of a part of type "{part.type}"')
    for name in required:
        if not getattr(getattr(part, field), name):
            raise missing(f"{path}.{field}.{name}", "a string that is not empty")
