"""What a model's targets and limits must be like together. Pure; every message names the path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from service.errors import ConfigError
from service.limits import Limits, Policy


class _Target(Protocol):
    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def weight(self) -> float | None: ...


def check_targets(path: str, targets: Sequence[_Target], policy: Policy, providers: Collection[str]) -> None:
    """Raise ConfigError unless each has a provider, stands there once, and has a weight only where weights count."""
    seen: dict[tuple[str, str], int] = {}
    for index, target in enumerate(targets):
        place = f"{path}.targets[{index}]"
        if target.provider not in providers:
            known = ", ".join(sorted(providers)) or "none"
            raise ConfigError(f"{place}.provider: there is no provider {target.provider!r} (configured: {known})")
        first = seen.setdefault((target.provider, target.model), index)
        if first != index:
            raise ConfigError(f"{place}: the same provider and model as targets[{first}]; name each once")
        if target.weight is not None and policy != "weighted":
            raise ConfigError(f"{place}.weight: only with `policy: weighted`; the policy is `{policy}`")
    if policy == "weighted" and all(target.weight == 0 for target in targets):
        raise ConfigError(f"{path}.targets: with `policy: weighted`, at least one weight must be above 0")


def check_limits(path: str, limits: Limits, targets: int) -> None:
    """Raise ConfigError where one limit keeps another from ever taking effect.

    Args:
        path: The model's.
        limits: Its limits.
        targets: How many it has.
    """
    retries, hedge, total_s = limits.retries, limits.hedge, limits.total_timeout_s
    if retries.backoff_s > retries.max_backoff_s:
        raise ConfigError(
            f"{path}.retries.backoff_s: must not be above `max_backoff_s`, which is {retries.max_backoff_s:g}"
        )
    for name in ("connect_timeout_s", "first_token_timeout_s", "idle_timeout_s"):
        seconds: float | None = getattr(limits, name)
        if seconds is not None and seconds > total_s:
            raise ConfigError(f"{path}.{name}: must not be above `total_timeout_s`, which is {total_s:g}")
    if hedge is None:
        return
    if targets == 1:
        raise ConfigError(f"{path}.hedge: needs a second target to ask; leave it out or add one")
    if hedge.after_s is not None and hedge.after_s >= min(limits.first_token_timeout_s or total_s, total_s):
        raise ConfigError(
            f"{path}.hedge.after_s: must be below `first_token_timeout_s` and `total_timeout_s`, or it comes too late"
        )
