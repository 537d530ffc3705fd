"""From an OpenAI-compatible provider's answer to the contract's. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service.errors import Malformed
from service.json_values import json_object
from service.providers.openai import wire
from service.providers.openai.errors import error_within_answer
from service.providers.openai.finish import finish_reason_of
from service.providers.provider import Identity


def translate_completion(provider: str, body: bytes, identity: Identity) -> pb.ChatCompletion:
    """Translate a whole answer of status 200.

    Raises:
        Malformed: It is no JSON, has a wrong type somewhere, or no choices.
        UpstreamError: It reports a failure.
    """
    with malformed_if_unreadable(provider):
        return _completion(provider, wire.decode_completion(body), identity)


@contextmanager
def malformed_if_unreadable(provider: str) -> Iterator[None]:
    """Make `Malformed` of whatever decoding and building trip over; it quotes nothing of the answer."""
    try:
        yield
    except msgspec.ValidationError as error:
        message = f"The provider's answer is not as its API says: {error}."
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = "The provider's answer is no valid JSON."
    except (ValueError, OverflowError, RecursionError):
        message = "The provider's answer holds a number out of range, or is nested too deeply."
    else:
        return
    raise Malformed(message, metadata={"provider": provider})


def _completion(provider: str, answer: wire.Completion, identity: Identity) -> pb.ChatCompletion:
    if answer.error:
        raise error_within_answer(provider, answer.error)
    if not answer.choices:
        raise Malformed("The provider's answer has no choices.", metadata={"provider": provider})
    completion = pb.ChatCompletion(
        id=answer.id or identity.id,
        object="chat.completion",
        created=created_of(answer) or identity.created,
        model=identity.model,
        choices=[_choice(provider, choice, answer.id or identity.id) for choice in answer.choices],
        usage=usage_of(answer),
        service_tier=answer.service_tier or None,
        system_fingerprint=answer.system_fingerprint or None,
    )
    if answer.moderation is not None:
        completion.moderation.CopyFrom(json_object(answer.moderation))
    return completion


def created_of(answer: wire.Completion) -> int:
    """Seconds since 1970; 0 where there is none that fits."""
    created = answer.created or 0
    return int(created) if 0 < created < 2**32 else 0


def usage_of(answer: wire.Completion) -> pb.Usage | None:
    """The tokens used, wherever the provider tells them."""
    usage = answer.usage or (answer.x_groq.usage if answer.x_groq else None)
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    details = pb.PromptTokensDetails(**_present(prompt)) if prompt else None
    if usage.prompt_cache_hit_tokens is not None and not (details and details.HasField("cached_tokens")):
        details = details or pb.PromptTokensDetails()
        details.cached_tokens = usage.prompt_cache_hit_tokens
    tokens_in, tokens_out = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return pb.Usage(
        prompt_tokens=tokens_in,
        completion_tokens=tokens_out,
        total_tokens=tokens_in + tokens_out if usage.total_tokens is None else usage.total_tokens,
        prompt_tokens_details=details,
        completion_tokens_details=pb.CompletionTokensDetails(**_present(completion)) if completion else None,
    )


def split_content(content: str | list[dict[str, Any]] | None) -> tuple[str | None, str | None]:
    """Text and reasoning of a content that may be a list of parts.

    Mistral shows reasoning so: `[{"type": "thinking", "thinking": [{"type": "text", "text": …}]},
    {"type": "text", "text": …}]`. Source: https://docs.mistral.ai/capabilities/reasoning (2026-11-21).
    """
    if content is None or isinstance(content, str):
        return content, None
    text = [part["text"] for part in content if isinstance(part.get("text"), str)]
    inner = [part["thinking"] for part in content if isinstance(part.get("thinking"), list)]
    reasoning = [
        piece["text"]
        for pieces in inner
        for piece in pieces
        if isinstance(piece, dict) and isinstance(piece.get("text"), str)
    ]
    return "".join(text) if text else None, "".join(reasoning) if reasoning else None


def function_call(function: wire.Function) -> tool_pb2.FunctionCall:
    """Name and arguments; arguments that came as an object become JSON text."""
    arguments = function.arguments
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    return tool_pb2.FunctionCall(name=function.name, arguments=arguments)


def is_custom(call: wire.ToolCall) -> bool:
    """Whether it calls a free-text tool. Where the type is told, an object of the other kind is a placeholder."""
    return call.type == "custom" or (call.type is None and call.function is None and call.custom is not None)


def audio_output(audio: wire.Audio | None) -> pb.AudioOutput | None:
    """The sound; None for an empty placeholder (Snowflake)."""
    if audio is None or not (audio.id or audio.data or audio.transcript or audio.expires_at):
        return None
    return pb.AudioOutput(**_present(audio))


def logprobs_of(logprobs: wire.Logprobs | None) -> pb.Logprobs | None:
    """The log probabilities; None where there are none."""
    if logprobs is None or (logprobs.content is None and logprobs.refusal is None):
        return None
    return pb.Logprobs(
        content=[_token_logprob(token) for token in logprobs.content or ()],
        refusal=[_token_logprob(token) for token in logprobs.refusal or ()],
    )


def _choice(provider: str, choice: wire.Choice, completion_id: str) -> pb.Choice:
    message = choice.message
    if message is None:
        raise Malformed("A choice of the provider's answer has no message.", metadata={"provider": provider})
    # Some providers (Snowflake) leave the reason empty in an answer that is complete.
    finish_reason = finish_reason_of(provider, choice) or ("tool_calls" if message.tool_calls else "stop")
    translated = pb.Choice(
        index=choice.index,
        message=_message(message, f"{completion_id}_{choice.index}"),
        logprobs=logprobs_of(choice.logprobs),
        finish_reason=finish_reason,
    )
    if choice.content_filter_results is not None:
        translated.content_filter_results.CopyFrom(json_object(choice.content_filter_results))
    return translated


def _message(message: wire.Message, id_stem: str) -> pb.AssistantMessage:
    text, reasoning = split_content(message.content)
    call = message.function_call
    return pb.AssistantMessage(
        role="assistant",
        content=text,
        refusal=message.refusal or None,
        tool_calls=[_tool_call(call, f"call_{id_stem}_{i}") for i, call in enumerate(message.tool_calls or ())],
        function_call=function_call(call) if call and call.name else None,
        annotations=[json_object(annotation) for annotation in message.annotations or ()],
        audio=audio_output(message.audio),
        reasoning_content=reasoning or message.reasoning_content or message.reasoning or None,
        reasoning_details=[json_object(detail) for detail in message.reasoning_details or ()],
    )


def _tool_call(call: wire.ToolCall, made_id: str) -> tool_pb2.ToolCall:
    custom = call.custom if is_custom(call) else None
    translated = tool_pb2.ToolCall(
        id=call.id or made_id,
        type="custom" if custom else "function",
        function=function_call(call.function) if call.function and not custom else None,
        custom=tool_pb2.CustomToolCall(name=custom.name, input=custom.input) if custom else None,
    )
    if call.extra_content is not None:
        translated.extra_content.CopyFrom(json_object(call.extra_content))
    return translated


def _token_logprob(token: wire.TokenLogprob) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        bytes=token.bytes,
        top_logprobs=[
            pb.TopLogprob(token=top.token, logprob=top.logprob, bytes=top.bytes) for top in token.top_logprobs or ()
        ],
        empty_top_logprobs=None if token.top_logprobs else NULL_VALUE,
    )


def _present(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if value is not None}
