"""What the providers' own clients make of the recorded answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
from anthropic.types.beta import BetaMessage
from google import genai
from google.genai import types
from openai.types import CompletionUsage

from tests.recordings.said import json_text
from tests.support.recordings import Interaction


@dataclass
class Extracted:
    """What every client has a word for."""

    text: str = ""
    calls: list[tuple[str | None, str, str]] = field(default_factory=list)
    """Id (None: the client has none), name, and arguments in one spelling."""
    finish: str = ""
    """The client's own word."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def extracted_by_anthropic(interaction: Interaction, base_url: str) -> Extracted:
    """By `anthropic`; the stream is put together by the client."""
    with anthropic.Anthropic(base_url=base_url, api_key="none", max_retries=0) as client:
        # Any model will do, and the client warns of those that are near their end.
        asked: Any = {"model": "recorded", "max_tokens": 16, "messages": [{"role": "user", "content": "?"}]}
        if interaction.is_stream:
            with client.beta.messages.stream(**asked) as stream:
                message: BetaMessage = stream.get_final_message()
        else:
            message = client.beta.messages.create(**asked)
    usage = message.usage
    return Extracted(
        text="".join(block.text for block in message.content if block.type == "text"),
        calls=[(block.id, block.name, json_text(block.input)) for block in message.content if block.type == "tool_use"],
        finish=message.stop_reason or "",
        prompt_tokens=usage.input_tokens
        + (usage.cache_read_input_tokens or 0)
        + (usage.cache_creation_input_tokens or 0),
        completion_tokens=usage.output_tokens,
    )


def extracted_by_google(interaction: Interaction, base_url: str) -> Extracted:
    """By `google-genai`, whose streams are read answer by answer."""
    vertex = interaction.recording.startswith("google-vertex/")
    version = interaction.prefix.split("/")[1]
    options = types.HttpOptions(base_url=base_url, api_version=version)
    with genai.Client(api_key="none", vertexai=vertex, http_options=options) as client:
        asked: Any = {"model": interaction.model, "contents": "?"}
        if interaction.is_stream:
            answers = list(client.models.generate_content_stream(**asked))
        else:
            answers = [client.models.generate_content(**asked)]
    extracted = Extracted()
    for answer in answers:
        _add_answer(extracted, answer)
    return extracted


def _add_answer(extracted: Extracted, answer: types.GenerateContentResponse) -> None:
    extracted.text += answer.text or ""
    for call in answer.function_calls or ():
        extracted.calls.append((call.id, call.name or "", json_text(call.args or {})))
    for candidate in answer.candidates or ():
        extracted.finish = str(candidate.finish_reason.value) if candidate.finish_reason else extracted.finish
    if answer.prompt_feedback and answer.prompt_feedback.block_reason:
        extracted.finish = str(answer.prompt_feedback.block_reason.value)
    usage = answer.usage_metadata
    if usage and usage.prompt_token_count is not None:
        extracted.prompt_tokens = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
        extracted.completion_tokens = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)


def extracted_by_openai(interaction: Interaction, base_url: str) -> Extracted:
    """By `openai`, whose streams are read chunk by chunk."""
    with openai.OpenAI(base_url=base_url + interaction.prefix, api_key="none", max_retries=0) as client:
        asked: Any = {"model": interaction.model, "messages": [{"role": "user", "content": "?"}]}
        if interaction.is_stream:
            return _of_chunks(client.chat.completions.create(**asked, stream=True))
        answer = client.chat.completions.create(**asked)
    (choice,) = answer.choices
    extracted = Extracted(text=choice.message.content or "", finish=choice.finish_reason)
    for call in choice.message.tool_calls or ():
        assert call.type in {"function", None}
        function: Any = getattr(call, "function", None)
        extracted.calls.append((call.id or None, function.name, json_text(json.loads(function.arguments))))
    _add_usage(extracted, answer.usage)
    return extracted


def _of_chunks(chunks: Iterator[Any]) -> Extracted:
    extracted = Extracted()
    calls: list[list[str]] = []
    for chunk in chunks:
        for choice in chunk.choices:
            extracted.text += choice.delta.content or ""
            extracted.finish = choice.finish_reason or extracted.finish
            for fragment in choice.delta.tool_calls or ():
                if fragment.index == len(calls):
                    calls.append([fragment.id, "", ""])
                calls[fragment.index][1] += fragment.function.name or ""
                calls[fragment.index][2] += fragment.function.arguments or ""
        _add_usage(extracted, chunk.usage)
    extracted.calls = [(id_, name, json_text(json.loads(arguments))) for id_, name, arguments in calls]
    return extracted


def _add_usage(extracted: Extracted, usage: CompletionUsage | None) -> None:
    if usage is not None:
        extracted.prompt_tokens, extracted.completion_tokens = usage.prompt_tokens, usage.completion_tokens
