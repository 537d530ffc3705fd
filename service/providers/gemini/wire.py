"""What Gemini sends, as far as the contract has a place for it.

Parts are kept as raw JSON by name: what is no text and no function call goes through as it is.

Source: https://ai.google.dev/api/generate-content and
https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (2026-11-22), by
google-genai 3.4, and recorded traffic of both.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import msgspec

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**16)]
Part: TypeAlias = dict[str, msgspec.Raw]

NULL: Final = msgspec.Raw(b"null")


class FunctionCall(msgspec.Struct, rename="camel"):
    """A function that the model calls."""

    name: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")
    """An object. Left out where there are no arguments."""
    id: str | None = None
    """Mostly left out. Source: recordings google/test_google_instructions_only_with_tool_calls and others."""
    partial_args: list[Any] | None = None
    """Vertex AI, where `streamFunctionCallArguments` was asked for."""


class Content(msgspec.Struct):
    """What the model wrote; may be empty, as recorded in google/test_google_model_safety_settings."""

    parts: list[Part] | None = None


class Source(msgspec.Struct, rename="camel"):
    """Where a piece of knowledge is from."""

    uri: str | None = None
    title: str | None = None
    source_uri: str | None = None
    """Of images: the page that shows it; `uri` is absent there."""


class GroundingChunk(msgspec.Struct, rename="camel"):
    """A source, by its kind."""

    web: Source | None = None
    retrieved_context: Source | None = None
    maps: Source | None = None
    image: Source | None = None


class Segment(msgspec.Struct, rename="camel"):
    """A piece of the answer's text, in bytes of UTF-8."""

    start_index: int | None = None
    end_index: int | None = None
    text: str | None = None


class GroundingSupport(msgspec.Struct, rename="camel"):
    """Which sources a piece of the text rests on."""

    segment: Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class Citation(msgspec.Struct, rename="camel"):
    """A text that the answer quotes, in bytes of UTF-8."""

    start_index: int | None = None
    end_index: int | None = None
    uri: str | None = None
    title: str | None = None
    license: str | None = None


class CitationMetadata(msgspec.Struct, rename="camel"):
    """The texts that the answer quotes."""

    citation_sources: list[Citation] | None = None
    """The Gemini API's name."""
    citations: list[Citation] | None = None
    """Vertex AI's name."""


class TokenLogprob(msgspec.Struct, rename="camel"):
    """A token with its log probability; what is 0 or empty is left out."""

    token: str = ""
    log_probability: float = 0.0


class TopCandidates(msgspec.Struct):
    """The likeliest tokens at a place."""

    candidates: list[TokenLogprob] | None = None


class LogprobsResult(msgspec.Struct, rename="camel"):
    """Log probabilities of the tokens of an answer, or of a piece of it."""

    chosen_candidates: list[TokenLogprob] | None = None
    top_candidates: list[TopCandidates] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One answer, or within a stream a piece of one."""

    content: Content | None = None
    index: Index | None = None
    finish_reason: str | None = None
    safety_ratings: list[dict[str, Any]] | None = None
    grounding_metadata: dict[str, msgspec.Raw] | None = None
    url_context_metadata: dict[str, Any] | None = None
    citation_metadata: CitationMetadata | None = None
    logprobs_result: LogprobsResult | None = None


class PromptFeedback(msgspec.Struct, rename="camel"):
    """What the safety system says of the prompt."""

    block_reason: str | None = None
    safety_ratings: list[dict[str, Any]] | None = None


class ModalityCount(msgspec.Struct, rename="camel"):
    """Tokens of one kind."""

    modality: str = "TEXT"
    token_count: Count = 0


class Usage(msgspec.Struct, rename="camel"):
    """Tokens used; what is 0 is left out."""

    prompt_token_count: Count | None = None
    """Without what the provider's own tools found."""
    tool_use_prompt_token_count: Count | None = None
    candidates_token_count: Count | None = None
    """Without thoughts."""
    thoughts_token_count: Count | None = None
    total_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    prompt_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None
    service_tier: str | None = None
    """The Gemini API's."""
    traffic_type: str | None = None
    """Vertex AI's."""


class Error(msgspec.Struct):
    """A `google.rpc.Status` as JSON. The message is only looked at, and never shown."""

    code: int | None = None
    status: str | None = None
    message: str | None = None
    details: list[dict[str, Any]] | None = None


class Answer(msgspec.Struct, rename="camel"):
    """An answer, or an event of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: Usage | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: Error | None = None


class ErrorAnswer(msgspec.Struct):
    """The body of an answer whose status tells of a failure."""

    error: Error | None = None


_decode_answer: Final = msgspec.json.Decoder(Answer).decode
_decode_answers: Final = msgspec.json.Decoder(list[Answer]).decode
_decode_error: Final = msgspec.json.Decoder(ErrorAnswer).decode
_decode_errors: Final = msgspec.json.Decoder(list[ErrorAnswer]).decode

decode_string: Final = msgspec.json.Decoder(str).decode
decode_boolean: Final = msgspec.json.Decoder(bool).decode
decode_function_call: Final = msgspec.json.Decoder(FunctionCall).decode
decode_arguments: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
decode_objects: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None).decode
decode_chunk: Final = msgspec.json.Decoder(GroundingChunk).decode
decode_support: Final = msgspec.json.Decoder(GroundingSupport).decode

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for bytes that are not what they should be."""


def decode_answer(data: bytes) -> Answer:
    """Decode an answer or an event; raises one of `UNREADABLE`.

    A failure may come within an array of one. Source:
    https://github.com/google-gemini/gemini-cli/issues/14811 (2026-11-22).
    """
    if data.lstrip().startswith(b"["):
        answers = _decode_answers(data)
        return answers[0] if answers else Answer()
    return _decode_answer(data)


def decode_error(data: bytes) -> Error:
    """Decode the body of a failure, an empty one where it says nothing; raises one of `UNREADABLE`."""
    if data.lstrip().startswith(b"["):
        answers = _decode_errors(data)
        return answers[0].error or Error() if answers else Error()
    return _decode_error(data).error or Error()
