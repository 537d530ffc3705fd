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
    """Gemini's entries, those of one index joined into one; entries of other providers are left out."""
    blocks: dict[object, dict[str, Any]] = {}
    for detail in details:
        if detail.get("format") != REASONING_FORMAT or detail.get("type") != "reasoning.text":
            continue
        index = detail.get("index")
        block = blocks.setdefault(index, {"text": None, "signature": None})
        if isinstance(text := detail.get("text"), str):
            block["text"] = (block["text"] or "") + text
        if isinstance(signature := detail.get("signature"), str):
            block["signature"] = signature
    return [
        reasoning_detail(index if isinstance(index, int) else place, text=block["text"], signature=block["signature"])
        for place, (index, block) in enumerate(blocks.items())
    ]
