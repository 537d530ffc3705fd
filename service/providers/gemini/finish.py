"""Why a model ended, in the contract's words. Pure.

Source: https://ai.google.dev/api/generate-content#FinishReason (2026-11-22), by google-genai 3.4.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from service.errors import Auth, Interrupted, Malformed, Reason, Rejected, UpstreamError

_WORDS: Final = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",  # the limit of one request is reached, and another may go on
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
_UNREADABLE: Final = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"})
_BROKEN_OFF: Final = frozenset({"OTHER", "IMAGE_OTHER", "FINISH_REASON_UNSPECIFIED"})
"""No end that a caller may take for one; another attempt may succeed."""
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Finish(NamedTuple):
    """Why a choice ended."""

    reason: str
    """The contract's word, or else the provider's own, such as NO_IMAGE or TOO_MANY_TOOL_CALLS."""
    native: str | None
    """The provider's word, where it differs."""


def finish_of(provider: str, reason: str, *, has_calls: bool) -> Finish:
    """The finish of a choice, which may have called functions.

    Raises:
        Malformed: The model wrote what can't be read, or called what it was not given; or `reason` is no name.
        Interrupted: The provider does not say why it ended.
        Rejected: The conversation lacks a signature.
        Auth: The provider has limited the account.
    """
    if reason == "STOP":
        return Finish("tool_calls" if has_calls else "stop", reason)
    if reason == "UNEXPECTED_TOOL_CALL" and has_calls:
        # The call is there, with its signature, and can be answered by an error: as recorded in
        # google-vertex/test_multimodal_tool_return_matrix-direct-binary-audio-google_vertex.
        return Finish("tool_calls", reason)
    if (word := _WORDS.get(reason)) is not None:
        return Finish(word, reason)
    if (failure := _failure(reason, {"provider": provider})) is not None:
        raise failure
    return Finish(reason, None)


def _failure(reason: str, metadata: dict[str, str]) -> UpstreamError | None:
    match reason:
        case "UNEXPECTED_TOOL_CALL":
            return Malformed("The model called a function that it was not given.", metadata=metadata)
        case "MISSING_THOUGHT_SIGNATURE":
            message = "The provider misses a thought signature: send earlier answers back as they came."
            return Rejected(Reason.UPSTREAM_REJECTED, message, param="messages", metadata=metadata)
        case "PUP_LIMITED_DISABLED":
            return Auth("The provider has limited the account of this service.", metadata=metadata)
        case _ if reason in _UNREADABLE:
            return Malformed("The model wrote a function call, or an answer, that can't be read.", metadata=metadata)
        case _ if reason in _BROKEN_OFF:
            return Interrupted("The provider broke the answer off without saying why.", metadata=metadata)
        case _ if not _NAME.fullmatch(reason):
            return Malformed("The provider's finish reason is no name.", metadata=metadata)
        case _:
            return None
