"""What a dialect of OpenAI's API is sent for a request in REST's form."""

from __future__ import annotations

import json
from typing import Any

from service.catalogue import Capabilities
from service.providers.omissions import Omissions
from service.providers.openai.dialect import Dialect
from service.providers.openai.request import encode_request
from service.providers.provider import Identity, ProviderCall
from tests.support.json_form import to_proto

IDENTITY = Identity("chatcmpl-own", 1_700_000_000, "public")
USER = {"role": "user", "content": "Hi"}
NOTHING_KNOWN = Capabilities()


def call_of(
    request: dict[str, Any], *, may_drop: bool = False, capabilities: Capabilities = NOTHING_KNOWN
) -> ProviderCall:
    """The call of a request, which has one message unless it says otherwise."""
    body = {"model": "public", "messages": [USER]} | request
    return ProviderCall(to_proto(body), "up-1", IDENTITY, capabilities, Omissions("acme", may_drop=may_drop))


def sent(
    dialect: Dialect, request: dict[str, Any], *, stream: bool = False, capabilities: Capabilities = NOTHING_KNOWN
) -> dict[str, Any]:
    """The body of the provider's request."""
    body = encode_request(call_of(request, capabilities=capabilities), dialect, stream=stream)
    decoded: dict[str, Any] = json.loads(body)
    return decoded


def sent_leniently(
    dialect: Dialect, request: dict[str, Any], *, stream: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The body, and what was left out of it, where parameters may be dropped."""
    call = call_of(request, may_drop=True)
    body = encode_request(call, dialect, stream=stream)
    return json.loads(body), call.omissions.dropped


def message_sent(dialect: Dialect, message: dict[str, Any]) -> dict[str, Any]:
    """What is sent of a message."""
    (only,) = sent(dialect, {"messages": [message]})["messages"]
    assert isinstance(only, dict)
    return only
