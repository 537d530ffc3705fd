"""What sets one OpenAI-compatible API apart from the others: the type of the table's rows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NoReturn

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import Reason
from service.json_values import Json

Body = dict[str, Json]

Translation = Callable[[Json], Body | None]
"""From a parameter's value to what the body has in its place; None where the API can't be told that."""

RefusePart = Callable[[str, str], NoReturn]
"""Refuses a content part, by the path within it (such as `.file.file_url`) and why."""

PartTranslation = Callable[[Body, RefusePart], Body]
"""From a content part as OpenAI has it to the API's own."""

ReasoningHistory = Literal["as_given", "reasoning_content", "reasoning", "details", "parts", "none"]
"""How earlier reasoning is sent back: as the caller gave it; as text under one of the two names; as
`reasoning_details` or else as text; as a content part of type thinking; or not at all."""

MEMBERS: Final = frozenset(
    {"prefix", "cache_control", "prompt_cache_breakpoint", "audio", "function_call", "refusal", "extra_content"}
)
"""Members of messages, parts, tools and tool calls that not every API knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One API. The defaults are those of an API of which nothing is known: it is handed everything."""

    name: str
    """As `dialect` names it in the configuration."""
    base_url: str | None = None
    """Where it is, unless configured; None where it may be anywhere."""
    hosts: tuple[str, ...] = ()
    """Hosts of base URLs by which it is recognised; with a leading dot, also those below."""
    vendor: str = ""
    """The vendor of its models in the catalogue; empty where they are of many."""
    credentials: Literal["bearer", "api-key"] = "bearer"
    """The header of the key."""
    is_azure: bool = False
    """Whether the model is told in the path."""

    parameters: frozenset[str] | None = None
    """The contract's parameters that it takes by these names; None for all."""
    translations: Mapping[str, Translation] = field(default_factory=dict)
    """Parameters that it takes in another form."""
    reasoning_translations: Mapping[str, Translation] = field(default_factory=dict)
    """As `translations`, for models that reason."""
    reasoning_lacks: frozenset[str] = frozenset()
    """Parameters that its models which reason refuse."""
    has_one_amount: bool = False
    """Whether an effort and a budget of tokens exclude each other."""
    only_limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    """Which of the two is sent where both are given; None for both."""
    most_choices: int | None = None
    """Largest `n`, where it is known."""
    most_stops: int | None = None
    """Most stop sequences, where it is fewer than the contract's."""
    says_done: bool = False
    """Whether a stream without `[DONE]` was cut. Else one that ends with the usage may lack it."""
    stream_options: Literal["all", "usage", "none"] = "all"
    """Which it takes: also `include_obfuscation`, or not even `include_usage`."""
    tool_choices: frozenset[str] | None = None
    """Which of "auto", "none", "required", "named" and "allowed_tools" it follows; None for all."""
    tool_kinds: frozenset[str] | None = None
    """Which of "function", "custom" and "provider" it has; None for all."""
    wants_parameters: bool = False
    """Whether a function has to have parameters, though it take none."""
    response_formats: frozenset[str] | None = None
    """Which types it has; None for all."""

    has_developer: bool = True
    """Whether it knows the role; else such messages go as system messages."""
    keeps_system_apart: bool = True
    """Whether system and developer messages may stand in one request; else all go as developer messages."""
    named_roles: frozenset[str] | None = None
    """Roles whose messages may have a name; None for all."""
    members: frozenset[str] = MEMBERS
    """Which of `MEMBERS` it knows."""
    parts: Mapping[str, PartTranslation] | None = None
    """The kinds of content parts that it reads; None for all, as they are."""
    reasoning_history: ReasoningHistory = "as_given"
    wants_reasoning_of_calls: bool = False
    """Whether it refuses an earlier answer with tool calls and without reasoning, though it be empty."""

    tells_cost: bool = False
    """Whether the `cost` of its usage is in US dollars."""
    error_reasons: Mapping[str, Reason] = field(default_factory=dict)
    """What codes of its errors mean that don't speak for themselves."""

    as_they_are: frozenset[str] = field(init=False)
    """Parameters of the contract that every model of it takes, by these names and in no other form."""

    def __post_init__(self) -> None:
        taken = (
            frozenset(ChatCompletionRequest.DESCRIPTOR.fields_by_name) if self.parameters is None else self.parameters
        )
        taken = taken - self.translations.keys() - self.reasoning_translations.keys() - self.reasoning_lacks
        object.__setattr__(self, "as_they_are", taken)

    @property
    def adapts_messages(self) -> bool:
        """Whether messages have to be looked at."""
        return self.parts is not None or self.reasoning_history != "as_given"

    def takes(self, parameter: str) -> bool:
        """Whether it can be told the parameter, in whatever form."""
        return self.parameters is None or parameter in self.parameters or parameter in self.translations
