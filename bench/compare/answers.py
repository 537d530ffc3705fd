"""What the mock providers answer, as OpenAI's API writes it."""

from __future__ import annotations

import json
from typing import Any, Final

MODEL: Final = "gpt-4o-mini"
CREATED: Final = 1795304003
USAGE: Final[dict[str, Any]] = {
    "prompt_tokens": 19,
    "completion_tokens": 14,
    "total_tokens": 33,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
TEXT: Final = "The capital of France is Paris, which stands on the river Seine."
_MESSAGE: Final[dict[str, Any]] = {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []}
ANSWER: Final = json.dumps(
    {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": CREATED,
        "model": MODEL,
        "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
)
"""A whole one, of about 600 bytes."""
MODELS: Final = json.dumps(
    {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1721172741, "owned_by": "system"}]}
)
