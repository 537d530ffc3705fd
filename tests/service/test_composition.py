"""What is built of a configuration: what goes on from one generation to the next, and what ends when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.composition import Composition, Generation
from service.config import Config, load_config
from service.errors import ConfigError
from service.prompts.renderer import Renderer
from service.routing import Target
from tests.support.certificates import make_certificates

OPENAI = {"kind": "openai", "base_url": "https://api.example.org/v1"}
BASE: dict[str, Any] = {
    "providers": {"p": OPENAI, "q": {**OPENAI, "read_timeout_s": 7}},
    "models": {
        "a": {"targets": [{"provider": "p", "model": "x"}]},
        "b": {"targets": [{"provider": "q", "model": "y"}, {"provider": "p", "model": "x"}]},
    },
}
Load = Callable[[dict[str, Any]], Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_content(content: dict[str, Any]) -> Config:
        file = tmp_path / "parley.yaml"
        file.write_text(yaml.safe_dump(content))
        return load_config({"PARLEY_CONFIG": str(file)})

    return load_content


class Closings:
    """Which providers' connections were closed."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def follow(self, generation: Generation) -> None:
        for name, part in generation.parts.items():
            part.closing.callback(self.names.append, name)


async def test_targets_have_the_capabilities_weights_and_limits_of_the_file(load: Load) -> None:
    model = {
        "targets": [
            {"provider": "p", "model": "x", "weight": 3, "capabilities": {"tools": False}},
            {"provider": "q", "model": "y"},
        ],
        "policy": "weighted",
        "capabilities": {"tools": True, "context_window": 5},
        "first_token_timeout_s": 3,
        "concurrency": {"limit": 2},
    }
    settings = load({**BASE, "models": {"m": model}})
    async with asyncio.TaskGroup() as group:
        generation = Composition(group, Renderer(), lambda: None).build(settings)

    dispatcher = generation.served.models["m"]
    first, second = dispatcher.targets
    assert dispatcher.model.limits == settings.models["m"]
    assert (first.target.weight, second.target.weight) == (3, 1)
    assert (first.target.capabilities.tools, second.target.capabilities.tools) == (False, True)
    assert {state.target.capabilities.context_window for state in (first, second)} == {5}
    assert [(state.timeouts.first_token_s, state.timeouts.idle_s) for state in (first, second)] == [(3, 120), (3, 7)]
    assert dispatcher.model.targets[0] == Target("p", "x", first.target.capabilities, 3)


@pytest.mark.parametrize(
    ("change", "kept_providers", "kept_models"),
    [
        ({}, {"p", "q"}, {"a", "b"}),
        ({"providers": {**BASE["providers"], "r": OPENAI}}, {"p", "q"}, {"a", "b"}),
        ({"providers": {**BASE["providers"], "q": OPENAI}}, {"p"}, {"a"}),
        ({"models": {**BASE["models"], "c": BASE["models"]["a"]}}, {"p", "q"}, {"a", "b"}),
        ({"models": {**BASE["models"], "a": {**BASE["models"]["a"], "created": 5}}}, {"p", "q"}, {"b"}),
        ({"models": {"b": BASE["models"]["b"]}}, {"p", "q"}, {"b"}),
        ({"providers": {name: {**OPENAI, "headers": {"x": "y"}} for name in "pq"}}, set(), set()),
    ],
)
async def test_what_is_as_it_was_goes_on(
    load: Load, change: dict[str, Any], kept_providers: set[str], kept_models: set[str]
) -> None:
    async with asyncio.TaskGroup() as group:
        composition = Composition(group, Renderer(), lambda: None)
        first = composition.build(load(BASE))
        second = composition.build(load(BASE | change), first)

    assert {name for name, part in second.parts.items() if part is first.parts.get(name)} == kept_providers
    models = second.served.models
    assert {name for name, model in models.items() if model is first.served.models.get(name)} == kept_models
    assert list(models) == list((BASE | change)["models"])


