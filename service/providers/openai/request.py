"""From the contract's request to the body that an OpenAI-compatible provider is sent. Pure.

Only fields that are set are visited, so that a plain request costs little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service.errors import Reason, RequestError, invalid
from service.json_values import InvalidJsonError, Json
from service.providers.abilities import effort_of
from service.providers.extra_body import merge_extra_body
from service.providers.omissions import Omissions, asks_for_nothing
from service.providers.openai.dialect import Dialect
from service.providers.openai.reasoning_wishes import WAYS, check_reasoning
from service.providers.openai.request_adaptation import adapt_message
from service.providers.openai.request_fields import FIELDS
from service.providers.openai.request_messages import encode_message
from service.providers.openai.request_tools import adapt_tools
from service.providers.openai.translations import merge
from service.providers.provider import ProviderCall

_Body = dict[str, Any]
_encode_json = msgspec.json.Encoder().encode
_PLAIN_ROLES: Final = frozenset({"system", "user", "assistant"})
"""Those that every dialect knows."""
_SAYINGS: Final = frozenset({"tool_calls", "function_call", "audio", "refusal"})
"""What an assistant's message may have in place of a content. Earlier reasoning by itself is none of it."""


def encode_request(call: ProviderCall, dialect: Dialect, *, stream: bool) -> bytes:
    """The body of the provider's request.

    Args:
        call: A validated request; its omissions take what the API does not know.
        dialect: The API.
        stream: Whether the answer shall come in pieces; the usage is then asked for, where it has to be.

    Raises:
        RequestError: A free-form field holds what JSON can't say, two parameters contradict each other,
            or the API can't be told something; `param` names it.
    """
    body: _Body = {"model": call.model}
    for field, value in call.request.ListFields():
        name = field.name
        if name == "messages":
            body[name] = _encode_messages(value, dialect, call.omissions)
        elif name in _PLAIN and name in dialect.as_they_are and name not in body:
            if (encoded := _encoded(name, value)) is not None:
                body[name] = encoded
        elif FIELDS[name] is not None:
            _add(body, name, value, call, dialect)
    if dialect.only_limit is not None and "max_tokens" in body and "max_completion_tokens" in body:
        del body["max_tokens" if dialect.only_limit == "max_completion_tokens" else "max_completion_tokens"]
    if stream:
        body["stream"] = True
        _put_stream_options(body, call, dialect)
    merge_extra_body(body, call.request)
    return _encode_json(body)


def _add(body: _Body, name: str, value: Any, call: ProviderCall, dialect: Dialect) -> None:
    if name in WAYS:
        check_reasoning(call.request, has_one_amount=dialect.has_one_amount)
    if not _is_taken(name, value, call, dialect):
        return
    encoded = _encoded(name, value)
    if name == "tools":
        adapt_tools(encoded, value, dialect, call.omissions)
    if encoded is not None:
        _put(body, name, encoded, call, dialect)


def _encoded(name: str, value: Any) -> Any:
    encoder = FIELDS[name]
    assert encoder is not None  # noqa: S101 - asked of parameters of the provider's alone
    try:
        return encoder(value)
    except InvalidJsonError as error:
        raise RequestError(Reason.PARAMETER_INVALID, f"`{name}` {error}.", param=name) from None


def _is_taken(name: str, value: Any, call: ProviderCall, dialect: Dialect) -> bool:
    """Whether the parameter is to be sent; what the API does not know is left out, or refused."""
    if name in _ABOUT_TOOLS and _calls_nothing(call.request, dialect):
        return False
    if not dialect.takes(name):
        if not asks_for_nothing(name, value):
            call.omissions.omit(name, "has no such parameter")
        return False
    why = _LIMITS[name](value, dialect) if name in _LIMITS else None
    if name in dialect.reasoning_lacks and _reasons(call) and not asks_for_nothing(name, value):
        why = f"has a model `{call.model}` that reasons, and then takes no such parameter"
    if why is not None:
        call.omissions.omit(name, why)
    return why is None


_ABOUT_TOOLS: Final = frozenset({"tools", "tool_choice"})


def _calls_nothing(request: ChatCompletionRequest, dialect: Dialect) -> bool:
    """Whether the model is to call nothing, and is told so by giving it no tools.

    So it is where there are none anyway, since OpenAI refuses a choice without tools, and where a dialect has no
    word for "none".
    """
    if request.tool_choice.string_value != "none":
        return False
    is_told = dialect.tool_choices is None or "none" in dialect.tool_choices
    return not (request.tools and is_told)


