import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import uvloop
from yarl import URL

from service.errors import ConfigError, Timeout, Unavailable
from service.providers.transport import Timeouts, Transport
from service.providers.transport_http1 import Http1Transport
from service.providers.transport_proxies import Proxies
from tests.service.transport_support import (
    CHUNKED,
    HEAD,
    LONG,
    SECRET,
    Connection,
    Handler,
    Server,
    answering,
    answering_once,
    assert_safe,
    chunk,
    proxy_environment,
    read,
    request_to,
    stalling,
)
from tests.support.certificates import make_certificates


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    opened = Http1Transport(LONG)
    yield opened
    await opened.aclose()


# TLS


def certificate(folder: Path, host: str = "localhost") -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1 and the host, and the file to trust it by."""
    files = make_certificates(folder, host)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.server_cert, files.server_key)
    return context, files.ca


async def test_trusts_the_certificates_of_ca_file_and_no_others(tmp_path: Path) -> None:
    context, pem = certificate(tmp_path)
    async with Server(answering(HEAD + b"content-length: 3\r\n\r\nabc"), context) as server:
        strict = Http1Transport(LONG)
        with pytest.raises(Unavailable, match="TLS") as caught:
            await read(strict, server.request("https"))
        assert_safe(caught.value)
        await strict.aclose()
        trusting = Http1Transport(LONG, ca_file=pem)
        assert await read(trusting, server.request("https")) == b"abc"
        await trusting.aclose()


async def test_plain_http_where_tls_is_expected_is_told(transport: Transport) -> None:
    async def handle(connection: Connection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await connection.until_closed()

    async with Server(handle) as server:
        with pytest.raises(Unavailable, match="TLS") as caught:
            await read(transport, server.request("https"))
    assert_safe(caught.value)


async def test_a_tls_handshake_that_stalls_is_a_connect_timeout() -> None:
    transport = Http1Transport(Timeouts(connect_s=0.2, read_s=30))

    async def silent(connection: Connection) -> None:
        await connection.until_closed()

    async with Server(silent) as server:
        with pytest.raises(Timeout, match=r"No connection to the provider within 0\.2 s") as caught:
            await read(transport, server.request("https"))
    assert_safe(caught.value)
    await transport.aclose()


async def test_cancelling_closes_a_tls_connection(tmp_path: Path) -> None:
    context, pem = certificate(tmp_path)
    transport = Http1Transport(LONG, ca_file=pem)
    async with Server(stalling(CHUNKED + chunk(b"abc")), context) as server:
        async with transport.send(server.request("https")) as response, aclosing(response.chunks()) as chunks:
            assert await anext(chunks) == b"abc"
        await asyncio.wait_for(server.ended.wait(), 1)
    await transport.aclose()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_slow_reader_gets_all_of_a_body_over_tls(
    tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Also where the provider closes when it has sent the answer.

    On uvloop 0.23, a connection whose reading is paused loses what came with its end: hence no more
    than aiohttp's connections take in without a pause.
    """

    async def main() -> None:
        context, pem = certificate(tmp_path)
        transport = Http1Transport(LONG, ca_file=pem)
        answer = CHUNKED + chunk(b"x" * 5000) * 50 + b"0\r\n\r\n"
        async with (
            Server(answering_once(answer), context) as server,
            transport.send(server.request("https")) as response,
            aclosing(response.chunks()) as chunks,
        ):
            length = 0
            async for part in chunks:
                length += len(part)
                await asyncio.sleep(0.01)
            assert length == 250_000
        await transport.aclose()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_unusable_ca_file_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="ca_file"):
        Http1Transport(LONG, ca_file=file)


# Proxies


async def test_a_proxy_of_the_environment_is_used_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy_answer = answering(HEAD + b"content-length: 5\r\n\r\nproxy")
    async with Server(proxy_answer) as proxy, Server(answering(HEAD + b"content-length: 3\r\n\r\nabc")) as server:
        with proxy_environment(monkeypatch, f"http://127.0.0.1:{proxy.port}"):
            transport = Http1Transport(LONG)
            assert await read(transport, server.request()) == b"abc"
            assert await read(transport, request_to(f"http://localhost:{server.port}/")) == b"abc"
            assert await read(transport, request_to("http://nowhere.invalid/")) == b"proxy"
            await transport.aclose()


async def test_a_proxy_that_opens_no_tunnel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def refuse(connection: Connection) -> None:
        asked.append(await connection.request())
        await connection.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    async with Server(refuse) as proxy:
        with proxy_environment(monkeypatch, ""):
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
            transport = Http1Transport(LONG)
        with pytest.raises(Unavailable, match="No connection to the provider") as caught:
            await read(transport, request_to("https://nowhere.invalid/"))
        await transport.aclose()
    assert asked[0].startswith(b"CONNECT nowhere.invalid:443 HTTP/1.1\r\n")
    assert re.search(rb"proxy-authorization: Basic ", asked[0], re.IGNORECASE)
    assert b"Bearer" not in asked[0]
    assert_safe(caught.value)


