"""The service goes away and comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.gateway.answers import CHAT
from tests.gateway.scratch import running_gateway, running_service, wait_until, wait_until_ready
from tests.support.envoy import ROOT


def test_readiness_and_streams_follow_the_process(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/grpc.sock"
    with running_gateway(tmp_path, address) as gateway, httpx.Client(base_url=f"http://{gateway.address}") as rest:
        assert rest.get("/readyz").status_code == 503
        doomed = subprocess.Popen([sys.executable, "-m", "tests.gateway.doomed", address], cwd=ROOT)
        try:
            wait_until_ready(gateway)
            stream = rest.send(rest.build_request("POST", CHAT, json={"stream": True}), stream=True)
            pieces = stream.iter_raw()
            assert next(pieces).endswith(b"\n\n")
        finally:
            doomed.kill()
            doomed.wait()
        with pytest.raises(httpx.RemoteProtocolError):  # the body is cut, no clean end
            list(pieces)
        stream.close()
        wait_until(lambda: rest.get("/readyz").status_code == 503, patience_s=3)
        assert rest.get("/healthz").status_code == 200
        assert rest.post(CHAT, json={}).json()["error"]["code"] == "service_unavailable"
        with running_service(address):
            wait_until(lambda: rest.get("/readyz").status_code == 200, patience_s=3)
            assert rest.post(CHAT, json={}).status_code == 200
