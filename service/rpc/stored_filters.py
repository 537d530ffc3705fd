"""Which stored completions a list is asked for, and which labels one is to get."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from service._gen.parley.v1.chat_service_pb2 import ListChatCompletionsRequest, UpdateChatCompletionRequest
from service._gen.parley.v1.session_service_pb2 import ListSessionsRequest
from service.errors import invalid
from service.rpc.validation_stored import check_alias, check_labels, check_tags, check_text, parse_uuid
from service.storage.record import CompletionFilter

_MAX_NAME: Final = 256
"""Of a model, by what is sensible, and of an end user, by the contract."""
_STRAY_PERCENT: Final = re.compile("%(?!25|3D)")


def filter_of(request: ListChatCompletionsRequest) -> CompletionFilter:
    """What the completions of the list have in common.

    Raises:
        RequestError: PARAMETER_INVALID: a value that no completion can have.
    """
    session_id = parse_uuid(request.session_id)
    if request.HasField("session_id") and session_id is None:
        raise invalid("session_id", "a UUID")
    check_tags("tags", request.tags)
    return CompletionFilter(
        model=_name("model", request.model) if request.HasField("model") else None,
        labels=_labels_of(request),
        tags=tuple(dict.fromkeys(request.tags)),
        user=user_of(request),
        session_id=session_id,
    )


def user_of(request: ListChatCompletionsRequest | ListSessionsRequest) -> str | None:
    """The end user whose things are listed; None: everybody's.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    return _name("user", request.user) if request.HasField("user") else None


def new_labels(request: UpdateChatCompletionRequest) -> dict[str, str]:
    """The labels that a completion is to have.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    check_labels("labels", request.labels)
    check_labels("metadata", request.metadata)
    check_alias(request.labels, request.metadata)
    return dict(request.labels or request.metadata)


def _labels_of(request: ListChatCompletionsRequest) -> dict[str, str]:
    """The labels of all three fields. A gateway's caller has written `label_pairs` as `metadata[KEY]=VALUE`."""
    labels: dict[str, str] = {}
    _add_labels(labels, "metadata", request.metadata.items())
    _add_labels(labels, "labels", request.labels.items())
    _add_labels(labels, "metadata", map(_label_pair, request.label_pairs))
    return labels


def _add_labels(labels: dict[str, str], param: str, given: Iterable[tuple[str, str]]) -> None:
    for key, value in given:
        if labels.setdefault(key, value) != value:
            raise invalid(param, "without two values for one key: a completion has only one")
    check_labels(param, labels)


def _label_pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or _STRAY_PERCENT.search(key):
        raise invalid("metadata", "given as `metadata[KEY]=VALUE`")
    return key.replace("%3D", "=").replace("%25", "%"), value


def _name(param: str, text: str) -> str:
    if not text:
        raise invalid(param, "left out, or a string that is not empty")
    check_text(param, text, _MAX_NAME)
    return text
