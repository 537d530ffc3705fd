"""The gateway's command line: `python -m gateway render | check | run | hint`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway.addresses import ConfigError
from gateway.bootstrap import render
from gateway.config import Config, load_config
from gateway.hint import hint
from gateway.launch import envoy_binary, prepare

COMMANDS = {
    "render": "print Envoy's bootstrap as YAML",
    "check": "have Envoy validate it",
    "run": "run Envoy; at SIGTERM, let open calls finish",
    "hint": "wait until the gateway is ready, then print a curl line that works",
}


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    parsers["hint"].add_argument("--parent", type=int, metavar="PID", help="give up when this parent has ended")
    arguments = parser.parse_args()
    command = arguments.command
    try:
        config = load_config()
        match command:
            case "render":
                sys.stdout.write(render(config))
            case "check":
                sys.exit(_check(config))
            case "run":
                _run(config)
            case _:
                sys.exit(hint(config, arguments.parent))
    except ConfigError as error:
        sys.exit(f"gateway: {error}")


def _check(config: Config) -> int:
    with tempfile.TemporaryDirectory(prefix="parley-gateway-") as folder:
        path = Path(folder, "envoy.yaml")
        path.write_text(render(config), "utf-8")
        command = [envoy_binary(), "--mode", "validate", "--config-path", str(path), "--log-level", "warning"]
        return subprocess.run(command, check=False).returncode  # noqa: S603  # Envoy, by its own path


def _run(config: Config) -> None:
    """Replace this process by Envoy's supervisor, which needs much less memory."""
    _open_standard_streams()
    launch = prepare(config)
    for descriptor in launch.descriptors:
        os.set_inheritable(descriptor, True)  # noqa: FBT003  # its only form
    os.execv(launch.command[0], launch.command)  # noqa: S606  # no shell is wanted


def _open_standard_streams() -> None:
    """Have something stand where a standard stream was closed, or Envoy would write its log into what is opened next."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)  # noqa: FBT003  # its only form


if __name__ == "__main__":
    main()
