"""Reads the many forms in which OpenAI-compatible providers report a failure. Pure."""

from __future__ import annotations

from typing import Any, Final

from service.providers.openai import wire

_LONGEST_PATH: Final = 20
_LONGEST_WAIT_S: Final = 86_400
"""A day; what asks for more is no hint to wait."""


def read_error(body: bytes) -> tuple[wire.Error, float | None]:
    """The error, and after how many seconds to come again where the body tells; empty where it can't be read.

    Forms: {"error": {…}} (OpenAI), {"error": "text"} (Ollama, xAI, Hugging Face), the members at the top
    (Mistral, Cerebras, vLLM), {"detail": "text" or [{"loc": […], "msg": …}]} (FastAPI, at the top or in
    Mistral's `message`).
    """
    try:
        answer = wire.decode_error(body)
    except wire.UNREADABLE:
        return wire.Error(), None
    error = answer.error
    if not isinstance(error, wire.Error):
        detail = answer.message.get("detail") if isinstance(answer.message, dict) else answer.detail
        error = error_of_members(
            message=error or _text_of(detail) or answer.message,
            kind=answer.type or answer.error_type,
            code=answer.code,
            param=answer.param or _place_of(detail),
        )
    return error, _wait_s(answer.estimated_time)


def error_of_members(*, message: Any, kind: Any, code: Any, param: Any) -> wire.Error:
    """An error of members of whatever types; those of wrong ones are left out."""
    return wire.Error(
        message=message if isinstance(message, str) else None,
        type=kind if isinstance(kind, str) else None,
        code=code if isinstance(code, str | int) else None,
        param=param,
    )


def _wait_s(seconds: Any) -> float | None:
    """A time to wait; compared before it becomes a float, which not every integer can."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return float(seconds) if is_number and 0 < seconds < _LONGEST_WAIT_S else None


def _text_of(detail: Any) -> str | None:
    match detail:
        case str():
            return detail
        case [{"msg": str(text)}, *_]:
            return text
        case _:
            return None


def _place_of(detail: Any) -> str | None:
    """The path of FastAPI's `loc`, such as ["body", "messages", 0, "content"]."""
    match detail:
        case [{"loc": list(steps)}, *_] if len(steps) <= _LONGEST_PATH:
            path = ""
            for step in steps[1:] if steps[:1] == ["body"] else steps:
                path += f"[{step}]" if isinstance(step, int) else f".{step}"
            return path.removeprefix(".") or None
        case _:
            return None
