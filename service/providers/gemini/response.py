"""From Gemini's whole answer to the contract's. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service.errors import Malformed
from service.json_values import json_object, object_to_json
from service.providers.gemini import wire
from service.providers.gemini.candidate import CandidateReader
from service.providers.gemini.details import merged_details
from service.providers.gemini.errors import error_within_answer
from service.providers.gemini.finish import finish_of
from service.providers.gemini.server_tools import ServerTools
from service.providers.provider import Identity, ProviderCall
from service.providers.reading import malformed_if_unreadable

_MODALITY_FIELDS: Final = {
    "TEXT": "text_tokens",
    "IMAGE": "image_tokens",
    "AUDIO": "audio_tokens",
    "VIDEO": "video_tokens",
}
"""DOCUMENT has no field in the contract."""
_USUAL_TRAFFIC: Final = frozenset({"", "ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED"})
"""Of Vertex AI's traffic types those at the list price. Source: google-genai 3.4, TrafficType."""


def translate_completion(provider: str, body: bytes, call: ProviderCall) -> pb.ChatCompletion:
    """Translate a whole answer of status 200.

    A blocked prompt is one choice without content, with the finish reason "content_filter".

    Raises:
        Malformed: It is no JSON, has a wrong type somewhere, or neither candidates nor a block.
        UpstreamError: It reports a failure, or a candidate ended in one.
    """
    with malformed_if_unreadable(provider):
        return _completion(provider, wire.decode_answer(body), call.identity)


def _completion(provider: str, answer: wire.Answer, identity: Identity) -> pb.ChatCompletion:
    if answer.error is not None:
        raise error_within_answer(provider, answer.error)
    completion_id = answer.response_id or identity.id
    server_tools = ServerTools()
    if answer.candidates:
        choices = []
        for index, candidate in numbered(provider, answer.candidates):
            reader = CandidateReader(provider, f"{completion_id}_{index}", server_tools)
            choices.append(_choice(provider, index, candidate, reader))
    elif (feedback := answer.prompt_feedback) is not None and feedback.block_reason:
        choices = [_blocked(feedback)]
    else:
        raise Malformed("The provider's answer has no candidates.", metadata={"provider": provider})
    return pb.ChatCompletion(
        id=completion_id,
        object="chat.completion",
        created=created_of(answer) or identity.created,
        model=identity.model,
        choices=choices,
        usage=usage_of(answer.usage_metadata, server_tools),
        service_tier=service_tier_of(answer.usage_metadata),
    )


def numbered(provider: str, candidates: list[wire.Candidate]) -> list[tuple[int, wire.Candidate]]:
    """The candidates by the number of their choice.

    As in all of protobuf's JSON a 0 may be left out; where none has a number, they are counted.

    Raises:
        Malformed: Two have the same number.
    """
    is_told = any(candidate.index is not None for candidate in candidates)
    by_number = {candidate.index or 0 if is_told else place: candidate for place, candidate in enumerate(candidates)}
    if len(by_number) < len(candidates):
        message = "Two candidates of the provider's answer have the same number."
        raise Malformed(message, metadata={"provider": provider})
    return sorted(by_number.items())


def created_of(answer: wire.Answer) -> int:
    """Seconds since 1970, of Vertex AI's `createTime` (RFC 3339); 0 where there is none that fits."""
    try:
        created = datetime.fromisoformat(answer.create_time or "")
    except ValueError:
        return 0
    seconds = created.timestamp() if created.tzinfo else 0
    return int(seconds) if 0 < seconds < 2**32 else 0


def usage_of(usage: wire.Usage | None, server_tools: ServerTools) -> pb.Usage | None:
    """What was used; None where no count of tokens is told, as for a prompt that was blocked.

    Thoughts, and what the provider's own tools found, are counted beside the rest there and within it here.
    Source: https://ai.google.dev/api/generate-content#UsageMetadata (2026-11-22).
    """
    if usage is None:
        return None
    prompt, found = usage.prompt_token_count, usage.tool_use_prompt_token_count
    written, thoughts = usage.candidates_token_count, usage.thoughts_token_count
    if all(count is None for count in (prompt, found, written, thoughts, usage.total_token_count)):
        return None
    tokens_in, tokens_out = (prompt or 0) + (found or 0), (written or 0) + (thoughts or 0)
    total = tokens_in + tokens_out if usage.total_token_count is None else usage.total_token_count
    of_prompt = pb.PromptTokensDetails(
        cached_tokens=usage.cached_content_token_count,
        tool_use_tokens=found,
        **_by_modality(usage.prompt_tokens_details, pb.PromptTokensDetails),
    )
    of_answer = pb.CompletionTokensDetails(
        reasoning_tokens=thoughts, **_by_modality(usage.candidates_tokens_details, pb.CompletionTokensDetails)
    )
    return pb.Usage(
        prompt_tokens=tokens_in,
        completion_tokens=tokens_out,
        total_tokens=total,
        prompt_tokens_details=of_prompt if of_prompt.ListFields() else None,
        completion_tokens_details=of_answer if of_answer.ListFields() else None,
        server_tool_use=server_tools.counts(),
    )


