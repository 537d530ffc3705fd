"""What is said between the service and the process that renders.

Both ways, a message is its length, four bytes with the highest first, and then JSON.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final, TypeAlias

import msgspec

MAX_TEXT_BYTES: Final = 64 * 1024
"""Of a template, of its arguments as JSON, and of a rendered prompt: about 16,000 tokens, far more than
system prompts have."""
LENGTH_BYTES: Final = 4
MAX_ANSWER_BYTES: Final = 6 * MAX_TEXT_BYTES + 4096
"""JSON takes up to six bytes for one (`\\u0000`); the rest is what stands around the text."""

_MAX_DETAIL_CHARACTERS: Final = 300
Detail = Annotated[str, msgspec.Meta(max_length=_MAX_DETAIL_CHARACTERS)]


class Compile(msgspec.Struct, frozen=True, tag=True):
    """Asks which arguments a template takes."""

    template: str


class Render(msgspec.Struct, frozen=True, tag=True):
    """Asks for a template's text with these arguments."""

    template: str
    args: msgspec.Raw
    """An object."""


Question: TypeAlias = Compile | Render


class Cause(Enum):
    """Why there is no text; the values end a sentence about the prompt."""

    FAILS = "it fails"
    TOO_LARGE = f"it grows beyond {MAX_TEXT_BYTES} bytes"
    TOO_SLOW = "it takes too long"
    TOO_MUCH_MEMORY = "it needs too much memory"


class Names(msgspec.Struct, frozen=True, tag=True):
    """The template can be compiled."""

    names: tuple[str, ...]
    """Of its arguments, without order."""


class Text(msgspec.Struct, frozen=True, tag=True):
    """The template's text."""

    text: str


class Missing(msgspec.Struct, frozen=True, tag=True):
    """An argument, or something within one, is not there, and the template can't do without."""

    path: tuple[str | int, ...]
    """From the argument's name on; empty where it is not known."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The template can't be compiled or rendered."""

    cause: Cause
    line: int | None = None
    """Of the template."""
    detail: Detail = ""
    """For whoever wrote the template: it may quote the template and the arguments."""


Answer: TypeAlias = Names | Text | Missing | Failed

_questions: Final[msgspec.json.Decoder[Question]] = msgspec.json.Decoder(Question)
_answers: Final[msgspec.json.Decoder[Answer]] = msgspec.json.Decoder(Answer)


def detail_of(error: Exception) -> str:
    """What an exception says, cut to the length that an answer may have."""
    said = "" if isinstance(error, OSError) else str(error)  # that would be of this machine, not of the template
    text = said.encode(errors="replace").decode()  # a template can make text that UTF-8 can't
    return (text or type(error).__name__)[:_MAX_DETAIL_CHARACTERS]


def framed(message: Question | Answer) -> bytes:
    """The message as it is sent."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(LENGTH_BYTES) + body


def read_question(body: bytes) -> Question:
    """Read what `framed` made, without the length."""
    return _questions.decode(body)


def read_answer(body: bytes) -> Answer:
    """Read what `framed` made, without the length.

    Raises:
        msgspec.DecodeError: It is none: whoever sent it is not what it was.
    """
    return _answers.decode(body)


def args_of(question: Render) -> dict[str, Any]:
    """The arguments, decoded."""
    args: dict[str, Any] = msgspec.json.decode(question.args)
    return args
