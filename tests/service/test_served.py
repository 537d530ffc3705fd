"""Generations of the models: which one a call uses, and when a former one is over."""

from __future__ import annotations

import pytest

from service.dispatch.served import Current, Served
from service.dispatch.timeouts import AttemptTimeouts, attempt_timeouts
from service.errors import Reason, RequestError
from service.limits import Limits
from service.providers.transport import Timeouts


@pytest.mark.parametrize(
    ("model_id", "quoted"), [("gpt", " `gpt`"), ("", " ``"), ("x" * 101, ""), ("a\nb", ""), ("x" * 100, f" `{'x' * 100}`")]
)  # fmt: skip
def test_an_unknown_model_is_told_with_its_name_where_that_is_fit_to_print(model_id: str, quoted: str) -> None:
    with pytest.raises(RequestError) as raised:
        Served({}).resolve(model_id)

    assert (raised.value.reason, raised.value.param) == (Reason.MODEL_NOT_FOUND, "model")
    assert raised.value.message.startswith(f"The model{quoted} does not exist; ")


def test_a_generation_without_calls_is_over_as_soon_as_another_takes_its_place() -> None:
    over: list[str] = []
    current = Current(Served({}, on_unused=lambda: over.append("first")))
    with current.served.in_use():
        pass
    assert over == []

    current.swap(Served({}, on_unused=lambda: over.append("second")))

    assert over == ["first"]


def test_a_generation_is_over_with_the_last_call_that_uses_it() -> None:
    over: list[str] = []
    current = Current(Served({}, on_unused=lambda: over.append("first")))
    first = current.served
    with first.in_use():
        with first.in_use():
            current.swap(Served({}, on_unused=lambda: over.append("second")))
        assert over == []
        with current.served.in_use():
            pass

    assert over == ["first"]
    assert current.served is not first


def test_a_call_that_fails_uses_its_generation_no_more() -> None:
    over: list[str] = []
    served = Served({}, on_unused=lambda: over.append("it"))

    def call() -> None:
        with served.in_use():
            served.retire()
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        call()

    assert over == ["it"]


PROVIDERS = Timeouts(connect_s=5, read_s=120)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), AttemptTimeouts(PROVIDERS, Timeouts(5, 121), first_token_s=120, idle_s=120, total_s=600)),
        (
            Limits(connect_timeout_s=1, first_token_timeout_s=2, idle_timeout_s=3, total_timeout_s=4),
            AttemptTimeouts(Timeouts(1, 120), Timeouts(1, 4), first_token_s=2, idle_s=3, total_s=4),
        ),
        (
            Limits(first_token_timeout_s=300),
            AttemptTimeouts(PROVIDERS, Timeouts(5, 301), first_token_s=300, idle_s=120, total_s=600),
        ),
    ],
)
def test_a_models_timeouts_stand_over_the_providers(limits: Limits, expected: AttemptTimeouts) -> None:
    assert attempt_timeouts(limits, PROVIDERS) == expected
