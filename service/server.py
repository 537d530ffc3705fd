"""The grpc.aio server: its options, its services, its ports, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service import config
from service._gen.parley.v1 import chat_service_pb2_grpc, model_service_pb2_grpc, session_service_pb2_grpc
from service.errors import ConfigError
from service.health import SERVICES, Health
from service.rpc.chat import ChatServicer
from service.rpc.guard import Guard
from service.rpc.in_flight import InFlight
from service.rpc.leaving import Drains
from service.rpc.models import ModelServicer
from service.rpc.sessions import SessionServicer

_log = logging.getLogger(__name__)

_MIB: Final = 1024 * 1024
MAX_REQUEST_BYTES: Final = 33 * _MIB
"""Room for what the gateway makes of a body of 32 MiB (images in base64)."""
_LAST_CALLS_S: Final = 3.0
"""How long interrupted calls may take to tell their callers."""
_OPTIONS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    # A second process on the same port would take half of the calls unseen.
    ("grpc.so_reuseport", 0),
    # Half-open connections: a caller that does not answer a ping within 10 s is gone.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Callers without a gateway find new replicas as they connect anew, and till then none: after this time (and up to a
    # tenth more or less) a connection takes no new calls. Those that run on it are not cut.
    ("grpc.max_connection_age_ms", 600_000),
    # Callers may ping as often as every 10 s, also between calls, before it counts as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 5),
    # Above what the gateway lets through (60 KiB), which answers 431 beyond it.
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.absolute_max_metadata_size", 80 * 1024),
]


class Server:
    """The service on its ports. Start it, then drain it."""

    def __init__(
        self,
        settings: config.Server,
        guard: Guard,
        in_flight: InFlight,
        health: Health,
        drains: Drains,
    ) -> None:
        self.settings = settings
        self.drain_grace_s = settings.drain_grace_s
        """How long running calls may go on; may be changed until then."""
        self.drain_notice_s = settings.drain_notice_s
        """How long a drain takes at least; may be changed until then."""
        self._in_flight = in_flight
        self._drains = drains
        self._health = health
        self._server = grpc.aio.server(interceptors=[guard], options=_OPTIONS)
        self._health_server: grpc.aio.Server | None = None
        self._is_started = False

    async def start(self, chat: ChatServicer, models: ModelServicer, sessions: SessionServicer) -> dict[str, str]:
        """Listen; returns the addresses by name, with the ports that were taken for port 0.

        Raises:
            ConfigError: An address can't be listened at, or a TLS file can't be used.
        """
        chat_service_pb2_grpc.add_ChatServiceServicer_to_server(chat, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, self._server)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(sessions, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        settings = self.settings
        addresses = {"grpc": _bind(self._server, "server.grpc_address", settings.grpc_address, settings.tls)}
        if health_address := _health_address(settings):
            self._health_server = grpc.aio.server(options=_OPTIONS)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._health_server)
            addresses["health"] = _bind(self._health_server, "server.health_address", health_address, None)
            await self._health_server.start()
        await self._server.start()
        self._is_started = True
        return addresses

    async def drain(self) -> None:
        """Refuse new calls, let the running ones finish within the grace period, and stop.

        It takes `drain_notice_s` at least: whoever sends calls here has to see first that the health has changed.

        So may answers that are read on for callers who left; at the period's end they are closed. Calls that
        are still running then are told SHUTTING_DOWN, and get a few seconds to read it.
        What is still there after that (callers that read nothing, open reflection streams) is cut.
        """
        self._health.shut_down()
        noticed = time.monotonic() + (self.drain_notice_s if self._is_started else 0)
        end = time.monotonic() + self.drain_grace_s
        self._in_flight.close()
        try:
            if not await self._became_idle(end):
                calls = len(self._in_flight) + len(self._drains)
                _log.warning("%d calls outlasted the grace period and are interrupted", calls)
                self._in_flight.interrupt_all()
                await self._drains.end()
                end = time.monotonic() + _LAST_CALLS_S
                await self._became_idle(end)
        finally:
            await self._drains.end()  # also of callers who left only now
            await asyncio.sleep(noticed - time.monotonic())
            # Now, and not before: gRPC says goodbye behind the last answer and waits until it is read.
            # Closed earlier, a connection takes with it what the caller has not read yet.
            await self._server.stop(max(end - time.monotonic(), _LAST_CALLS_S))
            if self._health_server:
                await self._health_server.stop(None)

    async def _became_idle(self, end: float) -> bool:
        """Whether no call is running any more, nor read on, at the latest at `end`."""
        try:
            async with asyncio.timeout(end - time.monotonic()):
                await self._in_flight.wait_idle()
                await self._drains.wait_idle()  # last, since calls become such, and never the other way about
        except TimeoutError:
            return False
        return True


def _health_address(settings: config.Server) -> str | None:
    """The plaintext health port: as configured; else, where the gRPC port has TLS, the port after it."""
    if settings.health_address or settings.tls is None:
        return settings.health_address
    host, _, port = settings.grpc_address.rpartition(":")
    if not port.isdecimal():
        return None
    return f"{host}:{int(port) + 1 if int(port) else 0}"


def _bind(server: grpc.aio.Server, path: str, address: str, tls: config.Tls | None) -> str:
    try:
        port = server.add_secure_port(address, _credentials(tls)) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(f"{path}: {address} can't be listened at; is it in use?") from error
    if port == 0 and not address.startswith("unix:"):
        raise ConfigError(f"{path}: {address} can't be listened at; is it in use?")
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def _credentials(tls: config.Tls) -> grpc.ServerCredentials:
    certificate = _read("cert_file", tls.cert_file)
    key = _read("key_file", tls.key_file)
    client_ca = _read("client_ca_file", tls.client_ca_file) if tls.client_ca_file else None
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )


def _read(name: str, path: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"server.tls.{name}: {path} can't be read: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise ConfigError(f"server.tls.{name}: {path} is no PEM file")
    return content
