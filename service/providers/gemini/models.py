"""What Gemini's models differ in, as far as their names tell. Pure."""

from __future__ import annotations

import re
from typing import Final

_GENERATION: Final = re.compile(r"\bgemini-(?P<generation>\d+)")
_GOOGLES_OWN: Final = re.compile(r"(.*\bmodels/)?gemini-[^/]*")
"""Neither another family, such as Gemma, nor an endpoint or a tuned model, whose name says nothing."""


def generation_of(model: str) -> int | None:
    """The generation that the name tells, such as 2 for "gemini-2.5-pro"; None for "gemini-flash-latest"."""
    match = _GENERATION.search(model)
    return int(match["generation"]) if match else None


def has_media_results(model: str) -> bool:
    """Whether results of functions may hold media, as from Gemini 3 on.

    Source: https://ai.google.dev/gemini-api/docs/function-calling#multimodal (2026-11-22).
    """
    generation = generation_of(model)
    if generation is None:
        return _GOOGLES_OWN.fullmatch(model) is not None  # such as gemini-flash-latest
    return generation >= 3  # noqa: PLR2004 - Gemini 3


def has_part_resolution(model: str) -> bool:
    """Whether an image may say how closely it is looked at, as from Gemini 3 on.

    Source: https://ai.google.dev/gemini-api/docs/generate-content/media-resolution (2026-11-22).
    """
    return has_media_results(model)


def needs_signatures(model: str) -> bool:
    """Whether calls in the conversation must be signed, as from Gemini 3 on.

    Source: https://ai.google.dev/gemini-api/docs/thought-signatures (2026-11-22).
    """
    return has_media_results(model)


def needs_property_ordering(model: str) -> bool:
    """Whether the order of a schema's properties has to be told, as for Gemini 2.0; later models keep it.

    Source: https://ai.google.dev/gemini-api/docs/structured-output (2026-11-22).
    """
    return "gemini-2.0" in model
