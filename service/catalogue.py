"""What is known of the vendors' models: abilities, limits and prices. Pure.

The facts stand in `catalogue.yaml`. What it does not say is not known, which is no statement that a
model can't do it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
import yaml

from service.errors import ConfigError

InputKind: TypeAlias = Literal["text", "image", "audio", "video", "file"]
ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Reasoning: TypeAlias = Literal["none", "always", "effort", "budget", "adaptive", "level"]
"""How a provider is told to reason.

none: the model does not reason; always: it does, and can't be told; effort: `reasoning_effort` (OpenAI,
xAI, Mistral); budget: a number of tokens (Anthropic's `thinking.budget_tokens`, Gemini's `thinkingBudget`);
adaptive: Anthropic's `thinking: {type: adaptive}` with `output_config.effort`; level: Gemini's `thinkingLevel`.
"""

Tokens: TypeAlias = Annotated[int, msgspec.Meta(gt=0, lt=2**32)]
Price: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
"""In US dollars per million tokens."""


class LongContextPrices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As the contract's message of that name: prices of a whole request with a long prompt."""

    above_tokens: Tokens
    input: Price | None = None
    cached_input: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    output: Price | None = None


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As the contract's message of that name."""

    input: Price | None = None
    cached_input: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    audio_input: Price | None = None
    output: Price | None = None
    audio_output: Price | None = None
    long_context: LongContextPrices | None = None


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a model; None is not known."""

    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    input_kinds: tuple[InputKind, ...] | None = None
    tools: bool | None = None
    """Whether it calls functions, over the API that is spoken here."""
    structured_output: bool | None = None
    """Whether the provider itself makes the answer match a JSON Schema."""
    reasoning: Reasoning | None = None
    reasoning_efforts: tuple[ReasoningEffort, ...] | None = None
    """Which words of the contract's `reasoning_effort` it takes."""
    sampling: bool | None = None
    """Whether temperature, top_p and their like may be set; False also where only an effort of "none" allows it."""
    mid_system: bool | None = None
    """Whether system messages may stand amid the conversation (Anthropic)."""
    prices: Prices | None = None

    def overridden_by(self, other: Capabilities) -> Capabilities:
        """These, but for what `other` knows; its prices replace all prices."""
        known = {name: value for name, value in msgspec.structs.asdict(other).items() if value is not None}
        return msgspec.structs.replace(self, **known)


Catalogue: TypeAlias = dict[str, dict[str, Capabilities]]
"""By vendor and model name."""

_FILE: Final = Path(__file__).with_name("catalogue.yaml")
_VENDORS: Final = ("openai", "anthropic", "google", "mistral", "deepseek", "xai")
_SHARED: Final = "x-families"
"""A section for what several models have in common; only anchors refer to it."""
_NOTHING: Final = Capabilities()

_VERSION: Final = re.compile(r"([-@]\d{8}|-\d{4}-\d\d-\d\d|-\d{3}|-latest)$")
"""Suffixes that pick a version of a model, which costs and can do what the model does: -20250929 and Vertex'
@20250929 (Anthropic), -2025-08-07 (OpenAI), -001 (Gemini), -latest. Not -2512 (Mistral): there each is a model of
its own, with a price of its own.

Source: https://docs.mistral.ai/models (2026-11-22)."""


def find_capabilities(vendor: str, model: str) -> Capabilities:
    """What is known of the model that a vendor's API calls `model`; nothing where vendor or model is unknown.

    Found is the name itself, or else the name without its version. A mere prefix never matches: gpt-4o says
    nothing of gpt-4o-mini. Gemini's names may begin with "models/".

    Raises:
        ConfigError: As `read_catalogue`; only on the first call.
    """
    models = _shipped().get(vendor, {})
    name = model.removeprefix("models/")
    return models.get(name) or models.get(_VERSION.sub("", name), _NOTHING)


def read_catalogue(text: str) -> Catalogue:
    """Read a catalogue file.

    Raises:
        ConfigError: It is malformed; the message names the path of what is wrong.
    """
    try:
        sections: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"catalogue.yaml: no valid YAML: {error}") from None
    catalogue: Catalogue = {}
    for vendor, models in _mapping(sections, "the file").items():
        if vendor == _SHARED:
            continue
        if vendor not in _VENDORS:
            raise ConfigError(f"catalogue.yaml: {vendor}: expected one of {', '.join(_VENDORS)}")
        catalogue[vendor] = {
            name: _entry(facts, f"{vendor}.{name}") for name, facts in _mapping(models, vendor).items()
        }
    return catalogue


@cache
def _shipped() -> Catalogue:
    return read_catalogue(_FILE.read_text("utf-8"))


def _mapping(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"catalogue.yaml: {path}: expected a mapping with names as keys")
    return value


def _entry(facts: object, path: str) -> Capabilities:
    try:
        return msgspec.convert(facts, Capabilities)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise ConfigError(f"catalogue.yaml: {path}{place.rstrip('`')}: {problem}") from None
