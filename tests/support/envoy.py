"""Envoy as `python -m gateway run` starts it, without the seconds that a process of its own takes to get there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config import load_config
from gateway.launch import prepare

ROOT = Path(__file__).resolve().parents[2]


def start_envoy(environ: Mapping[str, str], **options: Any) -> subprocess.Popen[Any]:
    """Start it with the configuration that `environ` names.

    The command line itself is tested in tests/gateway/test_commands.py and test_ending.py.

    Args:
        environ: The whole environment of the process.
        options: More of `subprocess.Popen`.

    Raises:
        ConfigError: As `gateway run` would tell.
    """
    launch = prepare(load_config(environ))
    try:
        return subprocess.Popen(launch.command, env=environ, cwd=ROOT, pass_fds=launch.descriptors, **options)
    finally:
        for descriptor in launch.descriptors:
            os.close(descriptor)
