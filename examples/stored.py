"""Stored completions, by OpenAI's client: `python examples/stored.py [URL] [KEY]`, by default http://127.0.0.1:8080/v1."""

# ruff: noqa: T201 - a program for the terminal

from __future__ import annotations

import sys
from typing import Any

from openai import OpenAI

TEAM = {"team": "example"}


def main() -> None:
    """Store two answers of one session, the second without sending the first back; then find and delete them."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
    key = sys.argv[2] if len(sys.argv) > 2 else "none"  # noqa: PLR2004
    with OpenAI(base_url=url, api_key=key) as client:
        completions = client.chat.completions
        question: Any = {"role": "user", "content": "What is the capital of France?"}
        first: Any = completions.create(model="smollm2", messages=[question], store=True, metadata=TEAM)
        earlier: Any = {"role": "assistant", "completion_id": first.choices[0].completion_id}
        completions.create(
            model="smollm2",
            messages=[question, earlier, {"role": "user", "content": "And of Italy?"}],
            store=True,
            metadata=TEAM,
            extra_body={"session_id": first.session_id},
        )
        for completion in completions.list(metadata=TEAM, extra_query={"session_id": first.session_id}):
            for message in completions.messages.list(completion.id):
                print(f"{message.role}: {message.content}")
            print(f"-> {completion.choices[0].message.content}")
            completions.delete(completion.id)


if __name__ == "__main__":
    main()
