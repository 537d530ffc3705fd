"""What of a request a provider can't follow: refused by name, or left out and noted. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import Reason, RequestError

PARLEYS_OWN: Final = frozenset(
    {"model", "stream", "stream_options", "drop_params", "extra_body", "max_ttft_ms", "on_disconnect"}
    # Done before a provider is asked.
    | {"store", "metadata", "session_id", "ab_campaign", "labels", "system_prompt_args", "tags"}
    | {"use_tools"}
)
"""Fields of a request that no provider has a parameter for, or whose handling is each adapter's own."""

_INDEX: Final = re.compile(r"\[\d+\]")
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,120}")

_ASKS_FOR_NOTHING: Final[dict[str, Callable[[Any], bool]]] = {
    "max_tokens": lambda value: value == 0,
    "max_completion_tokens": lambda value: value == 0,
    "n": lambda value: value <= 1,
    "presence_penalty": lambda value: value == 0,
    "frequency_penalty": lambda value: value == 0,
    "repetition_penalty": lambda value: value == 1,
    "top_k": lambda value: value == 0,
    "min_p": lambda value: value == 0,
    "top_a": lambda value: value == 0,
    "min_tokens": lambda value: value == 0,
    "logprobs": lambda value: not value,
    "top_logprobs": lambda value: value == 0,
    "modalities": lambda value: list(value) == ["text"],
    "response_format": lambda value: value.type == "text",
    "service_tier": lambda value: value in {"auto", "default"},
    "parallel_tool_calls": lambda value: value,
    "tool_choice": lambda value: value.string_value == "auto" or value.WhichOneof("kind") == "null_value",
    "function_call": lambda value: value.WhichOneof("kind") == "null_value",
    "safe_prompt": lambda value: not value,
    "typical_p": lambda value: value == 1,
    "include_reasoning": lambda value: value,
    # Not so `web_search_options` and `search_parameters`: an empty one asks for a search.
    **dict.fromkeys(
        ("thinking", "reasoning", "chat_template_kwargs", "prompt_cache_options"), lambda value: not value.fields
    ),
}


class Omissions:
    """Collects what is left out of one request.

    Args:
        provider: Name of the provider in the configuration, told to the caller.
        may_drop: Whether the request, or the configuration of its model, says `drop_params`.
    """

    __slots__ = ("_may_drop", "_provider", "dropped")

    def __init__(self, provider: str, *, may_drop: bool) -> None:
        self._provider = provider
        self._may_drop = may_drop
        self.dropped: list[str] = []
        """Parameters that were left out, in the order in which they were found, none twice.

        Places in lists are not told: `messages[].name` stands for one name or for a thousand.
        """

    def omit(self, param: str, why: str) -> None:
        """Leave `param` out, which the caller then has to do; `why` goes on after "the provider `x` ".

        Raises:
            RequestError: PARAMETER_UNSUPPORTED, unless parameters may be dropped.
        """
        if not self._may_drop:
            raise self._error(param, f"{why}; leave it out, or set `drop_params`")
        name = _INDEX.sub("[]", param)
        if not _SAFE_NAME.fullmatch(name):  # a member that the caller has named, which metadata may not take
            name = name.partition(".")[0]
        if name not in self.dropped:
            self.dropped.append(name)

    def refuse(self, param: str, why: str) -> NoReturn:
        """Refuse what can't be left out without changing what is said, such as a part of a message.

        Raises:
            RequestError: PARAMETER_UNSUPPORTED.
        """
        raise self._error(param, why)

    def omit_others(self, request: ChatCompletionRequest, known: frozenset[str]) -> None:
        """Leave out every parameter that is set, asks for something, and is none of `known`; and padding.

        Raises:
            RequestError: PARAMETER_UNSUPPORTED, unless parameters may be dropped.
        """
        for field, value in request.ListFields():
            name = field.name
            if name not in known and name not in PARLEYS_OWN and not asks_for_nothing(name, value):
                self.omit(name, "has no such parameter")
        if request.stream_options.include_obfuscation:
            self.omit("stream_options.include_obfuscation", "can't be asked to pad its chunks")

    def _error(self, param: str, why: str) -> RequestError:
        message = f"`{param}`: the provider `{self._provider}` {why}."
        return RequestError(Reason.PARAMETER_UNSUPPORTED, message, param=param, metadata={"provider": self._provider})


def asks_for_nothing(name: str, value: Any) -> bool:
    """Whether the parameter's value is what every provider does without it."""
    check = _ASKS_FOR_NOTHING.get(name)
    return check is not None and check(value)
