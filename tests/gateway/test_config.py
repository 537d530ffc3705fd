from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load_config


def load(folder: Path, text: str, **environ: str) -> Config:
    path = folder / "parley.yaml"
    path.write_text(text)
    return load_config({"PARLEY_CONFIG": str(path), **environ})


def test_without_a_file_the_defaults_hold() -> None:
    config = load_config({})
    assert str(config.listener) == "127.0.0.1:8080"
    assert str(config.upstreams[0]) == "127.0.0.1:50051"
    assert str(config.admin) == "127.0.0.1:9901"
    assert config.gateway.max_body_mib == 32
    assert not config.has_keys


@pytest.mark.parametrize("text", ["", "gateway:\n", "gateway: {}\nserver:\nauth:\n"])
def test_empty_files_and_sections_are_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == load_config({})


def test_sections_and_keys_of_the_service_are_ignored(tmp_path: Path) -> None:
    text = """
    server: {grpc_address: "127.0.0.1:7000", drain_grace_s: 5}
    auth: {keys: [{name: a, sha256: "00"}]}
    providers: {local: {kind: embedded}}
    models: {}
    """
    config = load(tmp_path, text)
    assert str(config.upstreams[0]) == "127.0.0.1:7000"
    assert config.has_keys


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gateway: {http_adress: x}", "gateway: object contains unknown field `http_adress`"),
        ("gateway: {max_body_mib: many}", "gateway.max_body_mib: expected `int`, got `str`"),
        ("gateway: {max_body_mib: 0}", "gateway.max_body_mib: expected `int` >= 1"),
        ("gateway: {stream_idle_timeout_s: 0}", "gateway.stream_idle_timeout_s: expected `float` > 0"),
        ("gateway: {cors_origins: example.org}", "gateway.cors_origins: expected `array`, got `str`"),
        ("gateway: {cors_origins: ['https://a.org/x']}", "gateway.cors_origins[0]: expected"),
        ("gateway: {tls: {cert_file: a}}", "gateway.tls: object missing required field `key_file`"),
        (
            "gateway: {upstream_tls: {ca_file: a, cert_file: b}}",
            "gateway.upstream_tls: expected cert_file and key_file",
        ),
        ("server: {tls: {cert_file: a, key_file: b}}", "gateway.upstream_tls: expected a mapping with ca_file"),
        ("gateway: {http_address: 8080}", "gateway.http_address: expected `str`, got `int`"),
        ("gateway: {http_address: localhost}", "gateway.http_address: expected host:port"),
        ("gateway: {http_address: 'example.org:80'}", "gateway.http_address: expected an IP address to listen on"),
        ("gateway: {http_address: '127.0.0.1:70000'}", "gateway.http_address: expected host:port"),
        ("server: {grpc_address: '127.0.0.1:0'}", "server.grpc_address: expected the port"),
        ("gateway: {drain_grace_s: -1}", "gateway.drain_grace_s: expected `float` >= 0"),
        ("gateway: {upstream_addresses: []}", "gateway.upstream_addresses: expected `array` of length >= 1"),
        ("gateway: {upstream_addresses: 'a:1'}", "gateway.upstream_addresses: expected `array | null`, got `str`"),
        ("gateway: {upstream_addresses: ['a:1', 'b']}", "gateway.upstream_addresses[1]: expected host:port"),
        ("gateway: {upstream_addresses: ['a:1', 'a:1']}", "gateway.upstream_addresses[1]: expected different"),
        ("gateway: {upstream_addresses: ['a:1', 'unix:/b']}", "expected either Unix sockets or names of hosts"),
        (
            "gateway: {upstream_addresses: ['a:1', 'b:1'], upstream_tls: {ca_file: c}}",
            "gateway.upstream_tls.server_name: expected the name in the replicas' certificates",
        ),
        ("gateway: {metrics_address: 'example.org:1'}", "gateway.metrics_address: expected an IP address to listen on"),
        ("gateway: {metrics_address: ''}", "gateway.metrics_address: expected host:port"),
        ("gateway: {metrics_address: '127.0.0.1:8080'}", "gateway.metrics_address: expected another address than"),
        ("gateway: {max_heap_mib: 16}", "gateway.max_heap_mib: expected `int` >= 32"),
        ("gateway: {max_connections: 0}", "gateway.max_connections: expected `int` >= 1"),
        ("gateway: {max_open_calls: 0}", "gateway.max_open_calls: expected `int` >= 1"),
        ("gateway: {workers: 0}", "gateway.workers: expected `int` >= 1"),
        ("gateway: {max_connection_age_s: 0}", "gateway.max_connection_age_s: expected `float` > 0"),
        ("auth: {allow_open: maybe}", "auth.allow_open: expected `bool`, got `str`"),
        ("[]", "the top level: expected `object`, got `array`"),
        ("gateway: [", "is not YAML"),
    ],
)
def test_errors_name_the_path_and_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"PARLEY_CONFIG: can't read .*nowhere"):
        load_config({"PARLEY_CONFIG": str(tmp_path / "nowhere")})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PARLEY_GRPC_ADDRESS": "127.0.0.1:1"}, "127.0.0.1:1"),
        ({"PARLEY_GRPC_ADDRESS": "127.0.0.1:1", "PARLEY_UPSTREAM_ADDRESS": "parley:2"}, "parley:2"),
        ({"PARLEY_GRPC_ADDRESS": "0.0.0.0:1"}, "127.0.0.1:1"),
        ({"PARLEY_GRPC_ADDRESS": "[::]:1"}, "[::1]:1"),
        ({"PARLEY_UPSTREAM_ADDRESS": "[fd00::1]:2"}, "[fd00::1]:2"),
        ({"PARLEY_UPSTREAM_ADDRESS": "unix:/run/parley.sock"}, "unix:/run/parley.sock"),
        ({"PARLEY_UPSTREAM_ADDRESS": "a:1, [::1]:2,127.0.0.1:3"}, "a:1,[::1]:2,127.0.0.1:3"),
        ({"PARLEY_UPSTREAM_ADDRESS": "unix:/a,127.0.0.1:3"}, "unix:/a,127.0.0.1:3"),
    ],
)
def test_the_environment_says_where_the_service_is(environ: dict[str, str], expected: str) -> None:
    assert ",".join(map(str, load_config(environ).upstreams)) == expected


