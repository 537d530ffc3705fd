"""An overlay as users write one: an overlay of `deploy/` with a configuration and Secrets of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import KEY
from tests.support.certificates import Certificates
from tests.support.envoy import ROOT

MODEL = "openai"
"""As the calls of `tests/soak/streams.py` name it."""
MIN_READY_S = 2
Manifest = dict[str, Any]
Secrets = Mapping[str, Mapping[str, str]]
_SECRETS: Secrets = {
    "parley-providers": {"quick": "s3cret-of-the-provider"},
    "parley-database": {"url": "postgresql://nobody@nowhere/none"},  # nothing is stored
}


@dataclass(frozen=True)
class Overlay:
    """What `parley.yaml` says, and what else differs from the overlay in `deploy/`."""

    base_url: str
    """Of the one provider."""
    models: tuple[str, ...] = (MODEL,)
    broken_models: tuple[str, ...] = ()
    """Those whose provider is not configured."""
    notices_s: Mapping[str, int] = field(default_factory=dict)
    """By part, how long its preStop hook sleeps, where not as shipped. It is then awaited less long, too, whether a
    new replica stays ready."""
    certificates: Certificates | None = None
    """With them it is the example with TLS, otherwise `replicated`."""

    def render(self, folder: Path) -> list[Manifest]:
        """What `kubectl kustomize` makes of it, written to `folder`."""
        folder.mkdir(exist_ok=True)
        (folder / "parley.yaml").write_text(yaml.safe_dump(self._configuration()), "utf-8")
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "parley",
            "resources": [os.path.relpath(self._shipped, folder.resolve())],
            "configMapGenerator": [{"name": "parley-config", "behavior": "replace", "files": ["parley.yaml"]}],
            "secretGenerator": [_written(folder, *secret) for secret in self._secrets().items()],
            "patches": [_with_notice(part, notice_s) for part, notice_s in self.notices_s.items()],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
        done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    @property
    def _shipped(self) -> Path:
        return ROOT / "deploy" / ("examples/tls" if self.certificates else "overlays/replicated")

    def _configuration(self) -> dict[str, Any]:
        """The drain's times and TLS are those of the shipped one."""
        shipped = yaml.safe_load((self._shipped / "parley.yaml").read_text("utf-8"))
        if self.certificates:
            shipped["gateway"]["upstream_tls"]["server_name"] = "localhost"  # in the tests' certificates
        key_file = "/run/secrets/providers/quick"
        good = {name: {"targets": [{"provider": "quick", "model": "m-1"}]} for name in self.models}
        broken = {name: {"targets": [{"provider": "nobody", "model": "m-1"}]} for name in self.broken_models}
        return {
            "server": shipped["server"],
            "gateway": shipped["gateway"],
            "auth": {"keys": [{"name": "team-a", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]},
            "providers": {"quick": {"kind": "openai", "base_url": self.base_url, "api_key_file": key_file}},
            "models": {**good, **broken},
        }

    def _secrets(self) -> Secrets:
        if not (files := self.certificates):
            return _SECRETS
        ca = {"ca.crt": files.ca.read_text()}
        server = ca | {"tls.crt": files.server_cert.read_text(), "tls.key": files.server_key.read_text()}
        client = ca | {"tls.crt": files.client_cert.read_text(), "tls.key": files.client_key.read_text()}
        tls = {"parley-service-tls": server, "parley-gateway-tls": server, "parley-gateway-upstream-tls": client}
        return {**_SECRETS, **tls}


def _written(folder: Path, name: str, contents: Mapping[str, str]) -> dict[str, Any]:
    """A Secret, from files of the folder."""
    for key, text in contents.items():
        (folder / f"{name}-{key}").write_text(text, "utf-8")
    return {"name": name, "files": [f"{key}={name}-{key}" for key in contents]}


def _with_notice(part: str, notice_s: int) -> dict[str, Any]:
    seconds = "/spec/template/spec/containers/0/lifecycle/preStop/sleep/seconds"
    patch = [
        {"op": "replace", "path": seconds, "value": notice_s},
        {"op": "replace", "path": "/spec/minReadySeconds", "value": MIN_READY_S},
    ]
    return {"target": {"kind": "Deployment", "name": f"parley-{part}"}, "patch": yaml.safe_dump(patch)}
