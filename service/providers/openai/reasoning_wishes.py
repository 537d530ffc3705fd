"""Whether the ways in which a request asks for reasoning agree with each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.json_pb2 import JsonObject
from service.errors import invalid

WAYS: Final = frozenset({"reasoning_effort", "thinking", "reasoning", "enable_thinking", "thinking_budget"})
"""The parameters that are looked at. What `chat_template_kwargs` says is a template's own."""

_Wish = tuple[str, str, object]
"""The parameter, what it is about ("on", "effort" or "budget"), and what it says of that."""


def check_reasoning(request: ChatCompletionRequest, *, has_one_amount: bool) -> None:
    """Refuse a parameter that contradicts one before it.

    Args:
        request: Validated; its parameters come in the order of their numbers in the contract.
        has_one_amount: Whether an effort and a budget exclude each other.

    Raises:
        RequestError: PARAMETER_INVALID, of the second of the two.
    """
    told: dict[str, tuple[object, str]] = {}
    for param, about, value in _wishes(request):
        earlier, by = told.setdefault(about, (value, param))
        if earlier != value:
            raise invalid(param, f"in accord with `{by}`, or left out")
        other = {"effort": "budget", "budget": "effort"}.get(about, "")
        if has_one_amount and other in told:
            raise invalid(param, f"left out where `{told[other][1]}` says how much to reason")


def _wishes(request: ChatCompletionRequest) -> Iterator[_Wish]:
    if request.reasoning_effort:
        yield from _of_effort("reasoning_effort", request.reasoning_effort)
    if request.HasField("thinking"):
        yield from _of_thinking(request.thinking)
    if request.HasField("reasoning"):
        yield from _of_reasoning(request.reasoning)
    if request.HasField("enable_thinking"):
        yield "enable_thinking", "on", request.enable_thinking
    if request.HasField("thinking_budget"):
        yield from _of_budget("thinking_budget", request.thinking_budget)


def _of_effort(param: str, effort: str) -> Iterator[_Wish]:
    yield param, "on", effort != "none"
    if effort != "none":
        yield param, "effort", effort


def _of_budget(param: str, tokens: float) -> Iterator[_Wish]:
    yield param, "on", tokens > 0
    if tokens > 0:
        yield param, "budget", tokens


def _of_thinking(thinking: JsonObject) -> Iterator[_Wish]:
    """Anthropic's; what has another form is the API's to look at."""
    for entry in thinking.fields:
        kind = entry.value.WhichOneof("kind")
        if entry.key == "type" and entry.value.string_value in {"enabled", "adaptive", "disabled"}:
            yield "thinking.type", "on", entry.value.string_value != "disabled"
        elif entry.key == "budget_tokens" and kind == "number_value":
            yield from _of_budget("thinking.budget_tokens", entry.value.number_value)


def _of_reasoning(reasoning: JsonObject) -> Iterator[_Wish]:
    """OpenRouter's; likewise."""
    for entry in reasoning.fields:
        kind = entry.value.WhichOneof("kind")
        if entry.key == "effort" and entry.value.string_value:
            yield from _of_effort("reasoning.effort", entry.value.string_value)
        elif entry.key == "max_tokens" and kind == "number_value":
            yield from _of_budget("reasoning.max_tokens", entry.value.number_value)
        elif entry.key == "enabled" and kind == "bool_value":
            yield "reasoning.enabled", "on", entry.value.bool_value
