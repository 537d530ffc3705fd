"""What an expression of PromQL asks for: its selectors and the labels it names. It reads no more of the language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<comment>\#[^\n]*)|(?P<range>\[[^\]]*\])"""
    r"""|(?P<name>[a-zA-Z_:][\w:]*)|(?P<number>\d[\w.]*)|(?P<sign>=~|!~|!=|==|>=|<=|\S)"""
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", *_GROUPING}
_VARIABLE = re.compile(r"\$\{?\w+\}?")


@dataclass(frozen=True)
class Selector:
    """A metric, and which of its series."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    """Label, operator, value."""

    def __str__(self) -> str:
        inside = ", ".join(f'{label}{sign}"{value}"' for label, sign, value in self.matchers)
        return f"{self.metric}{{{inside}}}"


def without_variables(expression: str) -> str:
    """The expression as Grafana would send it with everything chosen."""
    return _VARIABLE.sub(".*", expression.replace("$__rate_interval", "1m"))


def selectors(expression: str) -> list[Selector]:
    """All that it reads."""
    tokens = list(_tokens(expression))
    found, at = [], 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        if text in _GROUPING and following == "(":
            at = _closing(tokens, at + 1, ")")
        elif kind == "name" and following not in {"(", "by", "without"} and text not in _WORDS:
            if following == "{":
                end = _closing(tokens, at + 1, "}")
                found.append(Selector(text, _matchers([token for _, token in tokens[at + 2 : end]])))
                at = end
            else:
                found.append(Selector(text))
        at += 1
    return found


def grouped_by(expression: str) -> set[str]:
    """The labels in `by (…)`, `on (…)` and their like."""
    tokens, labels = list(_tokens(expression)), set()
    for at, (_, text) in enumerate(tokens[:-1]):
        if text in _GROUPING and tokens[at + 1][1] == "(":
            labels |= {name for kind, name in tokens[at + 2 : _closing(tokens, at + 1, ")")] if kind == "name"}
    return labels


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(expression):
        kind = match.lastgroup
        if kind not in {None, "comment", "range"}:
            yield str(kind), match[0]


def _closing(tokens: list[tuple[str, str]], start: int, sign: str) -> int:
    return next(at for at in range(start, len(tokens)) if tokens[at][1] == sign)


def _matchers(tokens: list[str]) -> tuple[tuple[str, str, str], ...]:
    parts = [token for token in tokens if token != ","]
    return tuple(
        (label, sign, value[1:-1]) for label, sign, value in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    )
