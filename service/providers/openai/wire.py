"""What OpenAI-compatible providers send, as far as the contract has a place for it.

The shapes are lenient where real providers differ (each such place says who) and strict in types,
so that an answer of another form is found here, with its path, and not later.

Source: https://platform.openai.com/docs/api-reference/chat (2026-11-21, by openai-python 3.54), and
recorded traffic of the providers named.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]


class Function(msgspec.Struct):
    """Name and arguments of a call, or a fragment of them."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    """Mistral may send an object in place of JSON text."""


class Custom(msgspec.Struct):
    """Name and input of a call of a free-text tool, or a fragment of them."""

    name: str | None = None
    input: str | None = None


class ToolCall(msgspec.Struct):
    """A call, or within a stream a fragment of one."""

    index: Index | None = None
    """Google's compatible endpoint leaves it out."""
    id: str | None = None
    """Google's compatible endpoint may send an empty one."""
    type: str | None = None
    """Mistral leaves it out."""
    function: Function | None = None
    custom: Custom | None = None
    extra_content: dict[str, Any] | None = None
    """Google's compatible endpoint: thought signatures."""


class Audio(msgspec.Struct):
    """A spoken answer, or a piece of one."""

    id: str | None = None
    data: str | None = None
    expires_at: Count | None = None
    transcript: str | None = None


class Message(msgspec.Struct):
    """A whole message, or within a stream a delta."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    """Mistral sends a list of parts when it shows its reasoning."""
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: Audio | None = None
    reasoning_content: str | None = None
    """DeepSeek, Z.ai, llama.cpp."""
    reasoning: str | None = None
    """Groq, Cerebras, OpenRouter, Ollama: another name of `reasoning_content`."""
    reasoning_details: list[dict[str, Any]] | None = None
    """OpenRouter, Snowflake."""
    executed_tools: list[dict[str, Any]] | None = None
    """Groq: tools that it ran itself."""


class TopLogprob(msgspec.Struct):
    """One of the likeliest tokens at a place."""

    token: str
    logprob: float
    bytes: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | None = None


class TokenLogprob(TopLogprob):
    """A token with its log probability."""

    top_logprobs: list[TopLogprob] | None = None


class Logprobs(msgspec.Struct):
    """Log probabilities of the tokens of an answer."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None


class PromptTokensDetails(msgspec.Struct):
    """Parts of the prompt's tokens."""

    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None
    text_tokens: Count | None = None
    video_tokens: Count | None = None


class CompletionTokensDetails(msgspec.Struct):
    """Parts of the answers' tokens."""

    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    accepted_prediction_tokens: Count | None = None
    rejected_prediction_tokens: Count | None = None
    text_tokens: Count | None = None
    image_tokens: Count | None = None


class Usage(msgspec.Struct):
    """Tokens used."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_cache_hit_tokens: Count | None = None
    """DeepSeek: tokens of the prompt that were read from its cache."""
    num_cached_tokens: Count | None = None
    """Mistral: likewise."""
    cached_tokens: Count | None = None
    """Together: likewise."""
    cost: Any = None
    """OpenRouter: what it charges; of other forms elsewhere (Perplexity)."""
    is_byok: bool | None = None
    """OpenRouter: whether the provider behind it charges its own part, by `cost_details`."""
    cost_details: Any = None
    cost_in_usd_ticks: Any = None
    """xAI."""
    server_tool_use_details: Any = None
    """OpenRouter: counts by name."""
    server_side_tool_usage_details: Any = None
    """xAI: likewise."""
    num_sources_used: Any = None
    """xAI: of its live search."""


class Error(msgspec.Struct):
    """A provider's report of a failure. What it wrote is looked at, and never shown."""

    type: str | None = None
    param: Any = None
    code: str | int | None = None
    status_code: int | None = None
    """Groq, within streams."""
    message: Any = None
    metadata: Any = None
    """OpenRouter: says of an input that was flagged, why."""
    innererror: Any = None
    """Azure OpenAI: has a code of its own."""


class GroqExtra(msgspec.Struct):
    """Groq's own object in the chunks of a stream."""

    usage: Any = None
    """Present in the last chunk, where `usage` itself may be absent."""
    error: Error | str | None = None
    """Why the answer breaks off."""


class Choice(msgspec.Struct):
    """One answer, or within a stream a piece of one."""

    error: Error | str | None = None
    """OpenRouter reports failures of the provider behind it here."""
    index: Index | None = None
    """Left out by some, or null: the first."""
    message: Message | None = None
    delta: Message | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    native_finish_reason: Any = None
    """OpenRouter: the word of the provider behind it."""
    stop_reason: Any = None
    """vLLM: the stop sequence, or the id of a token; with others, of other meanings."""
    matched_stop: Any = None
    """SGLang: likewise."""
    content_filter_results: dict[str, Any] | None = None
    """Azure OpenAI."""


class Completion(msgspec.Struct):
    """An answer, or a chunk of one."""

    id: str | None = None
    object: Any = None
    """vLLM and Mistral report failures as an object named "error", whose members are these four."""
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None
    created: float | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    moderation: dict[str, Any] | None = None
    prompt_filter_results: list[dict[str, Any]] | None = None
    """Azure OpenAI: of its content filter, about the prompt."""
    citations: Any = None
    """xAI, Perplexity: the addresses of sources."""
    search_results: Any = None
    """Perplexity: sources with `url` and `title`."""
    web_search: Any = None
    """Z.ai: sources with `link` and `title`."""
    error: Error | str | None = None
    """OpenRouter reports failures in an answer of status 200; some send a mere string."""
    x_groq: GroqExtra | None = None


class ErrorAnswer(msgspec.Struct):
    """The body of an answer whose status tells of a failure.

    Mistral, vLLM, Cerebras and xAI have the error's members at the top; FastAPI has a `detail`.
    """

    error: Error | str | None = None
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None
    detail: Any = None
    error_type: Any = None
    """text-generation-inference, beside an `error` that is a text."""
    estimated_time: Any = None
    """Hugging Face: seconds until a model is loaded."""


class OddCompletion(Completion):
    """One whose usage is not as it should be, which is no reason to fail an answer that is there."""

    usage: Any = None


def decode_completion(body: bytes) -> Completion:
    """Decode an answer or a chunk.

    Raises:
        DecodeError: One of `UNREADABLE`; msgspec.ValidationError tells the path.
    """
    try:
        return _decode_completion(body)
    except msgspec.ValidationError:
        return _decode_odd_completion(body)


_decode_completion = msgspec.json.Decoder(Completion).decode
_decode_odd_completion = msgspec.json.Decoder(OddCompletion).decode


def has_more(delta: Message) -> bool:
    """Whether it has anything beyond role, content, reasoning in text and tool calls."""
    return bool(
        delta.refusal
        or delta.function_call
        or delta.annotations
        or delta.audio
        or delta.reasoning_details
        or delta.executed_tools
    )


decode_error = msgspec.json.Decoder(ErrorAnswer).decode
"""Decodes the body of a failure; raises one of `UNREADABLE`."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What both raise for bytes that are not what they should be."""
