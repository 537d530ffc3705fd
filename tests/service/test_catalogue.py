"""What is known of the vendors' models."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from service.catalogue import Capabilities, LongContextPrices, Prices, find_capabilities, read_catalogue
from service.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = Path(os.environ.get("PARLEY_RECORDINGS") or ROOT.parent / "shared" / "recordings")
FILE = ROOT / "service" / "catalogue.yaml"
CATALOGUE = read_catalogue(FILE.read_text("utf-8"))
ENTRIES = [(vendor, name, known) for vendor, models in CATALOGUE.items() for name, known in models.items()]
IDS = [f"{vendor}/{name}" for vendor, name, _ in ENTRIES]
NOTHING = Capabilities()

VENDOR_OF_FOLDER = {
    **{vendor: vendor for vendor in ("openai", "anthropic", "google", "mistral", "deepseek")},
    "azure": "openai",
    "google-openai": "google",
    "google-vertex": "google",
}
RECORDED = {
    "openai": [
        *("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-audio-preview"),
        *("gpt-4o-audio-preview-2024-12-17", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o-search-preview"),
        *("gpt-4o-search-preview-2025-03-11", "gpt-5-mini", "gpt-5-mini-2025-08-07", "gpt-5.6-sol"),
    ],
    "anthropic": [
        *("claude-opus-4-6", "claude-opus-4-8", "claude-sonnet-4-0", "claude-sonnet-4-20250514", "claude-sonnet-4-5"),
        *("claude-sonnet-4-5-20250929", "claude-sonnet-4-6", "claude-sonnet-5"),
    ],
    "google": [
        *("gemini-1.5-flash", "gemini-2.0-flash", "gemini-2.0-flash-exp", "gemini-2.5-flash", "gemini-2.5-pro"),
        *("gemini-2.5-pro-preview-05-06", "gemini-3-flash-preview", "gemini-3-pro-preview"),
    ],
    "mistral": ["mistral-large-latest", "mistral-medium-latest", "mistral-small-latest"],
    "deepseek": ["deepseek-reasoner", "deepseek-v4-flash"],
}
"""Every model that occurs in the recordings, as far as there is one of that name."""
MISSPELT = {"claude-sonet-4-5", "gpt-5.2-proo", "gemini-3.6-flahs"}
"""Recorded for the errors that they get."""

WITHOUT_PRICES = {
    "openai/gpt-6.2-astra": "the price of its cache is not known",
    "openai/gpt-5.6-sol": "a price promised until 2026-11-21",
    "openai/gpt-5.6": "as gpt-5.6-sol",
    "openai/gpt-4o-2024-05-13": "shut down",
    "openai/gpt-4o-search-preview": "shut down",
    "openai/gpt-4o-audio-preview": "shut down",
    "google/gemini-4-carbon": "a price until 2026-11-30",
    "google/gemini-4-argon": "a price until 2026-11-30",
    "google/gemini-3-pro-preview": "shut down",
    "google/gemini-2.5-pro-preview-05-06": "shut down",
    "google/gemini-2.0-flash": "shut down",
    "google/gemini-2.0-flash-exp": "shut down",
    "google/gemini-1.5-flash": "shut down",
    **{f"deepseek/{name}": "the price depends on the hour" for name in CATALOGUE["deepseek"]},
}
PUBLISH_NO_OUTPUT_LIMIT = {"mistral", "xai"}


def test_every_vendor_is_in_the_catalogue() -> None:
    assert set(CATALOGUE) == {"openai", "anthropic", "google", "mistral", "deepseek", "xai"}


@pytest.mark.parametrize(("vendor", "name", "known"), ENTRIES, ids=IDS)
def test_every_model_has_the_facts_that_vendors_publish(vendor: str, name: str, known: Capabilities) -> None:
    assert known.context_window is not None
    assert known.input_kinds is not None
    assert "text" in known.input_kinds
    assert None not in (known.tools, known.structured_output, known.reasoning)
    if known.max_output_tokens is None:
        assert vendor in PUBLISH_NO_OUTPUT_LIMIT
    else:
        assert known.max_output_tokens < known.context_window
    assert (known.mid_system is not None) == (vendor == "anthropic")
    if known.reasoning in {"none", "always"}:
        assert known.reasoning_efforts is None


@pytest.mark.parametrize(("vendor", "name", "known"), ENTRIES, ids=IDS)
def test_prices_are_plausible(vendor: str, name: str, known: Capabilities) -> None:
    prices = known.prices
    if prices is None:
        assert WITHOUT_PRICES[f"{vendor}/{name}"]
        return
    assert f"{vendor}/{name}" not in WITHOUT_PRICES
    check_order(prices)
    assert (prices.cache_write_1h is not None) == (vendor == "anthropic")
    assert prices.audio_output is None or prices.audio_input is not None
    assert prices.audio_input is None or "audio" in (known.input_kinds or ())
    if prices.long_context is not None:
        check_order(prices.long_context)
        check_dearer(prices.long_context, prices)
        assert known.context_window is not None
        assert prices.long_context.above_tokens < known.context_window


def check_order(prices: Prices | LongContextPrices) -> None:
    assert prices.input is not None
    assert prices.output is not None
    assert 0 <= (prices.cached_input or 0) < prices.input <= prices.output
    if prices.cache_write is not None:
        assert prices.input < prices.cache_write <= (prices.cache_write_1h or prices.cache_write)


def check_dearer(long: LongContextPrices, prices: Prices) -> None:
    """Whatever has a price has a higher one in a long prompt."""
    for name in ("input", "cached_input", "cache_write", "cache_write_1h", "output"):
        base, dearer = getattr(prices, name), getattr(long, name)
        assert (base is None) == (dearer is None), name
        assert base is None or base < dearer, name


@pytest.mark.parametrize(("vendor", "model"), [(v, m) for v, models in RECORDED.items() for m in models])
def test_recorded_models_are_known(vendor: str, model: str) -> None:
    assert find_capabilities(vendor, model) != NOTHING


def test_the_list_of_recorded_models_is_whole() -> None:
    if not (RECORDINGS / "index.json").is_file():
        pytest.skip("no recordings here: set PARLEY_RECORDINGS")
    found: dict[str, set[str]] = {}
    for folder, vendor in VENDOR_OF_FOLDER.items():
        for file in (RECORDINGS / folder).glob("*.json"):
            found.setdefault(vendor, set()).update(models_in(json.loads(file.read_text("utf-8"))))
    assert {vendor: sorted(names - MISSPELT) for vendor, names in found.items()} == {
        vendor: sorted(names) for vendor, names in RECORDED.items()
    }


def models_in(recording: dict[str, list[dict[str, dict[str, object]]]]) -> set[str]:
    names: set[str] = set()
    for interaction in recording["interactions"]:
        request = interaction["request"]
        asked = request["json"]
        assert isinstance(asked, dict)
        names.update(re.findall(r"/models/([^/:]+):", str(request["path"])))
        names.update([asked["model"]] if "model" in asked else [])
        names.update(re.findall(r'"model(?:Version)?" ?: ?"([^"]+)"', str(interaction["response"]["body"])))
    return names


@pytest.mark.parametrize(
    ("vendor", "model", "same_as"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-4-20250514", "claude-opus-4-0"),
        ("anthropic", "claude-haiku-4-5-latest", "claude-haiku-4-5"),
        ("openai", "gpt-5-2025-08-07", "gpt-5"),
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("google", "models/gemini-1.5-flash-002", "gemini-1.5-flash"),
        ("google", "gemini-flash-latest", "gemini-3.8-flash"),
        ("mistral", "mistral-large-latest", "mistral-large-2512"),
        ("xai", "grok-4.3-latest", "grok-4.3"),
    ],
)
def test_a_version_is_found_by_its_model(vendor: str, model: str, same_as: str) -> None:
    assert find_capabilities(vendor, model) == CATALOGUE[vendor][same_as] != NOTHING


@pytest.mark.parametrize(
    ("vendor", "model"),
    [
        ("", "gpt-4o"),
        ("azure", "gpt-4o"),
        ("anthropic", "gpt-4o"),
        ("openai", ""),
        ("openai", "gpt-5-pro"),
        ("openai", "gpt-5-pro-2025-10-06"),
        ("openai", "gpt-5-chat-latest"),
        ("openai", "gpt-4o-mini-search-preview"),
        ("openai", "gpt-4o-2024"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::abc"),
        ("openai", "GPT-4o"),
        ("openai", "openai/gpt-4o"),
        ("anthropic", "claude-sonnet"),
        ("anthropic", "claude-opus-4-9"),
        ("anthropic", "claude-sonnet-4-5-20250929-v1:0"),
        ("google", "gemini-2.5-flash-image"),
        ("google", "gemini-1.5-flash-8b"),
        ("google", "gemini-2.5-flash-preview-09-2025"),
        ("mistral", "mistral-large-2411"),
        ("mistral", "mistral-medium-2508"),
        ("mistral", "mistral-large"),
        ("xai", "grok-4"),
    ],
)
def test_no_model_is_taken_for_another(vendor: str, model: str) -> None:
    assert find_capabilities(vendor, model) == NOTHING


def test_an_exact_name_goes_before_the_model_of_a_version() -> None:
    assert find_capabilities("openai", "gpt-4o-2024-05-13").max_output_tokens == 4_096
    assert find_capabilities("openai", "gpt-4o-2024-08-06").max_output_tokens == 16_384


def test_what_is_set_overrides_and_prices_do_so_as_a_whole() -> None:
    known = Capabilities(context_window=100, tools=True, prices=Prices(input=1, output=2))
    assert known.overridden_by(NOTHING) == known
    assert known.overridden_by(Capabilities(tools=False, sampling=True, prices=Prices(input=3))) == Capabilities(
        context_window=100, tools=False, sampling=True, prices=Prices(input=3)
    )
    assert NOTHING.overridden_by(known) == known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("openai: {a: {tools: maybe}}", "openai.a.tools: Expected `bool | null`, got `str`"),
        ("openai: {a: {tool: true}}", "openai.a: Object contains unknown field `tool`"),
        ("openai: {a: {context_window: 0}}", "openai.a.context_window: Expected `int` >= 1"),
        ("openai: {a: {input_kinds: [smell]}}", "openai.a.input_kinds[0]: Invalid enum value 'smell'"),
        ("openai: {a: {reasoning: often}}", "openai.a.reasoning: Invalid enum value 'often'"),
        ("openai: {a: {reasoning_efforts: [huge]}}", "openai.a.reasoning_efforts[0]: Invalid enum value 'huge'"),
        ("openai: {a: {prices: {input: -1}}}", "openai.a.prices.input: Expected `float` >= 0.0"),
        ("openai: {a: {prices: {input: .inf}}}", "openai.a.prices.input: Expected `float` <= 1000000.0"),
        (
            "openai: {a: {prices: {long_context: {input: 1}}}}",
            "openai.a.prices.long_context: Object missing required field `above_tokens`",
        ),
        ("openai: {a: cheap}", "openai.a: Expected `object`, got `str`"),
        ("openai: [a]", "openai: expected a mapping"),
        ("openai: {1: {}}", "openai: expected a mapping with names as keys"),
        ("open-ai: {}", "open-ai: expected one of openai, anthropic"),
        ("- openai", "the file: expected a mapping"),
        ("openai: {", "no valid YAML"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_catalogue(text)


def test_no_key_occurs_twice_in_a_mapping() -> None:
    def check(node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{node.start_mark}: {keys}"
            for _, value in node.value:
                check(value)

    check(yaml.compose(FILE.read_text("utf-8"), yaml.SafeLoader))
