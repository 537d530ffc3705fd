"""The limits of a model: how long, how often, how much at once. Pure; all times are in seconds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Policy = Literal["order", "weighted", "least_latency", "least_busy"]
"""Which target a call turns to first."""
LeavingPolicy = Literal["cancel", "drain"]
"""What becomes of the provider's answer when its caller has gone."""


class LimitsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the limits; a key that it does not have is an error."""


class Retries(LimitsSection, frozen=True):
    """When a request is repeated at the same target."""

    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 2
    """Requests to one target for one call, the first included."""
    backoff_s: Seconds = 0.5
    """Longest wait before the first repeat; doubles with each further one."""
    max_backoff_s: Seconds = 8.0
    """No wait is longer; a provider that asks for more (`retry-after`) is not asked again by this call."""
    budget: Share = 0.2
    """Repeats as a share of calls, so that a provider in trouble is not asked twice by everybody."""


class Hedge(LimitsSection, frozen=True):
    """When a second target is asked beside a slow first one."""

    after_s: Seconds | None = None
    """How long to wait for the first token; default: what 95 of 100 calls of that target needed."""
    budget: Share = 0.1
    """Second requests as a share of calls."""


class Breaker(LimitsSection, frozen=True):
    """When a target counts as broken and is left alone."""

    failures: Count = 5
    """Failures in a row that open the circuit."""
    error_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of failures within `window_s` that opens it,"""
    min_calls: Count = 20
    """once there were that many calls."""
    window_s: Seconds = 30.0
    open_s: Seconds = 10.0
    """How long it stays open before one call tries; doubles with each failed try, up to eightfold."""


class Concurrency(LimitsSection, frozen=True):
    """How many calls a target gets at once."""

    limit: Count = 1000
    queue: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 100
    """How many more may wait."""
    wait_s: Seconds = 5.0
    """How long each may wait."""


class OnDisconnect(LimitsSection, frozen=True):
    """What becomes of the provider's answer when its caller has gone."""

    policy: LeavingPolicy = "cancel"
    """"cancel" closes the provider's connection; "drain" reads on, so that the usage is known,"""
    max_tokens: Count = 4096
    """for at most about that many tokens more"""
    max_s: Seconds = 60.0
    """and at most that long."""


class Limits(LimitsSection, frozen=True):
    """All of a model's limits. `None` where a default is the provider's, or where there is no limit."""

    policy: Policy = "order"
    """Which target a call turns to first: the first of the list; one by chance, by `weight`; the one that
    was fastest lately; the one with the fewest calls. The others follow where it fails."""
    connect_timeout_s: Seconds | None = None
    """Until the connection stands; default: the provider's."""
    first_token_timeout_s: Seconds | None = None
    """Of a stream, until the first token of an attempt; default: the provider's `read_timeout_s`."""
    idle_timeout_s: Seconds | None = None
    """Of a stream, between two chunks; default: the provider's `read_timeout_s`."""
    total_timeout_s: Seconds = 600.0
    """Of one attempt, from its beginning to the answer's end."""
    retries: Retries = Retries()
    hedge: Hedge | None = None
    breaker: Breaker | None = Breaker()
    concurrency: Concurrency | None = Concurrency()
    on_disconnect: LeavingPolicy | OnDisconnect = "cancel"

    @property
    def leaving(self) -> OnDisconnect:
        """`on_disconnect` in full."""
        return OnDisconnect(policy=self.on_disconnect) if isinstance(self.on_disconnect, str) else self.on_disconnect