async def test_a_provider_ends_with_the_last_generation_that_has_it_and_is_used(load: Load) -> None:
    closings = Closings()
    async with asyncio.TaskGroup() as group:
        composition = Composition(group, Renderer(), lambda: None)
        first = composition.build(load(BASE))
        composition.start(first)
        closings.follow(first)
        second = composition.build(load({**BASE, "providers": {"p": OPENAI, "q": OPENAI}}), first)
        composition.start(second)
        with first.served.in_use():
            first.served.retire()
            await asyncio.sleep(0)
            assert closings.names == []
        await _until(lambda: closings.names == ["q"])

        third = composition.build(load({**BASE, "providers": {"p": OPENAI, "q": OPENAI}}), second)
        composition.start(third)
        second.served.retire()
        await asyncio.sleep(0)
        assert closings.names == ["q"], "p goes on"
        await composition.aclose()
        third.served.retire()

    assert closings.names == ["q", "p"]


async def test_a_generation_that_is_not_taken_gives_back_what_is_new_in_it(load: Load) -> None:
    closings = Closings()
    async with asyncio.TaskGroup() as group:
        composition = Composition(group, Renderer(), lambda: None)
        first = composition.build(load(BASE))
        composition.start(first)
        second = composition.build(load({**BASE, "providers": {**BASE["providers"], "r": OPENAI}}), first)
        closings.follow(second)
        composition.start(second)
        second.served.retire()
        await _until(lambda: closings.names == ["r"])
        await composition.aclose()


@pytest.mark.parametrize("rewritten", [False, True])
async def test_a_provider_is_new_when_its_file_of_certificates_is(load: Load, tmp_path: Path, rewritten: bool) -> None:  # noqa: FBT001 - a column of the table
    ca = make_certificates(tmp_path).ca
    content = {**BASE, "providers": {**BASE["providers"], "p": {**OPENAI, "ca_file": str(ca)}}}
    async with asyncio.TaskGroup() as group:
        composition = Composition(group, Renderer(), lambda: None)
        first = composition.build(load(content))
        if rewritten:
            ca.write_text(ca.read_text() + "\n")
        second = composition.build(load(content), first)

    assert (second.parts["p"] is not first.parts["p"]) is rewritten
    assert second.parts["q"] is first.parts["q"]


async def test_a_new_key_in_a_file_is_no_other_provider_but_one_in_the_environment_is(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("first")
    providers = {"p": {**OPENAI, "api_key_file": str(tmp_path / "key")}, "q": {**OPENAI, "api_key_env": "Q"}}
    file = tmp_path / "parley.yaml"
    file.write_text(yaml.safe_dump({**BASE, "providers": providers}))
    async with asyncio.TaskGroup() as group:
        composition = Composition(group, Renderer(), lambda: None)
        first = composition.build(load_config({"PARLEY_CONFIG": str(file), "Q": "1"}))
        same = composition.build(load_config({"PARLEY_CONFIG": str(file), "Q": "1"}), first)
        (tmp_path / "key").write_text("second")
        second = composition.build(load_config({"PARLEY_CONFIG": str(file), "Q": "2"}), first)

    assert all(same.parts[name] is first.parts[name] for name in "pq")
    assert second.parts["p"] is first.parts["p"]
    assert second.parts["q"] is not first.parts["q"]


async def test_a_provider_that_cant_be_built_is_told_by_its_path(load: Load, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    settings = load({**BASE, "providers": {**BASE["providers"], "p": {**OPENAI, "ca_file": str(tmp_path / "no.pem")}}})
    async with asyncio.TaskGroup() as group:
        with pytest.raises(ConfigError, match=r"^providers\.p\.ca_file: can't be used"):
            Composition(group, Renderer(), lambda: None).build(settings)


async def test_an_embedded_model_that_never_gets_ready_is_told_by_its_path(load: Load, tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_text("no model")
    provider = {"kind": "embedded", "model_file": str(tmp_path / "no.gguf")}
    settings = load({"providers": {"p": provider}, "models": {"a": BASE["models"]["a"]}})
    async with asyncio.TaskGroup() as group:
        composition = Composition(group, Renderer(), lambda: None)
        generation = composition.build(settings)
        composition.start(generation)
        with pytest.raises(ConfigError) as raised:
            await composition.became_ready(generation, within_s=0.01)
        again = composition.build(settings, generation)
        composition.start(again)
        await composition.became_ready(again, within_s=0.01)  # what was broken before is no fault of the new file
        generation.served.retire()
        again.served.retire()

    assert str(raised.value) == "providers.p: the embedded model was not ready after 0.01 s"


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)
