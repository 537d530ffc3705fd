"""From an OpenAI-compatible provider's answer to the contract's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1.json_pb2 import JsonObject
from service.errors import Malformed
from service.json_values import Json, json_object
from service.providers.openai import wire
from service.providers.openai.error_body import error_of_members
from service.providers.openai.errors import error_within_answer
from service.providers.openai.finish import Finish, finish_of
from service.providers.openai.origin import Origin
from service.providers.openai.sources import has_sources, url_citations
from service.providers.openai.usage import usage_of
from service.providers.reading import UNREADABLE, malformed_by

_Fields = dict[str, Any]
"""A message's fields, as protobuf's constructors take them. None stands for what is not set; messages within each
other are dicts, too, since made ones would be copied."""


class Content(NamedTuple):
    """What a content says."""

    text: str | None
    reasoning: str | None = None
    references: Sequence[dict[str, Json]] = ()
    """Annotations of Mistral's kind."""


def translate_completion(body: bytes, origin: Origin) -> pb.ChatCompletion:
    """Translate a whole answer of status 200.

    Raises:
        Malformed: It is no JSON, has a wrong type somewhere, or no choices.
        UpstreamError: It reports a failure.
    """
    try:
        return _completion(wire.decode_completion(body), origin)
    except UNREADABLE as error:
        raise malformed_by(origin.provider, error) from None


def _completion(answer: wire.Completion, origin: Origin) -> pb.ChatCompletion:
    raise_if_failed(answer, origin)
    identity = origin.identity
    if not answer.choices:
        raise Malformed("The provider's answer has no choices.", metadata={"provider": origin.provider})
    choices = [_choice(origin, choice, answer.id or identity.id) for choice in answer.choices]
    if has_sources(answer):
        choices[0]["message"]["annotations"] += [json_object(citation) for _, citation in url_citations(answer)]
    fields: _Fields = {
        "id": answer.id or identity.id,
        "object": "chat.completion",
        "created": created_of(answer) or identity.created,
        "model": identity.model,
        "choices": choices,
        "usage": usage_of(answer, origin.dialect),
        "service_tier": answer.service_tier or None,
        "system_fingerprint": answer.system_fingerprint or None,
        "moderation": moderation_of(answer),
    }
    return pb.ChatCompletion(**fields)


def raise_if_failed(answer: wire.Completion, origin: Origin) -> None:
    """Raise what a failure that is reported in place of an answer stands for.

    Raises:
        UpstreamError: It is one.
    """
    reported = answer.error or (answer.x_groq.error if answer.x_groq else None)
    if not reported and answer.object == "error":  # vLLM, Mistral
        reported = error_of_members(message=answer.message, kind=answer.type, code=answer.code, param=answer.param)
    if reported:
        raise error_within_answer(origin.provider, reported, origin.dialect.error_reasons)


def moderation_of(answer: wire.Completion) -> JsonObject | None:
    """What was found in input and output; Azure's filter of the prompt belongs to no choice."""
    moderation = answer.moderation
    if answer.prompt_filter_results:
        moderation = {**(moderation or {}), "prompt_filter_results": answer.prompt_filter_results}
    return None if moderation is None else json_object(moderation)


def created_of(answer: wire.Completion) -> int:
    """Seconds since 1970; 0 where there is none that fits."""
    created = answer.created or 0
    return int(created) if 0 < created < 2**32 else 0


def split_content(content: list[dict[str, Any]], start: int = 0) -> Content:
    """Text, reasoning and references of a content that is a list of parts, whose text begins at `start`.

    Mistral shows reasoning as `{"type": "thinking", "thinking": [{"type": "text", "text": …}]}`, and the
    sources of the text before as `{"type": "reference", "reference_ids": […]}`, which becomes an annotation
    with the place as `end_index`.
    Source: https://docs.mistral.ai/capabilities/reasoning, https://docs.mistral.ai/capabilities/citations
    (2026-11-21).
    """
    texts: list[str] = []
    reasoning: list[str] = []
    references: list[dict[str, Json]] = []
    for part in content:
        match part:
            case {"text": str(text)}:
                texts.append(text)
            case {"thinking": list(pieces)}:
                reasoning += [
                    piece["text"] for piece in pieces if isinstance(piece, dict) and isinstance(piece.get("text"), str)
                ]
            case {"type": "reference", "reference_ids": list(ids)}:
                place = start + sum(map(len, texts))
                references.append({"type": "reference", "reference_ids": ids, "end_index": place})
    return Content("".join(texts) if texts else None, "".join(reasoning) if reasoning else None, references)


