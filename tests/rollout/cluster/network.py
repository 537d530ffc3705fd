"""A node's network: a bridge, and a network namespace with an address of its own for every pod.

It is built in the network namespace of this process, which therefore has to be a private one (`make test-rollout`).
"""

from __future__ import annotations

import os
import subprocess
from itertools import count
from pathlib import Path

_BRIDGE = "pods"
_NAMESPACES = Path("/run/netns")
NODE_ADDRESS = "10.244.0.1"
DNS_ADDRESS = "10.96.0.10"


def is_private() -> bool:
    """Whether this process is alone in namespaces of its own: the first process, and no way leads out of here."""
    return os.getpid() == 1 and len(Path("/proc/net/route").read_text("utf-8").splitlines()) <= 1


class Network:
    """The node's side, once in a process."""

    def __init__(self) -> None:
        if not is_private():
            raise AssertionError("only in namespaces of its own: expected to be run by `make test-rollout`")
        self._pods = count(2)
        self._services = count(20)
        # Those that `ip netns` makes are to end with this process, and to be seen by nobody else.
        _NAMESPACES.mkdir(exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", str(_NAMESPACES))
        _ip("link set lo up")
        _ip(f"link add {_BRIDGE} type bridge")
        _ip(f"address add {NODE_ADDRESS}/16 dev {_BRIDGE}")
        _ip(f"address add {DNS_ADDRESS}/32 dev {_BRIDGE}")
        _ip(f"link set {_BRIDGE} up")

    def add_pod(self, name: str) -> str:
        """Make the namespace `name`; its address, which no other pod has had."""
        number = next(self._pods)
        address = f"10.244.{number // 256}.{number % 256}"
        _ip(f"netns add {name}")
        _ip(f"link add pod{number} type veth peer name eth0 netns {name}")
        _ip(f"link set pod{number} master {_BRIDGE} up")
        _ip(f"-netns {name} link set lo up")
        _ip(f"-netns {name} address add {address}/16 dev eth0")
        _ip(f"-netns {name} link set eth0 up")
        _ip(f"-netns {name} route add default via {NODE_ADDRESS}")
        return address

    def remove_pod(self, name: str) -> None:
        """Take the namespace away, and with it its address."""
        _ip(f"netns delete {name}")

    def add_service(self) -> str:
        """An address of the node that stands for several pods."""
        address = f"10.96.0.{next(self._services)}"
        _ip(f"address add {address}/32 dev {_BRIDGE}")
        return address


def namespace_path(name: str) -> str:
    """Where `nsenter` finds it."""
    return str(_NAMESPACES / name)


def _ip(arguments: str) -> None:
    _run("ip", *arguments.split())


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
