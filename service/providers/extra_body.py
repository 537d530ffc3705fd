"""Joins a request's `extra_body` to the body that a provider is sent. Pure."""

from __future__ import annotations

from typing import Any

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import invalid
from service.providers.content import member_path, object_at


def merge_extra_body(body: dict[str, Any], request: ChatCompletionRequest) -> None:
    """Add the members of `extra_body` to `body`; objects on both sides are merged.

    Raises:
        RequestError: PARAMETER_INVALID: a member would replace what another field of the request has set,
            or holds what JSON can't say.
    """
    if not request.HasField("extra_body"):
        return
    _merge("extra_body", body, object_at("extra_body", request.extra_body))


def _merge(path: str, body: dict[str, Any], extra: dict[str, Any]) -> None:
    for name, value in extra.items():
        place = member_path(path, name)
        if name not in body:
            body[name] = value
        elif isinstance(body[name], dict) and isinstance(value, dict):
            _merge(place, body[name], value)
        elif body[name] != value:
            raise invalid(place, "left out: another parameter of the request has set it")
