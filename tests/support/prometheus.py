"""Prometheus and promtool, of Debian's package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.stack import START_S, wait_for


def program(name: str) -> str:
    """Where it is; the test fails where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: apt-get install --no-install-recommends prometheus")
    return found


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)


class Prometheus:
    """A running one."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        """The data that its API answers with."""
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.load(error)['error']}") from None

    def labels(self, expression: str) -> list[dict[str, str]]:
        """Those of each series of the expression's value now."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return [dict(series["metric"]) for series in result]

    def value(self, expression: str) -> float:
        """The sum of the expression's values now; 0 where it has none."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return sum(float(series["value"][1]) for series in result)


@contextmanager
def prometheus(folder: Path, jobs: Mapping[str, str], rules: Path, *, interval: str) -> Iterator[Prometheus]:
    """Have it scrape an address for each job, and evaluate the rules of a folder, until the block is left.

    All series have the label `namespace`, which Kubernetes would give them.
    """
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(rules / "*.yaml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address], "labels": {"namespace": "parley"}}]}
            for job, address in jobs.items()
        ],
    }
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(yaml.safe_dump(config))
    command = [program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    with log.open("w") as out:
        process = subprocess.Popen([*command, "--web.listen-address=127.0.0.1:0"], stdout=out, stderr=out)
    try:
        yield Prometheus(wait_for(lambda: _address(process, log), START_S))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where it listens, once it is ready."""
    text = log.read_text()
    assert process.poll() is None, f"Prometheus ended:\n{text}"
    found = re.search(r'msg="Listening on" address=(\S+)', text)
    return found[1] if found and "ready to receive web requests" in text else ""
