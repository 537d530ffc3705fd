"""Blocks of reasoning in the contract's form, and which of them go back to Gemini. Pure."""

from __future__ import annotations

from typing import Any, Final

FORMAT: Final = "gemini"
"""Whose entries of `provider_content` are."""
REASONING_FORMAT: Final = "google-gemini-v1"
"""Whose entries of `reasoning_details` are."""


def reasoning_detail(index: int, *, text: str | None = None, signature: str | None = None) -> dict[str, Any]:
    """An entry of `reasoning_details`: a thought, a piece of one, or its signature."""
    told = {"text": text, "signature": signature}
    present = {name: value for name, value in told.items() if value is not None}
    return {"type": "reasoning.text", **present, "format": REASONING_FORMAT, "index": index}


def merged_details(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gemini's entries, the texts of one index joined into one; each `index` is an integer.

    Those without an index are one block. Entries that are no text are left out.
    """
    texts: dict[int | None, list[str]] = {}
    signatures: dict[int | None, str] = {}
    for detail in details:
        if detail.get("type") != "reasoning.text":
            continue
        index = detail.get("index")
        pieces = texts.setdefault(index, [])
        if isinstance(text := detail.get("text"), str):
            pieces.append(text)
        if isinstance(signature := detail.get("signature"), str):
            signatures[index] = signature
    free = max((index for index in texts if index is not None), default=-1) + 1
    return [
        reasoning_detail(
            free if index is None else index,
            text="".join(pieces) if pieces else None,
            signature=signatures.get(index),
        )
        for index, pieces in texts.items()
    ]