def service_tier_of(usage: wire.Usage | None) -> str | None:
    """The class of processing, where the provider tells one.

    Vertex AI tells types of traffic: ON_DEMAND_FLEX is its "flex", and what is not on demand goes by its name.
    """
    if usage is None:
        return None
    traffic = usage.traffic_type or ""
    other = None if traffic in _USUAL_TRAFFIC else traffic.removeprefix("ON_DEMAND_").lower()
    return usage.service_tier or other


def logprobs_of(result: wire.LogprobsResult | None) -> pb.Logprobs | None:
    """The log probabilities; None where there are none. The provider tells no bytes."""
    if result is None or not result.chosen_candidates:
        return None
    tops = result.top_candidates or []
    return pb.Logprobs(
        content=[
            _token_logprob(token, tops[place].candidates if place < len(tops) else None)
            for place, token in enumerate(result.chosen_candidates)
        ]
    )


def filter_results(ratings: list[dict[str, Any]] | None, block_reason: str | None = None) -> dict[str, Any]:
    """What the safety system says of something that it blocked."""
    told = {"block_reason": block_reason, "safety_ratings": ratings}
    return {name: value for name, value in told.items() if value}


def end_choice(choice: pb.Choice, provider: str, reader: CandidateReader) -> None:
    """Tell the choice why it ended.

    Raises:
        UpstreamError: The reason is a failure.
    """
    reason = reader.finish_reason or "FINISH_REASON_UNSPECIFIED"  # a default, which the API leaves out
    finish = finish_of(provider, reason, has_calls=bool(reader.calls))
    choice.finish_reason = finish.reason
    if finish.native is not None:
        choice.native_finish_reason = finish.native
    is_blocked = finish.reason == "content_filter" or any(rating.get("blocked") for rating in reader.ratings)
    if is_blocked and (results := filter_results(reader.ratings)):
        choice.content_filter_results.CopyFrom(json_object(results))


def end_blocked(choice: pb.Choice, feedback: wire.PromptFeedback) -> None:
    """Tell the choice that the prompt was blocked."""
    choice.finish_reason = "content_filter"
    choice.native_finish_reason = feedback.block_reason or ""
    results = filter_results(feedback.safety_ratings, feedback.block_reason)
    choice.content_filter_results.CopyFrom(json_object(results))


def _blocked(feedback: wire.PromptFeedback) -> pb.Choice:
    choice = pb.Choice(index=0, message=pb.AssistantMessage(role="assistant"))
    end_blocked(choice, feedback)
    return choice


def _choice(provider: str, index: int, candidate: wire.Candidate, reader: CandidateReader) -> pb.Choice:
    said, last = reader.read(candidate), reader.finish()
    details = merged_details([object_to_json(detail) for detail in said.reasoning_details])
    message = pb.AssistantMessage(
        role="assistant",
        content=said.content or None,
        tool_calls=[_whole(call) for call in said.tool_calls],
        annotations=last.annotations,
        reasoning_content=said.reasoning_content or None,
        reasoning_details=[json_object(detail) for detail in details],
        provider_content=[*said.provider_content, *last.provider_content],
    )
    choice = pb.Choice(index=index, message=message, logprobs=logprobs_of(candidate.logprobs_result))
    end_choice(choice, provider, reader)
    return choice


def _whole(call: tool_pb2.ToolCallDelta) -> tool_pb2.ToolCall:
    extra = call.extra_content if call.HasField("extra_content") else None
    return tool_pb2.ToolCall(id=call.id, type=call.type, function=call.function, extra_content=extra)


def _by_modality(counts: list[wire.ModalityCount] | None, details: Any) -> dict[str, int]:
    """Tokens by the names of the fields that `details` has."""
    told: dict[str, int] = {}
    for count in counts or ():
        name = _MODALITY_FIELDS.get(count.modality, "")
        if name in details.DESCRIPTOR.fields_by_name:
            told[name] = told.get(name, 0) + count.token_count
    return told


def _token_logprob(token: wire.TokenLogprob, tops: list[wire.TokenLogprob] | None) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        token=token.token,
        logprob=token.log_probability,
        top_logprobs=[pb.TopLogprob(token=top.token, logprob=top.log_probability) for top in tops or ()],
        empty_top_logprobs=None if tops else NULL_VALUE,
    )
