"""What to type first: waits for the gateway and prints a curl line that works."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import ssl
import sys
import time

from gateway.addresses import WILDCARDS, Endpoint
from gateway.config import Config

PATIENCE_S = 120
POLL_S = 0.3
MESSAGES = '[{"role":"user","content":"What is the capital of France?"}]'


def hint(config: Config, parent: int | None = None) -> int:
    """Wait until the gateway is ready, print a curl line, and return the exit code.

    With `parent`, it ends in silence as soon as that is not its parent any more: a shell's background
    jobs ignore SIGINT, and the parent may have ended before anything here has run.
    """
    address = Endpoint(WILDCARDS.get(config.listener.host, config.listener.host), config.listener.port)
    try:
        if _wait_until_ready(address, parent, tls=config.gateway.tls is not None):
            sys.stdout.write(f"\nParley is ready. Try:\n\n{curl_line(config, address)}\n\n")
            return 0
    except KeyboardInterrupt:
        return 0
    if _is_orphan(parent):
        return 0
    sys.stderr.write(f"gateway: {address} was not ready within {PATIENCE_S} s; the log above should say why\n")
    return 1


def curl_line(config: Config, address: Endpoint) -> str:
    """A request of one line; with a placeholder for the key where keys are configured."""
    scheme = "http" if config.gateway.tls is None else "https"
    key = " -H 'authorization: Bearer YOUR_KEY'" if config.has_keys else ""
    certificates = " --cacert CA_FILE" if config.gateway.tls is not None else ""
    if config.gateway.tls is not None and config.gateway.tls.client_ca_file is not None:
        certificates += " --cert CERT_FILE --key KEY_FILE"
    url = f"{scheme}://{address}/v1/chat/completions"
    model = json.dumps(config.first_model)
    body = shlex.quote(f'{{"model":{model},"messages":{MESSAGES}}}')
    return f"curl {url}{certificates}{key} -H 'content-type: application/json' -d {body}"


def _is_orphan(parent: int | None) -> bool:
    return parent is not None and os.getppid() != parent


def _wait_until_ready(address: Endpoint, parent: int | None, *, tls: bool) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and not _is_orphan(parent):
        if _is_ready(address, tls=tls):
            return True
        time.sleep(POLL_S)
    return False


def _is_ready(address: Endpoint, *, tls: bool) -> bool:
    """Whether /readyz says so. With TLS, whether the port takes connections: the CA is not known."""
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address.host, address.port, timeout=2, context=context)
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except ssl.SSLError:
        return tls  # it wants a client certificate: it is up, and more can't be seen from here
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