async def test_a_proxy_without_a_tunnel_is_told_url_and_credentials_of_each_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []

    async def handle(connection: Connection) -> None:
        while True:
            asked.append(await connection.request())
            await connection.send(HEAD + b"content-length: 3\r\n\r\nabc")

    async with Server(handle) as proxy:
        with proxy_environment(monkeypatch, f"http://user:p%40ss@127.0.0.1:{proxy.port}"):
            transport = Http1Transport(LONG)
        for _ in range(2):
            assert await read(transport, request_to("http://nowhere.invalid:81/a?b=c")) == b"abc"
        await transport.aclose()
        assert proxy.connections == 1
    for head in asked:
        assert head.startswith(b"POST http://nowhere.invalid:81/a?b=c HTTP/1.1\r\nhost: nowhere.invalid:81\r\n")
        assert b"\r\nproxy-authorization: Basic dXNlcjpwQHNz\r\n" in head  # user:p@ss


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def tunnelling_to(port: int, asked: list[bytes]) -> Handler:
    """A proxy that connects to this port of this machine, whatever host it is asked for."""

    async def handle(connection: Connection) -> None:
        asked.append(await connection.request())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(forward(connection.reader, writer), forward(reader, connection.writer))
        finally:
            writer.close()

    return handle


@pytest.mark.parametrize("proxy_scheme", ["http", "https"])
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_tls_goes_through_the_tunnel_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    proxy_scheme: str,
) -> None:
    """The proxy sees the provider's name and no more."""
    asked: list[bytes] = []

    async def main() -> None:
        context, pem = certificate(tmp_path, "nowhere.invalid")
        async with (
            Server(answering(HEAD + b"content-length: 3\r\n\r\nabc"), context) as server,
            Server(tunnelling_to(server.port, asked), context if proxy_scheme == "https" else None) as proxy,
        ):
            with proxy_environment(monkeypatch, ""):
                monkeypatch.setenv("HTTPS_PROXY", f"{proxy_scheme}://user:p@127.0.0.1:{proxy.port}")
                transport = Http1Transport(LONG, ca_file=pem)
            for _ in range(2):
                assert await read(transport, request_to("https://nowhere.invalid/v1/x")) == b"abc"
            assert server.connections == 1
            async with transport.send(request_to("https://nowhere.invalid/v1/x")):
                await transport.aclose()
            await asyncio.wait_for(server.ended.wait(), 5)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    assert len(asked) == 1
    assert asked[0].startswith(b"CONNECT nowhere.invalid:443 HTTP/1.1\r\n")
    assert SECRET.encode() not in asked[0]


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://a.example/", None),
        ({"http_proxy": "http://p:1"}, "http://a.example/", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "https://u:w@p:1"}, "https://a.example/", "https://u:w@p:1"),
        ({"https_proxy": "p:1"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://localhost/", None),
        ({"ALL_PROXY": "http://p:1"}, "https://[::1]:8/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://a.example/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "b, .Example"}, "https://A.example/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "ample"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.example:443"}, "https://a.example/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "a.example:444"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,fd00::/8"}, "https://10.2.3.4/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,fd00::/8"}, "https://[fd00::1]/", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://11.2.3.4/", "http://p:1"),
    ],
)
def test_the_environment_names_proxies(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    with proxy_environment(monkeypatch, ""):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        found = Proxies().proxy_for(URL(url))
    assert found == (None if proxy is None else URL(proxy))


@pytest.mark.parametrize("proxy", ["socks5://p:1", "http://", "http://p:99999"])
async def test_a_proxy_that_can_not_be_used_is_a_config_error(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Asking the provider without it might be what the network's owner forbids."""
    with proxy_environment(monkeypatch, proxy):
        transport = Http1Transport(LONG)
    with pytest.raises(ConfigError, match="HTTP_PROXY"):
        await read(transport, request_to("http://nowhere.invalid/"))
    await transport.aclose()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1:80", True),
        ("localhost:1", True),
        ("LOCALHOST", True),
        ("a.localhost", True),
        ("[::1]:80", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("example.com", False),
        ("127.0.0.1@example.com", False),
    ],
)
def test_this_machine_is_told_by_the_host_alone(monkeypatch: pytest.MonkeyPatch, host: str, *, loopback: bool) -> None:
    with proxy_environment(monkeypatch, "http://p:1"):
        proxy = Proxies().proxy_for(URL(f"http://{host}/127.0.0.1?localhost"))
    assert proxy == (None if loopback else URL("http://p:1"))
