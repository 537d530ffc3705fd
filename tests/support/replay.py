"""The replay server of the recordings: answers as the providers did, and tells what it was sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.recordings import FOLDER, REPLAY_PROGRAM, Interaction
from tests.support.stack import wait_for


@dataclass(frozen=True)
class Replay:
    """A running server."""

    url: str
    client: httpx.Client

    def base_url(self, recording: str) -> str:
        """What stands before the provider's own path."""
        return f"{self.url}/r/{recording}"

    def received(self, recording: str) -> list[dict[str, Any]]:
        """The requests since `begin`, with `path`, `headers`, `json` and `interaction`."""
        requests: list[dict[str, Any]] = self.client.get(f"/received/{recording}").raise_for_status().json()
        return requests

    def begin(self, recording: str) -> None:
        """Forget what was received, and answer with the first interaction next."""
        self.client.delete(f"/received/{recording}").raise_for_status()

    def pass_over(self, interaction: Interaction) -> None:
        """Have the interaction answered to nobody, so that the next one is next."""
        self.client.post(f"/r/{interaction.recording}{interaction.path}", json=interaction.request)


@contextmanager
def replaying(folder: Path) -> Iterator[Replay]:
    """Run the server until the block is left; `folder` takes its files."""
    port_file = folder / "port"
    arguments = ["--recordings", str(FOLDER), "--port", "0", "--port-file", str(port_file)]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen([sys.executable, str(REPLAY_PROGRAM), *arguments], stdout=output, stderr=output)
    try:
        wait_for(lambda: port_file.exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "output").read_text()
        url = f"http://127.0.0.1:{port_file.read_text().strip()}"
        with httpx.Client(base_url=url, timeout=30) as client:
            yield Replay(url, client)
    finally:
        process.terminate()
        process.wait(10)
