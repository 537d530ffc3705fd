"""The HTTP server that Prometheus reads the metrics from, in threads beside the event loop."""

from __future__ import annotations

import errno
import socket
import socketserver
import threading
import time
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from service.errors import ConfigError

_PATH: Final = "/metrics"
_SILENCE_S: Final = 5.0
"""How long a scraper may be silent, or read nothing."""
_MAX_SCRAPERS: Final = 16
"""At once; each has a thread. Who comes beyond them is hung up on."""
_CLOSE_S: Final = 1.0
_PAUSE_S: Final = 0.1
"""Before another try, where the process has no file descriptor for a scraper."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Why `accept` fails though somebody waits: he goes on waiting, and so would be asked for again at once."""


class _Handler(MetricsHandler):
    timeout = _SILENCE_S

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        if urlsplit(self.path).path != _PATH:
            self.send_error(HTTPStatus.NOT_FOUND, explain=f"The metrics are at {_PATH}.")
            return
        super().do_GET()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # whatever a scraper does, the process can end
    request_queue_size = 16

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], registry: CollectorRegistry) -> None:
        self.address_family = family
        self._free = threading.Semaphore(_MAX_SCRAPERS)
        super().__init__(address, _Handler.factory(registry))

    def server_bind(self) -> None:
        """Not as `HTTPServer`, which asks DNS for its own name, and may wait long for it."""
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, object]:
        """The next scraper."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                time.sleep(_PAUSE_S)
            raise

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002 - socketserver's
        """Whether there is a thread for it; `process_request_thread` gives it back."""
        return self._free.acquire(blocking=False)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # wider in its stubs
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a scraper that hung up, or said nothing: it is nobody's loss but its own."""


class Exposition:
    """Serves a registry at an address until it is closed.

    The address may be one that others can reach, without any key: what is told are figures, with the names of models,
    providers and keys as they are configured; no prompt, no answer and no secret.

    Args:
        address: `host:port` or `[ipv6]:port`; port 0 takes a free one.
        registry: What to tell.

    Raises:
        ConfigError: The address can't be listened at.
    """

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        host, _, port = address.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, place = found[0]
            self._server = _Server(family, (str(place[0]), int(port)), registry)
        except OSError as error:
            message = f"telemetry.metrics.address: {address} can't be listened at; is it in use?"
            raise ConfigError(message) from error
        self.address = f"{host}:{self._server.server_address[1]}"
        """With the port that was taken."""
        self._is_closed = False
        self._thread = threading.Thread(target=self._accept, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more; who is being answered still may be, for as long as the process lives. To do so again is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(_CLOSE_S)
        self._server.server_close()

    def _accept(self) -> None:
        # Not `serve_forever`, which wakes twice a second to look whether it is to end.
        while not self._is_closed:
            self._server.handle_request()
