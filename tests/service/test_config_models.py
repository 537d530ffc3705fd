"""Targets and limits of a model: what is taken, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import Model, load_config
from service.errors import ConfigError
from service.limits import Breaker, Concurrency, Hedge, Limits, OnDisconnect, Retries

P, Q = {"provider": "p", "model": "a"}, {"provider": "q", "model": "a"}


def load(tmp_path: Path, model: dict[str, Any]) -> Model:
    file = tmp_path / "parley.yaml"
    provider = {"kind": "openai", "base_url": "https://api.example.org/v1"}
    file.write_text(yaml.safe_dump({"providers": {"p": provider, "q": provider}, "models": {"m": model}}))
    return load_config({"PARLEY_CONFIG": str(file)}).models["m"]


def test_a_model_needs_no_limits(tmp_path: Path) -> None:
    model = load(tmp_path, {"targets": [P]})

    assert (model.policy, model.retries, model.hedge, model.breaker) == ("order", Retries(), None, Breaker())
    assert (model.concurrency, model.leaving) == (Concurrency(), OnDisconnect(policy="cancel"))


def test_every_limit_is_read(tmp_path: Path) -> None:
    model = load(
        tmp_path,
        {
            "targets": [{**P, "weight": 3}, {**Q, "weight": 0}, {**Q, "model": "b"}],
            "policy": "weighted",
            "connect_timeout_s": 1,
            "first_token_timeout_s": 2,
            "idle_timeout_s": 3,
            "total_timeout_s": 4,
            "retries": {"max_attempts": 3, "backoff_s": 0.1, "max_backoff_s": 1, "budget": 0.5},
            "hedge": {"after_s": 1.5, "budget": 0.2},
            "breaker": {"failures": 2, "error_rate": 0.3, "min_calls": 4, "window_s": 5, "open_s": 6},
            "concurrency": {"limit": 7, "queue": 0, "wait_s": 8},
            "on_disconnect": {"policy": "drain", "max_tokens": 9, "max_s": 10},
        },
    )

    assert [target.weight for target in model.targets] == [3, 0, None]
    assert {name: getattr(model, name) for name in Limits.__struct_fields__} == {
        "policy": "weighted",
        "connect_timeout_s": 1,
        "first_token_timeout_s": 2,
        "idle_timeout_s": 3,
        "total_timeout_s": 4,
        "retries": Retries(max_attempts=3, backoff_s=0.1, max_backoff_s=1, budget=0.5),
        "hedge": Hedge(after_s=1.5, budget=0.2),
        "breaker": Breaker(failures=2, error_rate=0.3, min_calls=4, window_s=5, open_s=6),
        "concurrency": Concurrency(limit=7, queue=0, wait_s=8),
        "on_disconnect": OnDisconnect(policy="drain", max_tokens=9, max_s=10),
    }


@pytest.mark.parametrize("off", ["hedge", "breaker", "concurrency"])
def test_null_switches_off(tmp_path: Path, off: str) -> None:
    assert getattr(load(tmp_path, {"targets": [P, Q], off: None}), off) is None


@pytest.mark.parametrize(
    ("given", "leaving"),
    [
        ("cancel", OnDisconnect(policy="cancel")),
        ("drain", OnDisconnect(policy="drain")),
        ({"policy": "drain"}, OnDisconnect(policy="drain")),
        ({"max_s": 5}, OnDisconnect(policy="cancel", max_s=5)),
    ],
)
def test_on_disconnect_is_a_word_or_has_bounds(tmp_path: Path, given: object, leaving: OnDisconnect) -> None:
    assert load(tmp_path, {"targets": [P], "on_disconnect": given}).leaving == leaving


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"targets": []}, "targets: Expected `array` of length >= 1"),
        ({"targets": [{**P, "model": str(number)} for number in range(17)]}, "targets: Expected `array` of length <= 16"),
        ({"targets": [P, {**P, "provider": "r"}]}, "targets[1].provider: there is no provider 'r' (configured: p, q)"),
        ({"targets": [P, Q, P]}, "targets[2]: the same provider and model as targets[0]; name each once"),
        (
            {"targets": [P, {**Q, "weight": 1}]},
            "targets[1].weight: only with `policy: weighted`; the policy is `order`",
        ),
        (
            {"targets": [{**P, "weight": 0}, {**Q, "weight": 0}], "policy": "weighted"},
            "targets: with `policy: weighted`, at least one weight must be above 0",
        ),
        ({"targets": [{**P, "weight": -1}], "policy": "weighted"}, "targets[0].weight: Expected `float` >= 0.0"),
        ({"policy": "fastest"}, "policy: Invalid enum value 'fastest', expected `order`, `weighted`, `least_latency` or `least_busy`"),
        ({"total_timeout_s": 0}, "total_timeout_s: Expected `float` > 0.0"),
        ({"total_timeout_s": float("nan")}, "total_timeout_s: Expected `float` > 0.0"),
        ({"first_token_timeout_s": 601}, "first_token_timeout_s: must not be above `total_timeout_s`, which is 600"),
        ({"idle_timeout_s": 3, "total_timeout_s": 2}, "idle_timeout_s: must not be above `total_timeout_s`, which is 2"),
        ({"connect_timeout_s": 3, "total_timeout_s": 2}, "connect_timeout_s: must not be above `total_timeout_s`, which is 2"),
        ({"retries": None}, "retries: Expected `object`, got `null`"),
        ({"retries": {"max_attempts": 0}}, "retries.max_attempts: Expected `int` >= 1"),
        ({"retries": {"budget": 1.1}}, "retries.budget: Expected `float` <= 1.0"),
        ({"retries": {"backoff_s": 9}}, "retries.backoff_s: must not be above `max_backoff_s`, which is 8"),
        ({"retries": {"backof_s": 9}}, "retries: Object contains unknown field `backof_s`"),
        ({"hedge": {}}, "hedge: needs a second target to ask; leave it out or add one"),
        (
            {"targets": [P, Q], "hedge": {"after_s": 2}, "first_token_timeout_s": 2},
            "hedge.after_s: must be below `first_token_timeout_s` and `total_timeout_s`, or it comes too late",
        ),
        (
            {"targets": [P, Q], "hedge": {"after_s": 600}},
            "hedge.after_s: must be below `first_token_timeout_s` and `total_timeout_s`, or it comes too late",
        ),
        ({"breaker": {"error_rate": 0}}, "breaker.error_rate: Expected `float` > 0.0"),
        ({"breaker": {"failures": 0}}, "breaker.failures: Expected `int` >= 1"),
        ({"concurrency": {"limit": 0}}, "concurrency.limit: Expected `int` >= 1"),
        ({"concurrency": {"queue": -1}}, "concurrency.queue: Expected `int` >= 0"),
        ({"on_disconnect": "drop"}, "on_disconnect: Invalid enum value 'drop', expected `cancel` or `drain`"),
        ({"on_disconnect": {"policy": "x"}}, "on_disconnect.policy: Invalid enum value 'x', expected `cancel` or `drain`"),
        ({"on_disconnect": {"max_tokens": 0}}, "on_disconnect.max_tokens: Expected `int` >= 1"),
        ({"on_disconnect": {"tokens": 1}}, "on_disconnect: Object contains unknown field `tokens`"),
        ({"on_disconnect": 5}, "on_disconnect: Expected `str | object`, got `int`"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_model_is_told_by_its_path(tmp_path: Path, model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, {"targets": [P], **model})

    assert str(raised.value) == f"models.m.{message}"
