"""Renders what the matrix has seen as docs/reliability.md. What is the same in every good run is the same text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from tests.faults.catalogue import FAULTS
from tests.faults.exchange import WORDS
from tests.reliability.asking import Told
from tests.reliability.matrix import CLOSED_WITHIN_S, LIMITS, READ_TIMEOUT_S, Case, Result
from tests.reliability.rows import ENDLESS, SECTIONS, Expected

SLACK_S: Final = 1.5
"""How much later than the limits say a call may end on a slow machine. With 2 s, a stream that is not watched
for silence would pass: the transport ends it, 2 s after the idle timeout."""
_UNREACHABLE: Final = {
    "refused": "a port where nobody listens",
    "no-tls": "an `https` address where no TLS is spoken",
    "no-name": "a host name that does not exist",
}
_HEAD: Final = """# What callers get when a provider fails

Every row was run: the [fault provider](../tests/faults/__main__.py) behind the real service and the real Envoy, over gRPC,
over gRPC through Envoy (the same each time), and over REST. `tests/reliability/test_matrix.py` holds every row to what it
says, and this page to the run; `PARLEY_WRITE_DOCS=1 .venv/bin/pytest tests/reliability/test_matrix.py` writes it anew.

Each model had these limits; the rest are defaults, and the provider's `read_timeout_s` was {read_timeout_s}:

```yaml
{limits}```

To try a fault by hand, `python -m tests.faults` serves them and prints a configuration of Parley; `--list` tells what each
does.

- **after**: when the call was over, as far as the limits and the waits say; a slow machine was given {slack_s:g} s more.
- **requests**: how many the provider got for the call (`x-parley-attempts`).
- **connection**: to the provider, {closed_s:g} s after the end of the call. It is kept for the next request only after a
  complete answer of HTTP. Where it says "kept or closed", the end of the answer and the verdict on it arrive together.
- **with a second target**: what changes when the model has another target, which is healthy. Nothing is repeated and no
  other target is asked after the first token.

A right answer has ten words. As a stream it has an event that opens it, one for each word, then finish reason, usage and
`[DONE]`: the first 4 events have 3 words.

Everywhere: a clean end (status OK; `[DONE]`) stands for a whole answer alone, no word comes twice, an error names its
reason, and nothing follows an error. An answer in one piece is whole where its JSON is: some providers leave its finish
reason null.
"""


def rendered(results: Mapping[Case, Result]) -> str:
    """The page."""
    limits = yaml.safe_dump(LIMITS, sort_keys=False, default_flow_style=None)
    head = _HEAD.format(limits=limits, read_timeout_s=READ_TIMEOUT_S, slack_s=SLACK_S, closed_s=CLOSED_WITHIN_S)
    parts = [head]
    for title, rows in SECTIONS.items():
        parts.append(f"\n## {title}\n\n")
        parts.append("| fault | answer | gRPC | REST | after | requests | connection | with a second target |\n")
        parts.append("|---|---|---|---|---|---|---|---|\n")
        for fault, pair in rows.items():
            for stream, expected in zip((False, True), pair, strict=True):
                cells = _cells(fault, expected, results, stream=stream)
                parts.append(f"| {' | '.join([f'`{fault}`', *cells])} |\n")
    parts.append("\n## The faults\n\n")
    parts += [f"- `{fault.form}`: {fault.does}.\n" for fault in FAULTS.values()]
    parts += [f"- `{name}`: {what}.\n" for name, what in _UNREACHABLE.items()]
    return "".join(parts)


def _cells(fault: str, expected: Expected, results: Mapping[Case, Result], *, stream: bool) -> list[str]:
    grpc = results[Case(fault, stream, "grpc", has_second=False)]
    rest = results[Case(fault, stream, "rest", has_second=False)]
    second = results[Case(fault, stream, "rest", has_second=True)]
    return [
        "stream" if stream else "whole",
        _grpc(grpc.told),
        _rest(rest.told, stream=stream),
        _after(max(grpc.told.seconds, rest.told.seconds), expected),
        str(rest.told.attempts),
        _connection(grpc.uses | rest.uses, expected),
        _second(rest.told, second),
    ]


def _grpc(told: Told) -> str:
    if told.is_done:
        return f"{told.status}, {_amount(told)}"
    return f"{_begun(told)}{told.status}, {told.reason.upper()}"


def _rest(told: Told, *, stream: bool) -> str:
    if told.is_done:
        return f"{told.status}, {_amount(told)}" + (", `[DONE]`" if stream else "")
    if not told.text:
        return f"{told.status}, `{told.reason}`"
    return f"{told.status}, {_begun(told)}error event `{told.reason}`"


def _begun(told: Told) -> str:
    return f"{_amount(told)}, then " if told.text else ""


def words_of(told: Told) -> int:
    """How many of the right words came, in order and once each."""
    counts = [count for count in range(1, len(WORDS) + 1) if told.text == "".join(WORDS[:count])]
    if counts:
        return counts[0]
    return ENDLESS if set(told.text) == {"x"} else 0


def _amount(told: Told) -> str:
    words = words_of(told)
    if told.is_done:
        return "all"
    return "endless text" if words == ENDLESS else f"{words} words"


def _after(seconds: float, expected: Expected) -> str:
    if not is_in_time(seconds, expected):
        return f"{seconds:.1f} s"
    return f"{expected.after_s:g} s" if expected.after_s else "at once"


def is_in_time(seconds: float, expected: Expected) -> bool:
    """Whether a call ended when it should."""
    return expected.after_s <= seconds <= expected.after_s + SLACK_S


def _connection(uses: set[Any], expected: Expected) -> str:
    if expected.connection == "free" and "busy" not in uses:
        return "kept or closed"
    return " and ".join(sorted(uses)) or "none"


def _second(alone: Told, second: Result) -> str:
    if not second.seen_by_second:
        return "the same" if second.told.attempts == alone.attempts else f"{second.told.attempts} requests"
    outcome = "answers" if second.told.is_done else f"fails: {second.told.reason}"
    return f"it {outcome}, {second.told.attempts} requests"
