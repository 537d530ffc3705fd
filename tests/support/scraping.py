"""What Prometheus would read of a running part."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import Stack, wait_for

Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Scrape:
    """The samples of one look."""

    samples: Mapping[Series, float]
    kinds: Mapping[str, str]
    """By name of the family."""

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that have these labels; 0 where there is none."""
        wanted = labels.items()
        return sum(value for (found, pairs), value in self.samples.items() if found == name and wanted <= pairs)

    def labels(self, name: str) -> list[dict[str, str]]:
        """Those of each sample of that name."""
        return [dict(pairs) for found, pairs in self.samples if found == name]


def parsed(text: str) -> Scrape:
    """A scrape's text, read by Prometheus' own parser for Python."""
    samples, kinds = {}, {}
    for family in text_string_to_metric_families(text):
        kinds[family.name] = family.type
        for sample in family.samples:
            series = (sample.name, frozenset(sample.labels.items()))
            assert series not in samples, f"told twice: {series}"
            samples[series] = sample.value
    return Scrape(samples, kinds)


def read(url: str, **headers: str) -> str:
    """The text at a URL."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def scraped(stack: Stack) -> Scrape:
    """The service's metrics now."""
    assert stack.metrics_address is not None
    return parsed(read(f"http://{stack.metrics_address}/metrics"))


def wait_for_value(stack: Stack, value: float, name: str, **labels: str) -> None:
    """Returns as soon as the service tells that value."""
    try:
        wait_for(lambda: scraped(stack).value(name, **labels) == value)
    except AssertionError:
        raise AssertionError(f"{name} {labels} is {scraped(stack).value(name, **labels)}, not {value}") from None