def _limit_of_tool_choice(choice: Any, dialect: Dialect) -> str | None:
    if dialect.tool_choices is None or _kind_of_choice(choice) in dialect.tool_choices:
        return None
    return "can't be told to choose tools so"


def _limit_of_response_format(response_format: Any, dialect: Dialect) -> str | None:
    if dialect.response_formats is None or response_format.type in dialect.response_formats:
        return None
    return f"has no format of the type `{response_format.type}`"


def _limit_of_n(count: int, dialect: Dialect) -> str | None:
    most = dialect.most_choices
    return None if most is None or count <= most else f"writes at most {most} at once"


def _limit_of_stop(sequences: Any, dialect: Dialect) -> str | None:
    most = dialect.most_stops
    return None if most is None or len(sequences) <= most else f"takes at most {most}"


_LIMITS: Final[dict[str, Callable[[Any, Dialect], str | None]]] = {
    "tool_choice": _limit_of_tool_choice,
    "response_format": _limit_of_response_format,
    "n": _limit_of_n,
    "stop": _limit_of_stop,
}
"""What of a parameter that an API takes it does not take after all: why not, or None."""

_PLAIN: Final = {name for name, encoder in FIELDS.items() if encoder} - _LIMITS.keys() - _ABOUT_TOOLS - WAYS
"""Parameters that a dialect takes or does not, whatever they say and whatever else is said."""


def _reasons(call: ProviderCall) -> bool:
    """Whether the model is known to reason, and is not told otherwise, where that can be told."""
    known = call.capabilities.reasoning
    return known == "always" or (known == "effort" and effort_of(call.request) != "none")


def _kind_of_choice(choice: Any) -> str:
    """Which of those of `Dialect.tool_choices` it is; null leaves it to the model."""
    if choice.WhichOneof("kind") != "struct_value":
        return str(choice.string_value) or "auto"
    fields = choice.struct_value.fields
    return "allowed_tools" if "type" in fields and fields["type"].string_value == "allowed_tools" else "named"


def _put(body: _Body, name: str, encoded: Json, call: ProviderCall, dialect: Dialect) -> None:
    translation = dialect.translations.get(name)
    if translation is None and dialect.reasoning_translations and call.capabilities.reasoning in {"always", "effort"}:
        translation = dialect.reasoning_translations.get(name)
    addition = {name: encoded} if translation is None else translation(encoded)
    if addition is None:
        call.omissions.omit(name, "has no such setting of it")
    elif not merge(body, addition):
        raise invalid(name, "in agreement with the request's other parameters of the same matter")


def _put_stream_options(body: _Body, call: ProviderCall, dialect: Dialect) -> None:
    """`include_usage` is asked for whatever the caller wishes: that is between the caller and Parley."""
    options = call.request.stream_options
    pads = {"include_obfuscation": options.include_obfuscation} if options.HasField("include_obfuscation") else {}
    if pads and dialect.stream_options != "all":
        if options.include_obfuscation:
            call.omissions.omit("stream_options.include_obfuscation", "can't be asked to pad its chunks")
        pads = {}
    if dialect.stream_options != "none":
        body["stream_options"] = {"include_usage": True} | pads


def _encode_messages(messages: Any, dialect: Dialect, omissions: Omissions) -> list[_Body]:
    encoded: list[_Body] = []
    for index, message in enumerate(messages):
        role, text = message.role, message.content.string_value
        if text and role in _PLAIN_ROLES and len(message.ListFields()) == 2:  # noqa: PLR2004 - role and text
            encoded.append({"role": role, "content": text})
        else:
            encoded.append(_encode_message(f"messages[{index}]", message, dialect, omissions))
    if not dialect.keeps_system_apart and "developer" in [body["role"] for body in encoded]:
        for body in encoded:
            if body["role"] == "system":
                body["role"] = "developer"
    return encoded


def _encode_message(path: str, message: Message, dialect: Dialect, omissions: Omissions) -> _Body:
    try:
        body = encode_message(message)
    except InvalidJsonError as error:
        raise RequestError(Reason.PARAMETER_INVALID, f"`{path}` {error}.", param=path) from None
    has_content = body.get("content") is not None
    if dialect.adapts_messages:
        adapt_message(path, body, dialect, omissions, is_typed=bool(message.parts))
    if not has_content and message.role == "assistant" and not body.keys() & _SAYINGS:
        body["content"] = body.get("content") or ""  # reasoning may have become a part of it
    return body
