"""The HTTP server of the metrics: what it answers, whom it does not wait for, and how it ends."""

from __future__ import annotations

import errno
import gzip
import http.client
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from service.errors import ConfigError
from service.telemetry import exposition
from service.telemetry.exposition import Exposition
from tests.support.scraping import parsed, read
from tests.support.stack import wait_for

ADDRESS = "127.0.0.1:0"


def registry_of(series: int = 1) -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("things", "Things.", ["thing"], registry=registry)
    for number in range(series):
        counter.labels(f"{number}" * 20).inc()
    return registry


@contextmanager
def exposed(registry: CollectorRegistry | None = None, address: str = ADDRESS) -> Iterator[Exposition]:
    served = Exposition(address, registry or registry_of())
    try:
        yield served
    finally:
        served.close()


def connect(served: Exposition) -> socket.socket:
    host, _, port = served.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_prometheus_reads_its_text_format() -> None:
    with exposed() as served:
        scrape = parsed(read(f"http://{served.address}/metrics"))

    assert scrape.value("things_total", thing="0" * 20) == 1


def test_who_asks_for_openmetrics_gets_it_and_gzip_too() -> None:
    headers = {"accept": "application/openmetrics-text; version=1.0.0", "accept-encoding": "gzip"}
    with exposed() as served:
        request = urllib.request.Request(f"http://{served.address}/metrics?x=1", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.headers["content-type"].startswith("application/openmetrics-text")
            text = gzip.decompress(answer.read()).decode()

    families = open_metrics(text)  # type: ignore[no-untyped-call]  # has no annotations
    assert [family.name for family in families] == ["things"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/metricsx", 404), ("POST", "/metrics", 501)]
)
def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    with exposed() as served:
        connection = http.client.HTTPConnection(served.address, timeout=10)
        connection.request(method, path)
        assert connection.getresponse().status == status
        connection.close()


def test_an_address_of_ipv6_is_told_as_it_is_configured() -> None:
    with exposed(address="[::1]:0") as served:
        assert served.address.startswith("[::1]:")
        assert parsed(read(f"http://{served.address}/metrics")).samples


@pytest.mark.parametrize("address", ["in use", "192.0.2.1:0", "no-such-host.invalid:0"])
def test_an_address_that_cant_be_listened_at_is_named(address: str) -> None:
    with (
        exposed() as served,
        pytest.raises(ConfigError, match=r"^telemetry\.metrics\.address: .* can't be listened at"),
    ):
        Exposition(served.address if address == "in use" else address, registry_of())


def test_after_its_end_the_port_is_free_and_no_thread_is_left() -> None:
    with exposed() as served:
        address = served.address
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]
    with exposed(address=address) as again:
        assert parsed(read(f"http://{again.address}/metrics")).samples


def test_scrapers_that_say_or_read_nothing_hold_up_neither_others_nor_the_end() -> None:
    """The silent one has sent half of a request; the other one reads nothing of a large answer."""
    with exposed(registry_of(20_000)) as served, connect(served) as silent, connect(served) as slow:
        silent.sendall(b"GET /metrics HT")
        slow.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert parsed(read(f"http://{served.address}/metrics")).samples
        began = time.monotonic()
        served.close()
        took_s = time.monotonic() - began

    assert took_s < exposition._SILENCE_S


def test_more_scrapers_than_there_is_room_for_are_hung_up_on() -> None:
    with exposed() as served:
        silent = [connect(served) for _ in range(exposition._MAX_SCRAPERS)]
        for each in silent:
            each.sendall(b"GET ")
        assert not answers(served)
        for each in silent:
            each.close()
        wait_for(lambda: answers(served))


def answers(served: Exposition) -> bool:
    try:
        return bool(read(f"http://{served.address}/metrics"))
    except (OSError, http.client.HTTPException):
        return False


def test_without_file_descriptors_it_waits_at_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = threading.Semaphore(0)
    accept = ThreadingHTTPServer.get_request
    is_full = True

    def exhausted(server: ThreadingHTTPServer) -> Any:
        tries.release()
        if is_full:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(server)

    monkeypatch.setattr(ThreadingHTTPServer, "get_request", exhausted)
    with exposed() as served, connect(served) as waiting:
        waiting.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        began = time.monotonic()
        assert all(tries.acquire(timeout=20) for _ in range(5))
        assert time.monotonic() - began > exposition._PAUSE_S
        is_full = False
        assert waiting.recv(10).startswith(b"HTTP/1.0 2")


def test_its_own_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def look_up(name: str = "") -> str:
        asked.append(name)
        return name

    monkeypatch.setattr(socket, "getfqdn", look_up)
    with exposed() as served:
        assert answers(served)

    assert not asked


def test_a_silent_scraper_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition._Handler, "timeout", 0.2)
    with exposed() as served, connect(served) as silent:
        silent.sendall(b"GET /metrics HT")
        assert silent.recv(10) == b""
