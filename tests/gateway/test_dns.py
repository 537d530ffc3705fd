"""Replicas that are known by a name, as those behind a headless Service are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config import ConfigError, load_config
from tests.gateway.answers import CHAT, END, text_chunk
from tests.gateway.name_server import NameServer, name_server
from tests.gateway.scratch import Context, Gateway, Service, running_gateway, running_service, wait_until

ONE, OTHER = "127.0.53.1", "127.0.53.2"


@contextmanager
def _two_replicas() -> Iterator[tuple[Service, Service]]:
    """On one port, as pods are."""
    with running_service(f"{ONE}:0") as one, running_service(one.address.replace(ONE, OTHER)) as other:
        yield one, other


@contextmanager
def _gateway(folder: Path, server: NameServer, one: Service) -> Iterator[Gateway]:
    (folder / "parley.yaml").write_text(f"gateway: {{dns_resolvers: ['{server.address}']}}")
    upstream = one.address.replace(ONE, "replicas.example")
    with running_gateway(folder, upstream, PARLEY_CONFIG=str(folder / "parley.yaml")) as gateway:
        yield gateway


def _healthy(gateway: Gateway) -> int:
    return gateway.stat("cluster.parley.membership_healthy")


def test_a_replica_that_joins_gets_calls(tmp_path: Path) -> None:
    with _two_replicas() as (one, other), name_server(ONE) as server, _gateway(tmp_path, server, one) as gateway:
        wait_until(lambda: _healthy(gateway) == 1)
        server.addresses.append(OTHER)
        wait_until(lambda: _healthy(gateway) == 2)
        wait_until(lambda: httpx.post(f"http://{gateway.address}{CHAT}", json={}).is_success and bool(_asked(other)))


def _asked(service: Service) -> int:
    return len(service.script.requests)


def test_a_replica_that_leaves_finishes_what_it_has(tmp_path: Path) -> None:
    """It leaves DNS while it drains: no new calls come, and its stream ends properly."""
    with _two_replicas() as (one, other), name_server(ONE) as server, _gateway(tmp_path, server, one) as gateway:
        release = asyncio.Event()

        async def held(request: Any, context: Context) -> None:
            await context.write(text_chunk("a"))
            await release.wait()
            await context.write(END)

        one.script.stream = held
        wait_until(lambda: _healthy(gateway) == 1)
        with httpx.stream("POST", f"http://{gateway.address}{CHAT}", json={"stream": True}, timeout=60) as stream:
            pieces = stream.iter_raw()
            next(pieces)
            server.addresses[:] = [OTHER]
            wait_until(lambda: _healthy(gateway) == 2)  # it is still well, whatever DNS says
            one.set_serving(serving=False)
            wait_until(lambda: gateway.stat("cluster.parley.membership_total") == 1 and _healthy(gateway) == 1)
            before = _asked(one)
            for _ in range(10):
                assert httpx.post(f"http://{gateway.address}{CHAT}", json={}).status_code == 200
            assert (_asked(one), _asked(other)) == (before, 10)
            one.loop.call_soon_threadsafe(release.set)
            assert b"".join(pieces).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("trouble", ["fails", "empty"])
def test_trouble_with_dns_takes_no_healthy_replica_away(tmp_path: Path, trouble: str) -> None:
    with _two_replicas() as (one, _), name_server(ONE, OTHER) as server, _gateway(tmp_path, server, one) as gateway:
        wait_until(lambda: _healthy(gateway) == 2)
        server.fails = trouble == "fails"
        server.addresses.clear()
        asked = server.asked
        wait_until(lambda: server.asked > asked + 4)  # of A and AAAA, twice at least
        assert _healthy(gateway) == 2
        assert httpx.post(f"http://{gateway.address}{CHAT}", json={}).status_code == 200


def test_names_that_nobody_knows_yet_keep_probes_answering(tmp_path: Path) -> None:
    with running_service(f"{ONE}:0") as one, name_server() as server, _gateway(tmp_path, server, one) as gateway:
        assert httpx.get(f"http://{gateway.operations}/healthz").status_code == 200
        assert httpx.get(f"http://{gateway.operations}/readyz").status_code == 503
        server.addresses.append(ONE)
        wait_until(lambda: httpx.get(f"http://{gateway.operations}/readyz").status_code == 200)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1", "127.0.0.1:53"), ("127.0.0.1:5353", "127.0.0.1:5353"), ("::1", "[::1]:53"), ("[::1]:5", "[::1]:5")],
)
def test_name_servers_are_addresses(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "parley.yaml").write_text(f"gateway: {{dns_resolvers: ['{text}']}}")
    config = load_config({"PARLEY_CONFIG": str(tmp_path / "parley.yaml")})
    assert [str(server) for server in config.name_servers] == [expected]


@pytest.mark.parametrize("text", ["dns.example", "dns.example:53", "127.0.0.1:0", ""])
def test_others_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "parley.yaml").write_text(f"gateway: {{dns_resolvers: ['{text}']}}")
    with pytest.raises(ConfigError, match=r"gateway\.dns_resolvers\[0\]: expected"):
        load_config({"PARLEY_CONFIG": str(tmp_path / "parley.yaml")})