def arguments_of(function: wire.Function) -> str | None:
    """The arguments, or a piece of them; those that came as an object become JSON text."""
    if isinstance(function.arguments, dict):
        return msgspec.json.encode(function.arguments).decode()
    return function.arguments


def is_custom(call: wire.ToolCall) -> bool:
    """Whether it calls a free-text tool. Where the type is told, an object of the other kind is a placeholder."""
    return call.type == "custom" or (call.type is None and call.function is None and call.custom is not None)


def audio_output(audio: wire.Audio | None) -> _Fields | None:
    """The sound's fields; None for an empty placeholder (Snowflake)."""
    if audio is None or not (audio.id or audio.data or audio.transcript or audio.expires_at):
        return None
    return msgspec.structs.asdict(audio)


def logprobs_of(logprobs: wire.Logprobs | None) -> _Fields | None:
    """The fields of the log probabilities; None where there are none, be it that a list is empty."""
    if logprobs is None or not (logprobs.content or logprobs.refusal):
        return None
    return {
        "content": [_token_logprob(token) for token in logprobs.content or ()],
        "refusal": [_token_logprob(token) for token in logprobs.refusal or ()],
    }


def tool_runs(tools: Iterable[dict[str, Any]]) -> list[JsonObject]:
    """Groq's own tool runs, as entries of `provider_content`; the API does not take them back.

    Source: https://console.groq.com/docs/compound (2026-11-22) and the recordings of groq.
    """
    return [json_object({"format": "groq", "block": tool}) for tool in tools]


def _choice(origin: Origin, choice: wire.Choice, completion_id: str) -> _Fields:
    message = choice.message
    if message is None:
        raise Malformed("A choice of the provider's answer has no message.", metadata={"provider": origin.provider})
    # Some providers (Snowflake, xAI) leave the reason empty in an answer that is complete.
    finish = finish_of(origin, choice) or Finish("tool_calls" if message.tool_calls else "stop")
    index = choice.index or 0
    filtered = choice.content_filter_results
    return {
        "index": index,
        "message": _message(message, f"{completion_id}_{index}"),
        "logprobs": logprobs_of(choice.logprobs),
        "finish_reason": finish.reason,
        "native_finish_reason": finish.native,
        "stop_sequence": finish.stop_sequence,
        "content_filter_results": None if filtered is None else json_object(filtered),
    }


def _whole_call(function: wire.Function) -> _Fields:
    """A call without arguments has empty ones, as the pieces of a stream join to."""
    return {"name": function.name, "arguments": arguments_of(function) or ""}


def _message(message: wire.Message, id_stem: str) -> _Fields:
    content = message.content
    text, reasoning, references = split_content(content) if isinstance(content, list) else (content, None, ())
    call = message.function_call
    return {
        "role": "assistant",
        "content": text,
        "refusal": message.refusal or None,
        "tool_calls": [_tool_call(call, f"call_{id_stem}_{i}") for i, call in enumerate(message.tool_calls or ())],
        "function_call": _whole_call(call) if call and call.name else None,
        "annotations": [json_object(annotation) for annotation in (*(message.annotations or ()), *references)],
        "audio": audio_output(message.audio) if message.audio else None,
        "reasoning_content": reasoning or message.reasoning_content or message.reasoning or None,
        "reasoning_details": [json_object(detail) for detail in message.reasoning_details or ()],
        "provider_content": tool_runs(message.executed_tools) if message.executed_tools else (),
    }


def _tool_call(call: wire.ToolCall, made_id: str) -> _Fields:
    custom = call.custom if is_custom(call) else None
    return {
        "id": call.id or made_id,
        "type": "custom" if custom else "function",
        "function": _whole_call(call.function) if call.function and not custom else None,
        "custom": {"name": custom.name, "input": custom.input or ""} if custom else None,
        "extra_content": None if call.extra_content is None else json_object(call.extra_content),
    }


def _token_logprob(token: wire.TokenLogprob) -> _Fields:
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": token.bytes,
        "top_logprobs": [msgspec.structs.asdict(top) for top in token.top_logprobs or ()],
        "empty_top_logprobs": None if token.top_logprobs else NULL_VALUE,
    }
