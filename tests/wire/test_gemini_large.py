"""Large messages take room and time in proportion to their size, not to its square."""

from __future__ import annotations

import subprocess
import sys
import time

from service.providers.gemini import GEMINI
from tests.wire.gemini_support import NEW, OLD, USER, Json, call_of

MOST_CPU_S = 5
"""Many times what the work takes, and a fraction of what it takes where each piece is compared with each other."""
MOST_BYTES = 2 * 2**30
PROGRAM = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MOST_BYTES}, {MOST_BYTES}))
from tests.wire.gemini_support import GEMINI, call_of
part = dict(text="x" * 100) | (dict(thought=True) if sys.argv[1] == "thought" else dict())
body = json.dumps(dict(candidates=[dict(content=dict(parts=[part] * 10_000), finishReason="STOP")])).encode()
message = GEMINI.translate("acme", body, call_of()).choices[0].message
print(len(message.reasoning_content if sys.argv[1] == "thought" else message.content))
"""


def encode(messages: list[Json], model: str) -> None:
    call = call_of({"messages": messages}, model)
    began_s = time.process_time()
    GEMINI.encode(call, False)  # noqa: FBT003 - ChatApi's form
    assert time.process_time() - began_s < MOST_CPU_S


def test_an_answer_of_many_parts_takes_little_memory() -> None:
    for kind in ("text", "thought"):
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, kind],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.stdout.strip(), ran.returncode) == ("1000000", 0)


def test_a_thought_of_many_pieces_is_sent_back() -> None:
    piece = {"type": "reasoning.text", "format": "google-gemini-v1", "index": 0}
    details = [piece | {"text": "x" * 400} for _ in range(20_000)]

    encode([USER, {"role": "assistant", "reasoning_details": [*details, piece | {"signature": "s"}]}], OLD)


def test_a_result_with_many_images_is_sent() -> None:
    called = {"id": "c", "type": "function", "function": {"name": "f"}}
    images = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{number:08}"}} for number in range(20_000)
    ]

    encode(
        [
            USER,
            {"role": "assistant", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c", "content": images},
        ],
        NEW,
    )
