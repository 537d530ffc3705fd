"""The official Node.js client: its scripts in tests/rest/node, run before a gateway."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY

FOLDER = Path(__file__).parents[1] / "rest" / "node"
HELLO = [{"role": "user", "content": "Hello"}]


@dataclass
class Node:
    """Runs the scripts of tests/rest/node."""

    program: str
    url: str

    def start(self, script: str, *arguments: str, max_retries: int = 0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.program, str(FOLDER / script), *arguments],
            env={
                **os.environ,
                "PARLEY_BASE_URL": f"{self.url}/v1",
                "PARLEY_API_KEY": KEY,
                "PARLEY_MAX_RETRIES": str(max_retries),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def output(self, script: str, given: Any = None, *, max_retries: int = 0) -> str:
        """What the script writes when it is given that."""
        with self.start(script, max_retries=max_retries) as process:
            try:
                output, errors = process.communicate(json.dumps(given), timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0, errors
        return output

    def ask(self, script: str, given: Any = None, *, max_retries: int = 0) -> Any:
        """The JSON that the script answers with."""
        return json.loads(self.output(script, given, max_retries=max_retries))

    def create(self, *, max_retries: int = 0, options: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
        """What came of one request."""
        requests = [{"request": {"model": "echo", "messages": HELLO} | request, "options": options or {}}]
        [result] = self.ask("create.mjs", requests, max_retries=max_retries)
        return result  # type: ignore[no-any-return]


def installed() -> str:
    """Node, with the client installed as the lock file says; without Node or npm the test is skipped."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs Node.js 20 or later with npm: apt-get install nodejs npm")
    lock = FOLDER / "package-lock.json"
    with lock.open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # another run of the tests may be installing
        record = FOLDER / "node_modules" / ".installed-lock.json"
        if not record.exists() or record.read_text() != lock.read_text():
            # The client names Node 22 as its oldest; it runs on 20 too, as these tests show.
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--engine-strict=false"]
            done = subprocess.run(
                [npm, "ci", *options], cwd=FOLDER, capture_output=True, text=True, timeout=100, check=False
            )
            assert done.returncode == 0, done.stderr
            record.write_text(lock.read_text())
    return node