def test_the_file_may_list_the_replicas(tmp_path: Path) -> None:
    text = "{server: {grpc_address: '127.0.0.1:1'}, gateway: {upstream_addresses: ['a:1', 'b:2']}}"
    assert [str(upstream) for upstream in load(tmp_path, text).upstreams] == ["a:1", "b:2"]
    assert len(load(tmp_path, text, PARLEY_GRPC_ADDRESS="c:3").upstreams) == 2
    assert [str(upstream) for upstream in load(tmp_path, text, PARLEY_UPSTREAM_ADDRESS="c:3").upstreams] == ["c:3"]


@pytest.mark.parametrize("text", ["a:1,", "a:1,,b:2", ",", "a:1,a:1"])
def test_a_wrong_list_of_replicas_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="PARLEY_UPSTREAM_ADDRESS: expected"):
        load_config({"PARLEY_UPSTREAM_ADDRESS": text})


def test_replicas_of_one_host_need_no_server_name(tmp_path: Path) -> None:
    text = "gateway: {upstream_addresses: ['a:1', 'a:2'], upstream_tls: {ca_file: c}}"
    assert len(load(tmp_path, text).upstreams) == 2


@pytest.mark.parametrize(
    "variable",
    ["PARLEY_HTTP_ADDRESS", "PARLEY_UPSTREAM_ADDRESS", "PARLEY_ENVOY_ADMIN_ADDRESS", "PARLEY_GATEWAY_METRICS_ADDRESS"],
)
def test_errors_name_the_variable(variable: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load_config({variable: "nonsense"})


@pytest.mark.parametrize("address", ["0.0.0.0:9901", "[::]:9901", "192.0.2.1:9901"])
def test_the_admin_address_is_never_bound_elsewhere(address: str) -> None:
    with pytest.raises(ConfigError, match="PARLEY_ENVOY_ADMIN_ADDRESS: expected a loopback address"):
        load_config({"PARLEY_ENVOY_ADMIN_ADDRESS": address})


def test_metrics_may_be_read_from_other_machines(tmp_path: Path) -> None:
    assert str(load(tmp_path, "gateway: {metrics_address: '0.0.0.0:9465'}").operations) == "0.0.0.0:9465"
    assert str(load_config({"PARLEY_GATEWAY_METRICS_ADDRESS": "[::]:1"}).operations) == "[::]:1"
    assert load(tmp_path, "gateway: {metrics_address: null}").operations is None


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080"])
def test_without_keys_only_loopback_is_bound(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"auth\.keys, or auth\.allow_open: true"):
        load_config({"PARLEY_HTTP_ADDRESS": address})
    for auth in ("{allow_open: true}", "{keys: [{name: a, sha256: '00'}]}"):
        config = load(tmp_path, f"auth: {auth}", PARLEY_HTTP_ADDRESS=address)
        assert str(config.listener) == address


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:80", "[::1]:80", "localhost:80"])
def test_loopback_is_always_allowed(address: str) -> None:
    assert load_config({"PARLEY_HTTP_ADDRESS": address}).listener.is_loopback
