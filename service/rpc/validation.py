"""What a request must be like before anything is sent to a provider.

The first thing that is wrong is told, by its parameter and with what would be right. Values are
never repeated: they may be parts of a prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import Reason, RequestError, invalid, missing
from service.rpc.validation_json import settle_json
from service.rpc.validation_messages import check_messages
from service.rpc.validation_stored import check_alias, check_labels, check_tags, check_text, check_uuid
from service.rpc.validation_tools import (
    check_function_call,
    check_functions,
    check_response_format,
    check_tools,
)

_MAX_STOP: Final = 4
_MAX_CHOICES: Final = 128
_MAX_COUNT: Final = 2**31 - 1
_CHOICES: Final[dict[str, frozenset[str]]] = {
    "verbosity": frozenset({"low", "medium", "high"}),
    "reasoning_effort": frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"}),
    "reasoning_format": frozenset({"parsed", "raw", "hidden"}),
    "on_disconnect": frozenset({"cancel", "drain"}),
    "prompt_cache_retention": frozenset({"in_memory", "in-memory", "24h"}),
}
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "max_tokens": (0, _MAX_COUNT),
    "max_completion_tokens": (0, _MAX_COUNT),
    "n": (0, _MAX_CHOICES),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "top_logprobs": (0, 20),
    "top_k": (0, _MAX_COUNT),
    "min_p": (0, 1),
    "top_a": (0, 1),
    "typical_p": (0, 1),
    "repetition_penalty": (0, 2),
    "min_tokens": (0, _MAX_COUNT),
    "thinking_budget": (0, _MAX_COUNT),
    "max_ttft_ms": (0, _MAX_COUNT),
}
_LENGTHS: Final[dict[str, int]] = {"user": 256, "safety_identifier": 128, "ab_campaign": 256}

Check = Callable[[str, Any, ChatCompletionRequest], None]


def validate(request: ChatCompletionRequest, *, stream: bool) -> None:
    """Check `request`, which came to the streaming RPC or, with `stream=False`, to the unary one.

    One that is to be stored is made fit to be printed again, see `settle_json`.

    Raises:
        RequestError: PARAMETER_MISSING, PARAMETER_INVALID or PARAMETER_UNSUPPORTED, with `param`.
    """
    if not request.model:
        raise missing("model", "the id of a model")
    check_messages(request.messages)
    for field, value in request.ListFields():
        check = _CHECK_OF.get(field)
        if check is not None:
            check(field.name, value, request)
    if request.HasField("stream") and request.stream != stream:
        raise _stream_mismatch(stream=stream)
    if request.HasField("stream_options") and not stream:
        raise invalid("stream_options", "left out unless `stream` is true")
    if request.store:
        settle_json(request)


def _stream_mismatch(*, stream: bool) -> RequestError:
    if stream:
        message = "`stream` is false, but StreamChatCompletion was called: leave it out, or call CreateChatCompletion."
    else:
        message = "`stream` must be a JSON boolean over REST; gRPC callers who want a stream call StreamChatCompletion."
    return RequestError(Reason.PARAMETER_INVALID, message, param="stream")


def _check_range(name: str, value: float, _request: ChatCompletionRequest) -> None:
    low, high = _RANGES[name]
    if not low <= value <= high:  # also true of NaN
        raise invalid(name, f"at least {low}" if high == _MAX_COUNT else f"a number from {low} to {high}")


def _check_choice(name: str, value: str, _request: ChatCompletionRequest) -> None:
    if value not in _CHOICES[name]:
        raise invalid(name, "one of " + ", ".join(f'"{choice}"' for choice in sorted(_CHOICES[name])))


def _check_length(name: str, value: str, _request: ChatCompletionRequest) -> None:
    check_text(name, value, _LENGTHS[name])


def _check_labels(name: str, value: Any, request: ChatCompletionRequest) -> None:
    check_labels(name, value)
    check_alias(request.labels, request.metadata)


def _check_repetition_penalty(name: str, value: float, request: ChatCompletionRequest) -> None:
    if value == 0:
        raise invalid(name, "a number above 0 and up to 2")
    _check_range(name, value, request)


def _check_max_completion_tokens(name: str, value: int, request: ChatCompletionRequest) -> None:
    _check_range(name, value, request)
    if value and request.max_tokens and request.max_tokens != value:
        raise invalid(name, "equal to `max_tokens` where both are given")


def _check_stop(_name: str, value: Any, _request: ChatCompletionRequest) -> None:
    if len(value) > _MAX_STOP:
        raise invalid("stop", f"a string, or an array of at most {_MAX_STOP} strings")
    for index, sequence in enumerate(value):
        if not sequence:
            raise invalid(f"stop[{index}]", "a string that is not empty")


def _check_top_logprobs(name: str, value: int, request: ChatCompletionRequest) -> None:
    _check_range(name, value, request)
    if value and not request.logprobs:
        raise invalid("logprobs", "true where `top_logprobs` is given")


def _check_logit_bias(name: str, value: Any, _request: ChatCompletionRequest) -> None:
    for token, bias in value.items():
        if not (token.isascii() and token.isdecimal()):
            raise invalid(name, "an object whose keys are token ids in decimal digits")
        if not -100 <= bias <= 100:  # noqa: PLR2004 - the API's range
            raise invalid(name, "an object whose values are numbers from -100 to 100")


def _check_modalities(_name: str, value: Any, _request: ChatCompletionRequest) -> None:
    for index, modality in enumerate(value):
        if modality not in {"text", "audio", "image"}:
            raise invalid(f"modalities[{index}]", '"text", "audio" or "image"')


def _check_audio(_name: str, value: Any, _request: ChatCompletionRequest) -> None:
    if not value.format:
        raise missing("audio.format", "the format of the sound")
    if value.voice.WhichOneof("kind") not in {"string_value", "struct_value"}:
        raise invalid("audio.voice", "the name of a voice, or an object with its id")


def _check_prediction(_name: str, value: Any, _request: ChatCompletionRequest) -> None:
    if value.type != "content":
        raise invalid("prediction.type", '"content"')
    if value.content.WhichOneof("kind") not in {"string_value", "list_value"}:
        raise invalid("prediction.content", "a string or an array of text parts")


def _check_extra_body(_name: str, value: Any, _request: ChatCompletionRequest) -> None:
    fields = ChatCompletionRequest.DESCRIPTOR.fields_by_name
    for entry in value.fields:
        if entry.key in fields:
            # The name is one of the contract's, so it can be told.
            raise invalid(f"extra_body.{entry.key}", f"given as `{entry.key}`, not within `extra_body`")


_CHECKS: Final[dict[str, Check]] = {
    **dict.fromkeys(_RANGES, _check_range),
    **dict.fromkeys(_CHOICES, _check_choice),
    **dict.fromkeys(_LENGTHS, _check_length),
    **dict.fromkeys(("labels", "metadata"), _check_labels),
    "repetition_penalty": _check_repetition_penalty,
    "max_completion_tokens": _check_max_completion_tokens,
    "stop": _check_stop,
    "top_logprobs": _check_top_logprobs,
    "logit_bias": _check_logit_bias,
    "modalities": _check_modalities,
    "audio": _check_audio,
    "prediction": _check_prediction,
    "extra_body": _check_extra_body,
    "session_id": lambda name, value, _request: check_uuid(name, value),
    "tags": lambda name, value, _request: check_tags(name, value),
    "tools": lambda _name, value, _request: check_tools(value),
    "function_call": lambda _name, value, request: check_function_call(value, request.functions),
    "functions": lambda _name, value, request: check_functions(value, request.tools),
    "response_format": lambda _name, value, _request: check_response_format(value),
}
_CHECK_OF: Final = {
    field: _CHECKS[field.name] for field in ChatCompletionRequest.DESCRIPTOR.fields if field.name in _CHECKS
}
"""By descriptor, whose name takes longer to read than to look it up."""
