"""When a circuit opens, and how it closes again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dispatch.breaker import CircuitBreaker, State, Ticket, _Window
from service.limits import Breaker
from tests.dispatch.clock import Clock

IN_A_ROW = Breaker(failures=3, error_rate=1, min_calls=1000, open_s=10)
BY_RATE = Breaker(failures=1000, error_rate=0.5, min_calls=10, window_s=30, open_s=10)


class Rig:
    """A breaker, its clock, and the states that it told."""

    def __init__(self, settings: Breaker | None = IN_A_ROW) -> None:
        self.clock = Clock()
        self.told: list[State] = []
        self.breaker = CircuitBreaker(settings, self.clock, lambda: self.told.append(self.breaker.state))

    def state(self) -> State:  # no property: a type checker believes that those do not change
        return self.breaker.state

    def is_available(self) -> bool:
        return self.breaker.is_available

    def admitted(self) -> Ticket:
        ticket = self.breaker.admit()
        assert ticket is not None
        return ticket

    def call(self, outcomes: str) -> None:
        """One call after the other: + succeeds, - fails, 0 is released."""
        for outcome in outcomes:
            report(self.admitted(), outcome)

    def opened(self) -> Rig:
        self.call("---")
        assert self.state() == "open"
        return self

    def half_open(self) -> Ticket:
        """The probe of an open circuit whose time is over."""
        self.opened().clock.advance(10)
        return self.admitted()


def report(ticket: Ticket, outcome: str) -> None:
    {"+": ticket.succeeded, "-": ticket.failed, "0": ticket.released}[outcome]()


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("", "closed"),
        ("--", "closed"),
        ("---", "open"),
        ("--+--", "closed"),
        ("--0-", "open"),
        ("00000", "closed"),
        ("+++++---", "open"),
    ],
)
def test_failures_in_a_row_open_it(outcomes: str, state: State) -> None:
    rig = Rig()
    rig.call(outcomes)
    assert rig.state() == state
    assert rig.told == (["open"] if state == "open" else [])


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("-+-+-+-+-", "closed"),  # too few calls
        ("-+-+-+-+--", "open"),
        ("+-+-+-+-+-", "open"),
        ("++-+-+-+-+-", "closed"),  # 5 of 11
        ("++-+-+-+-+--", "open"),
        ("---------+", "closed"),  # no success opens it
        ("---------+-", "open"),
        ("-0+0-0+0-0+0-0+0-0", "closed"),  # what is released is no call
    ],
)
def test_a_share_of_failures_opens_it(outcomes: str, state: State) -> None:
    rig = Rig(BY_RATE)
    rig.call(outcomes)
    assert rig.state() == state


def test_failures_before_the_window_count_no_more() -> None:
    rig = Rig(BY_RATE)
    rig.call("-" * 9)
    rig.clock.advance(31)
    rig.call("-" * 9)
    assert rig.state() == "closed"
    rig.call("-")
    assert rig.state() == "open"


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.floats(0, 12), st.booleans()), max_size=80))
def test_the_window_holds_nine_tenths_to_all_of_its_time(calls: list[tuple[float, bool]]) -> None:
    clock = Clock(now=0.0)
    window = _Window(30.0, clock)
    seen: list[tuple[float, bool]] = []
    for pause_s, is_failure in calls:
        clock.advance(pause_s)
        window.add(is_failure=is_failure)
        seen.append((clock.now, is_failure))
        surely = [failed for at, failed in seen if clock.now - at < 26.999]
        perhaps = [failed for at, failed in seen if clock.now - at < 30.001]
        assert len(surely) <= window.calls <= len(perhaps)
        assert sum(surely) <= window.failures <= sum(perhaps)


def test_an_open_circuit_lets_nothing_through_until_its_time_is_over() -> None:
    rig = Rig().opened()
    assert not rig.is_available()
    assert rig.breaker.available_at == rig.clock.now + 10
    rig.clock.advance(9.5)
    assert rig.breaker.admit() is None
    assert rig.breaker.retry_in_s == pytest.approx(0.5)
    rig.clock.advance(0.5)
    assert rig.is_available()
    assert rig.breaker.retry_in_s == 0
    assert rig.told == ["open"], "time alone changes no state"


def test_one_probe_is_let_through_at_a_time() -> None:
    rig = Rig()
    rig.half_open()
    assert rig.told == ["open", "half_open"]
    assert rig.breaker.admit() is None
    assert rig.is_available()
    assert rig.breaker.retry_in_s == 1.0
    assert rig.breaker.available_at is None


def test_a_probe_that_succeeds_closes_it_and_the_past_is_forgotten() -> None:
    rig = Rig()
    rig.half_open().succeeded()
    assert rig.told == ["open", "half_open", "closed"]
    rig.call("--")
    assert rig.state() == "closed"
    rig.call("-")
    assert rig.state() == "open"


def test_the_rate_begins_anew_after_a_probe_that_succeeds() -> None:
    rig = Rig(BY_RATE)
    rig.call("-" * 10)
    rig.clock.advance(10)
    rig.call("+" + "-" * 9)
    assert rig.state() == "closed"
    rig.call("-")
    assert rig.state() == "open"


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_eight_times() -> None:
    rig = Rig()
    probe = rig.half_open()
    for open_s in (20, 40, 80, 80):
        probe.failed()
        assert rig.state() == "open"
        assert rig.breaker.retry_in_s == pytest.approx(open_s)
        rig.clock.advance(open_s)
        probe = rig.admitted()
    probe.succeeded()
    rig.opened()
    assert rig.breaker.retry_in_s == pytest.approx(10)


def test_a_probe_that_teaches_nothing_gives_way_to_the_next() -> None:
    rig = Rig()
    rig.half_open().released()
    assert rig.state() == "half_open"
    assert rig.breaker.retry_in_s == 0
    probe = rig.admitted()
    assert rig.breaker.admit() is None
    probe.succeeded()
    assert rig.state() == "closed"


def test_a_probe_that_has_begun_closes_it_before_its_end() -> None:
    rig = Rig()
    probe = rig.half_open()
    probe.began()
    assert rig.state() == "closed"
    others = [rig.admitted(), rig.admitted()]
    for ticket in (probe, *others):
        ticket.failed()
    assert rig.state() == "open", "the end of what was a probe counts as any other call's"


def test_beginning_is_no_success() -> None:
    rig = Rig()
    for _ in range(3):
        ticket = rig.admitted()
        ticket.began()
        ticket.failed()
    assert rig.state() == "open"


@pytest.mark.parametrize("outcome", "+-0")
def test_a_call_from_before_it_opened_changes_an_open_circuit_in_nothing(outcome: str) -> None:
    rig = Rig()
    old = rig.admitted()
    rig.opened()
    rig.clock.advance(5)
    old.began()
    report(old, outcome)
    assert rig.told == ["open"]
    assert rig.breaker.retry_in_s == pytest.approx(5)


@pytest.mark.parametrize("outcome", "+-0")
def test_a_call_from_before_it_opened_is_no_probe(outcome: str) -> None:
    rig = Rig()
    old = rig.admitted()
    probe = rig.half_open()
    report(old, outcome)
    assert rig.state() == "half_open"
    assert rig.breaker.admit() is None, "the probe is still out"
    probe.succeeded()
    assert rig.state() == "closed"


def test_calls_from_before_it_opened_do_not_open_it_again() -> None:
    rig = Rig()
    old = [rig.admitted() for _ in range(5)]
    rig.half_open().succeeded()
    for ticket in old:
        ticket.failed()
    assert rig.state() == "closed"


def test_a_call_that_is_reported_again_and_again_counts_once() -> None:
    rig = Rig()
    ticket = rig.admitted()
    for _ in range(5):
        ticket.failed()
    assert rig.state() == "closed"


def test_only_the_first_report_of_a_probe_counts() -> None:
    rig = Rig()
    probe = rig.half_open()
    probe.released()
    probe.succeeded()
    probe.began()
    assert rig.state() == "half_open"


def test_without_settings_it_never_opens() -> None:
    rig = Rig(None)
    rig.call("-" * 1000)
    assert (rig.state(), rig.is_available(), rig.breaker.retry_in_s, rig.told) == ("closed", True, 0, [])
