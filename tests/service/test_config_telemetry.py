"""The section `telemetry`: what is taken, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import load_config
from service.errors import ConfigError
from service.settings import Secret
from service.telemetry.receiver import receiver_address, receiver_credentials, receiver_headers
from service.telemetry_reading import read_headers
from service.telemetry_settings import Metrics, Otlp, Telemetry, Traces

CANARY = "c4n4ry-token"
COLLECTOR = {"endpoint": "http://collector:4317"}


def load(folder: Path, telemetry: Any = None, **environ: str) -> Telemetry:
    file = folder / "parley.yaml"
    least = {
        "providers": {"p": {"kind": "embedded"}},
        "models": {"m": {"targets": [{"provider": "p", "model": "x"}]}},
    }
    file.write_text(yaml.safe_dump({**least, **({} if telemetry is None else {"telemetry": telemetry})}))
    return load_config({"PARLEY_CONFIG": str(file), **environ}).telemetry


@pytest.mark.parametrize("section", [None, {}])
def test_by_default_metrics_are_read_on_this_machine_and_nothing_is_sent(tmp_path: Path, section: Any) -> None:
    assert load(tmp_path, section) == Telemetry(
        service_name="parley", otlp=None, metrics=Metrics(address="127.0.0.1:9464", push_interval_s=None), traces=None
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    section = {
        "service_name": "parley-eu",
        "otlp": {"endpoint": "https://collector.example.org:4317", "ca_file": str(ca), "headers_env": "OTLP_HEADERS"},
        "metrics": {"address": "[::]:9999", "push_interval_s": 60},
        "traces": {"sample_ratio": 1, "content": True, "to_providers": False},
    }
    headers = f"Authorization=Bearer {CANARY}, x-team = a=b"

    found = load(tmp_path, section, OTLP_HEADERS=headers)

    assert found.service_name == "parley-eu"
    assert found.metrics == Metrics(address="[::]:9999", push_interval_s=60)
    assert found.traces == Traces(sample_ratio=1, content=True, to_providers=False)
    assert found.otlp is not None
    assert found.otlp.headers == Secret(headers)
    assert receiver_address(found.otlp) == "collector.example.org:4317"
    assert receiver_headers(found.otlp) == (("authorization", f"Bearer {CANARY}"), ("x-team", "a=b"))
    assert CANARY not in repr(found)


def test_headers_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text(f"authorization=Bearer {CANARY}\n")

    found = load(tmp_path, {"otlp": {**COLLECTOR, "headers_file": str(tmp_path / "headers")}})

    assert found.otlp is not None
    assert receiver_headers(found.otlp) == (("authorization", f"Bearer {CANARY}"),)


def test_metrics_may_be_read_nowhere(tmp_path: Path) -> None:
    assert load(tmp_path, {"metrics": {"address": None}}).metrics.address is None


@pytest.mark.parametrize("section", [None, {"metrics": {"address": None}}, {"metrics": {"address": "127.0.0.1:1"}}])
def test_the_environment_overrides_where_they_are_read(tmp_path: Path, section: Any) -> None:
    assert load(tmp_path, section, PARLEY_METRICS_ADDRESS="0.0.0.0:9464").metrics.address == "0.0.0.0:9464"
    assert load(tmp_path, section, PARLEY_METRICS_ADDRESS="") == load(tmp_path, section)


@pytest.mark.parametrize(
    ("endpoint", "address", "is_secure"),
    [
        ("http://collector:4317", "collector:4317", False),
        ("http://collector", "collector:4317", False),
        ("http://[::1]", "[::1]:4317", False),
        ("http://[::1]:1", "[::1]:1", False),
        ("https://collector/", "collector:4317", True),
    ],
)
def test_the_endpoint_says_where_and_whether_with_tls(endpoint: str, address: str, *, is_secure: bool) -> None:
    otlp = Otlp(endpoint=endpoint)

    assert receiver_address(otlp) == address
    assert (receiver_credentials(otlp) is not None) == is_secure
    assert receiver_headers(otlp) == ()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_that_cant_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ConfigError, match=r"^telemetry\.otlp\.ca_file: .*(can't be read|is no PEM file)"):
        receiver_credentials(Otlp(endpoint="https://collector", ca_file=str(file)))


def otlp(**fields: Any) -> dict[str, Any]:
    return {"otlp": {**COLLECTOR, **fields}}


REFUSED: dict[str, tuple[Any, str]] = {
    "another key": ({"metric": {}}, "telemetry: Object contains unknown field `metric`"),
    "an empty name": ({"service_name": ""}, "telemetry.service_name"),
    "no endpoint": ({"otlp": {}}, "telemetry.otlp: Object missing required field `endpoint`"),
    "an endpoint without a scheme": (otlp(endpoint="collector:4317"), "telemetry.otlp.endpoint: expected"),
    "an endpoint of another scheme": (otlp(endpoint="grpc://collector"), "telemetry.otlp.endpoint: expected"),
    "an endpoint with a password": (otlp(endpoint="http://a:b@collector"), "telemetry.otlp.endpoint: expected no"),
    "an endpoint whose port is none": (otlp(endpoint="http://collector:99999"), "telemetry.otlp.endpoint: expected"),
    "a CA that is not there": (otlp(ca_file="/no/such/file"), "telemetry.otlp.ca_file: /no/such/file is no file"),
    "headers in the file itself": (otlp(headers="a=b"), "telemetry.otlp.headers"),
    "headers from two places": (otlp(headers_env="A", headers_file="b"), "telemetry.otlp: give `headers_env` or"),
    "a variable that is not set": (otlp(headers_env="NO_SUCH"), "telemetry.otlp.headers_env: the environment"),
    "a variable of no such name": (otlp(headers_env="a=b"), "telemetry.otlp.headers_env: expected the name"),
    "a file that is not there": (otlp(headers_file="/no/such"), "telemetry.otlp.headers_file: /no/such can't be read"),
    "an address without a port": ({"metrics": {"address": "localhost"}}, "telemetry.metrics.address: expected"),
    "an address whose port is none": ({"metrics": {"address": "a:99999"}}, "telemetry.metrics.address: expected"),
    "a Unix socket": ({"metrics": {"address": "unix:/run/x"}}, "telemetry.metrics.address: expected host:port; Prom"),
    "pushing too often": (
        {**otlp(), "metrics": {"push_interval_s": 0.5}},
        "telemetry.metrics.push_interval_s: Expected",
    ),
    "pushing too rarely": (
        {**otlp(), "metrics": {"push_interval_s": 3601}},
        "telemetry.metrics.push_interval_s: Expected",
    ),
    "pushing to nobody": (
        {"metrics": {"push_interval_s": 60}},
        "telemetry.metrics.push_interval_s: needs `telemetry.o",
    ),
    "tracing to nobody": ({"traces": {}}, "telemetry.traces: needs `telemetry.otlp`"),
    "less than no share": ({**otlp(), "traces": {"sample_ratio": -0.1}}, "telemetry.traces.sample_ratio: Expected"),
    "more than all": ({**otlp(), "traces": {"sample_ratio": 1.1}}, "telemetry.traces.sample_ratio: Expected"),
    "content that is no yes or no": ({**otlp(), "traces": {"content": "some"}}, "telemetry.traces.content"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named_by_its_path(tmp_path: Path, name: str) -> None:
    section, message = REFUSED[name]

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, section)

    assert str(caught.value).startswith(message), caught.value


@pytest.mark.parametrize(
    "headers",
    [
        CANARY,
        f"a={CANARY},{CANARY}",
        f"a b={CANARY}",
        f"a={CANARY}\x01",
        f"={CANARY}",
        f"authorization={CANARY}\n\x01",
        f"grpc-x={CANARY}",
        f"x-bin={CANARY}",
        f"a={CANARY}ä",
    ],
)
def test_headers_that_are_none_are_refused_without_being_quoted(tmp_path: Path, headers: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, otlp(headers_env="HEADERS"), HEADERS=headers)

    assert str(caught.value).startswith("telemetry.otlp.headers_env: expected headers as name=value")
    assert CANARY not in str(caught.value)


def test_a_headers_name_is_in_lower_case_and_its_value_as_it_is() -> None:
    assert read_headers("x", "X-Team=A=b ,y=,Api-Key=c") == {"x-team": "A=b", "y": "", "api-key": "c"}
