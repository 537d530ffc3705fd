"""The configuration: what is taken, and what is refused with which words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import (
    Auth,
    Config,
    EmbeddedProvider,
    Key,
    Model,
    OpenAIProvider,
    Server,
    Target,
    Tls,
    load_config,
)
from service.config_checks import is_loopback
from service.errors import ConfigError
from service.settings import Secret
from service.storage.settings import Storage

CANARY = "sk-c4n4ry"
SHA = "0123456789abcdef" * 4
MODELS = {"m": {"targets": [{"provider": "local", "model": "x"}]}}
LEAST: dict[str, Any] = {"providers": {"local": {"kind": "embedded"}}, "models": MODELS}

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a file's content (text, bytes, or what YAML is to be written of) under an environment."""

    def load_content(content: object, **environ: str) -> Config:
        path = tmp_path / "parley.yaml"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), "utf-8")
        return load_config({"PARLEY_CONFIG": str(path), **environ})

    return load_content


def openai(**fields: Any) -> dict[str, Any]:
    """A file with one OpenAI provider `p`."""
    provider = {"kind": "openai", "base_url": "https://api.example.org/v1", **fields}
    return {"providers": {"p": provider}, "models": {"m": {"targets": [{"provider": "p", "model": "x"}]}}}


def provider_of(config: Config) -> OpenAIProvider:
    provider = config.providers["p"]
    assert isinstance(provider, OpenAIProvider)
    return provider


DEFAULT = Config(
    server=Server(
        grpc_address="127.0.0.1:50051",
        health_address=None,
        drain_grace_s=30.0,
        sse_keepalive_s=15.0,
        tls=None,
    ),
    auth=Auth(allow_open=False, keys=[]),
    providers={"local": EmbeddedProvider()},
    models={"smollm2": Model(targets=[Target(provider="local", model="smollm2-135m-instruct")])},
    storage=Storage(data_dir="data"),
)


@pytest.mark.parametrize("environ", [{}, {"PARLEY_CONFIG": ""}, {"PARLEY_GRPC_ADDRESS": ""}])
def test_without_a_file_the_embedded_model_is_served_on_loopback(environ: dict[str, str]) -> None:
    assert load_config(environ) == DEFAULT


def test_a_whole_file_is_read(load: Load, tmp_path: Path) -> None:
    for name in ("key", "m.gguf", "ca.pem"):
        (tmp_path / name).write_text(f"{CANARY}\n", "utf-8")
    config = load(
        {
            "server": {
                "grpc_address": "0.0.0.0:50051",
                "health_address": "0.0.0.0:50052",
                "drain_grace_s": 5,
                "sse_keepalive_s": 0.5,
                "tls": {"cert_file": "c.pem", "key_file": "k.pem", "client_ca_file": "ca.pem"},
            },
            "gateway": {"http_address": "127.0.0.1:8080", "cors_origins": []},
            "auth": {"allow_open": False, "keys": [{"name": "team-a", "sha256": SHA}]},
            "providers": {
                "local": {
                    "kind": "embedded",
                    "context_tokens": 2048,
                    "slots": 2,
                    "threads": 2,
                    "model_file": str(tmp_path / "m.gguf"),
                },
                "p": {
                    "kind": "openai",
                    "base_url": "https://api.example.org/v1",
                    "api_key_file": str(tmp_path / "key"),
                    "headers": {"x-team": "a"},
                    "ca_file": str(tmp_path / "ca.pem"),
                    "connect_timeout_s": 1,
                    "read_timeout_s": 2.5,
                },
            },
            "models": {
                "smollm2": {"targets": [{"provider": "local", "model": "smollm2-135m-instruct"}], "created": 5},
                "org/gpt-4o": {"targets": [{"provider": "p", "model": "gpt-4o"}]},
            },
        }
    )

    key = provider_of(config).api_key
    assert key is not None
    assert key.reveal() == CANARY
    assert config == Config(
        server=Server(
            grpc_address="0.0.0.0:50051",
            health_address="0.0.0.0:50052",
            drain_grace_s=5,
            sse_keepalive_s=0.5,
            tls=Tls(cert_file="c.pem", key_file="k.pem", client_ca_file="ca.pem"),
        ),
        auth=Auth(keys=[Key(name="team-a", sha256=SHA)]),
        providers={
            "local": EmbeddedProvider(model_file=str(tmp_path / "m.gguf"), context_tokens=2048, slots=2, threads=2),
            "p": OpenAIProvider(
                base_url="https://api.example.org/v1",
                api_key_file=str(tmp_path / "key"),
                api_key=key,
                headers={"x-team": "a"},
                ca_file=str(tmp_path / "ca.pem"),
                connect_timeout_s=1,
                read_timeout_s=2.5,
            ),
        },
        models={
            "smollm2": Model(targets=[Target(provider="local", model="smollm2-135m-instruct")], created=5),
            "org/gpt-4o": Model(targets=[Target(provider="p", model="gpt-4o")]),
        },
    )
    assert list(config.models) == ["smollm2", "org/gpt-4o"]


UNKNOWN_KEYS = [
    ({**LEAST, "servers": {}}, "the file: Object contains unknown field `servers`"),
    ({**LEAST, "server": {"grpc_adress": "x"}}, "server: Object contains unknown field `grpc_adress`"),
    (
        {**LEAST, "server": {"tls": {"cert_file": "a", "key_file": "b", "ca": "c"}}},
        "server.tls: Object contains unknown field `ca`",
    ),
    ({**LEAST, "auth": {"open": True}}, "auth: Object contains unknown field `open`"),
    (
        {**LEAST, "auth": {"keys": [{"name": "a", "sha256": SHA}, {"name": "b", "sha256": SHA, "key": "x"}]}},
        "auth.keys[1]: Object contains unknown field `key`",
    ),
    (openai(url="x"), "providers.p: Object contains unknown field `url`"),
    (
        {**LEAST, "providers": {"local": {"kind": "embedded", "base_url": "x"}}},
        "providers.local: Object contains unknown field `base_url`",
    ),
    (
        {**LEAST, "models": {"m": {**MODELS["m"], "fallback": []}}},
        "models.m: Object contains unknown field `fallback`",
    ),
    (
        {**LEAST, "models": {"m": {"targets": [{"provider": "local", "model": "x", "wait": 1}]}}},
        "models.m.targets[0]: Object contains unknown field `wait`",
    ),
]

DIALECT_NAMES = (
    "generic, openai, azure, groq, mistral, deepseek, openrouter, cerebras, together, huggingface, xai, ollama, vllm, "
    "llamacpp, zai"
)
WRONG_VALUES = [
    ("- a", "the file: Expected `object`, got `array`"),
    ("text", "the file: Expected `object`, got `str`"),
    ({**LEAST, "server": []}, "server: Expected `object`, got `array`"),
    ({**LEAST, "server": {"grpc_address": 50051}}, "server.grpc_address: Expected `str`, got `int`"),
    ({**LEAST, "server": {"drain_grace_s": 0}}, "server.drain_grace_s: Expected `float` > 0.0"),
    ({**LEAST, "server": {"drain_grace_s": -1.5}}, "server.drain_grace_s: Expected `float` > 0.0"),
    ({**LEAST, "server": {"sse_keepalive_s": "15"}}, "server.sse_keepalive_s: Expected `float`, got `str`"),
    ({**LEAST, "server": {"tls": {"cert_file": "a"}}}, "server.tls: Object missing required field `key_file`"),
    ({**LEAST, "auth": {"allow_open": "yes"}}, "auth.allow_open: Expected `bool`, got `str`"),
    ({**LEAST, "auth": {"keys": {}}}, "auth.keys: Expected `array`, got `object`"),
    ({**LEAST, "auth": {"keys": [{"name": "a"}]}}, "auth.keys[0]: Object missing required field `sha256`"),
    ({**LEAST, "auth": {"keys": [{"name": "", "sha256": SHA}]}}, "auth.keys[0].name: Expected `str` of length >= 1"),
    ({**LEAST, "auth": {"keys": [{"name": "a", "sha256": 5}]}}, "auth.keys[0].sha256: Expected `str`, got `int`"),
    ({**LEAST, "providers": {"p": None}}, "providers.p: Expected `object`, got `null`"),
    ({**LEAST, "providers": {"p": {}}}, "providers.p: Object missing required field `kind`"),
    (
        openai(base_url=None),
        "providers.p.base_url: needed, unless `dialect` names an API with an address of its own",
    ),
    *(
        (
            openai(base_url=None, dialect=name),
            "providers.p.base_url: needed, unless `dialect` names an API with an address of its own",
        )
        for name in ("azure", "generic")
    ),
    *(
        (
            openai(dialect=name),
            f"providers.p.dialect: there is no dialect {name!r}; there are {DIALECT_NAMES}",
        )
        for name in ("embedded", "OpenAI", "")
    ),
    (openai(dialect=5), "providers.p.dialect: Expected `str | null`, got `int`"),
    (openai(api_version="2024-10-21"), "providers.p.api_version: only for the dialect `azure`"),
    *(
        (
            openai(dialect="azure", api_version=version),
            "providers.p.api_version: expected a version such as 2024-12-01-preview",
        )
        for version in ("", "a&b=c", "2024-10-21\n", "v" * 65)
    ),
    (
        {**LEAST, "providers": {"p": {"kind": "other"}}},
        "providers.p.kind: Invalid value 'other', expected `openai`, `anthropic`, `gemini`, `cohere` or `embedded`",
    ),
    (openai(headers=["a"]), "providers.p.headers: Expected `object`, got `array`"),
    (openai(read_timeout_s=0), "providers.p.read_timeout_s: Expected `float` > 0.0"),
    (
        {**LEAST, "providers": {"local": {"kind": "embedded", "slots": 65}}},
        "providers.local.slots: Expected `int` <= 64",
    ),
    (
        {**LEAST, "providers": {"local": {"kind": "embedded", "context_tokens": 63}}},
        "providers.local.context_tokens: Expected `int` >= 64",
    ),
    (
        {**LEAST, "providers": {"local": {"kind": "embedded", "threads": 0}}},
        "providers.local.threads: Expected `int` >= 1",
    ),
    ({**LEAST, "models": {4: MODELS["m"]}}, "models: Expected `str`, got `int` as a key; write it in quotes"),
    (
        {**LEAST, "models": {date(2026, 11, 22): MODELS["m"]}},
        "models: Expected `str`, got `date` as a key; write it in quotes",
    ),
    (openai(headers={1: "a"}), "providers.p.headers: Expected `str`, got `int` as a key; write it in quotes"),
    ({**LEAST, "models": {"m": {}}}, "models.m: Object missing required field `targets`"),
    ({**LEAST, "models": {"m": {"targets": []}}}, "models.m.targets: Expected `array` of length >= 1"),
    (
        {**LEAST, "models": {"m": {"targets": [{"provider": "local"}]}}},
        "models.m.targets[0]: Object missing required field `model`",
    ),
    (
        {**LEAST, "models": {"a.b/c": {"targets": [{"provider": "local", "model": ""}]}}},
        "models.a.b/c.targets[0].model: Expected `str` of length >= 1",
    ),
    ({**LEAST, "models": {"m": {**MODELS["m"], "created": -1}}}, "models.m.created: Expected `int` >= 0"),
    ({**LEAST, "models": {"m": {**MODELS["m"], "created": 2**32}}}, "models.m.created: Expected `int` <= 4294967295"),
]

NOT_FITTING = [
    ("", "models: at least one model is needed"),
    ("# nothing but a comment\n", "models: at least one model is needed"),
    ({"providers": LEAST["providers"]}, "models: at least one model is needed"),
    ({**LEAST, "models": {}}, "models: at least one model is needed"),
    (
        {"models": MODELS},
        "models.m.targets[0].provider: there is no provider 'local' (configured: none)",
    ),
    (
        {"providers": {"b": {"kind": "embedded"}, "a": {"kind": "embedded"}}, "models": MODELS},
        "models.m.targets[0].provider: there is no provider 'local' (configured: a, b)",
    ),
    *(
        (
            openai(base_url=url),
            "providers.p.base_url: expected an http:// or https:// URL such as https://api.openai.com/v1",
        )
        for url in ("", "api.openai.com/v1", "ftp://x/v1", "https://", "https:///v1", "unix:/x")
    ),
    *(
        (openai(base_url=url), "providers.p.base_url: expected no credentials, query or fragment")
        for url in ("https://u:sk-c4n4ry@x/v1", "https://sk-c4n4ry@x/v1", "https://x/v1?key=sk-c4n4ry", "https://x/v1#a")
    ),
    *(
        (
            openai(headers={name: CANARY}),
            f"providers.p.headers.{name}: credentials come from `api_key_env` or `api_key_file`",
        )
        for name in ("Authorization", "authorization", "X-API-Key", "api-key")
    ),
    *(
        (
            {**LEAST, "auth": {"keys": [{"name": "a", "sha256": SHA}, {"name": "b", "sha256": sha}]}},
            "auth.keys[1].sha256: expected 64 hexadecimal digits (`printf %s KEY | sha256sum`)",
        )
        for sha in ("", SHA[:-1], SHA + "0", "g" * 64, SHA + "\n", f"sha256:{SHA}", "sk-c4n4ry")
    ),
    (
        {**LEAST, "auth": {"keys": [{"name": "a", "sha256": SHA}, {"name": "a", "sha256": "f" * 64}]}},
        "auth.keys[1].name: 'a' occurs twice",
    ),
    (
        {**LEAST, "auth": {"keys": [{"name": "a", "sha256": SHA}, {"name": "b", "sha256": SHA.upper()}]}},
        "auth.keys[1].sha256: the key of 'a' once more; it can have one name",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), [*UNKNOWN_KEYS, *WRONG_VALUES, *NOT_FITTING])
def test_what_is_wrong_is_told_by_its_path(load: Load, content: object, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(content)

    assert str(raised.value) == message
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("a: [", "line 1: "),
        ("server:\n  grpc_address: a: b\n", "line 2: "),
        ("server:\n\ttls: null\n", "line 2: "),
        ("a: !python/object:os.system x", "line 1: "),
        ("a: *b", "line 1: "),
        ("models: {a: 1}\nmodels: {b: 2}", "line 1: 'models' occurs twice"),
    ],
)
def test_broken_yaml_is_told_by_its_line(load: Load, tmp_path: Path, content: str, place: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(content)

    assert str(raised.value).startswith(f"{tmp_path / 'parley.yaml'}: no valid YAML at {place}")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("server: {grpc_address: \x07}\n", id="control character"),
        pytest.param("models: 2021-99-99\n", id="a date that is none"),
        pytest.param("a: " + "[" * 3000, id="far too deep"),
    ],
)
def test_a_file_that_yaml_cant_take_is_a_config_error(load: Load, content: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(content)

    assert "parley.yaml" in str(raised.value)


def test_a_file_that_is_not_utf_8_is_told(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(b"\xff\xfe")

    assert str(raised.value).startswith(f"PARLEY_CONFIG: {tmp_path / 'parley.yaml'} can't be read: ")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"

    with pytest.raises(ConfigError) as raised:
        load_config({"PARLEY_CONFIG": str(path)})

    assert str(raised.value).startswith(f"PARLEY_CONFIG: {path} can't be read: ")
    assert "No such file" in str(raised.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load_config({"PARLEY_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("fields", "dialect", "address"),
    [
        ({}, "generic", "https://api.example.org/v1"),
        ({"base_url": "https://api.groq.com/openai/v1"}, "groq", "https://api.groq.com/openai/v1"),
        ({"base_url": "https://r.openai.azure.com"}, "azure", "https://r.openai.azure.com"),
        ({"base_url": "https://api.groq.com/openai/v1", "dialect": "generic"}, "generic", "https://api.groq.com/openai/v1"),
        ({"dialect": "vllm"}, "vllm", "https://api.example.org/v1"),
        ({"dialect": "azure", "api_version": "2024-10-21"}, "azure", "https://api.example.org/v1"),
        ({"base_url": None, "dialect": "mistral"}, "mistral", "https://api.mistral.ai/v1"),
        ({"base_url": None, "dialect": "openai"}, "openai", "https://api.openai.com/v1"),
        ({"base_url": None, "dialect": "ollama"}, "ollama", "http://127.0.0.1:11434/v1"),
    ],
)  # fmt: skip
def test_the_dialect_is_named_or_told_by_the_host_and_may_know_the_address(
    load: Load, fields: dict[str, Any], dialect: str, address: str
) -> None:
    provider = provider_of(load(openai(**fields)))

    assert (provider.api.name, provider.address) == (dialect, address)


@pytest.mark.parametrize("secret", [CANARY, "", 5, [CANARY], {"value": CANARY}])
def test_a_secret_in_the_file_is_refused_and_not_repeated(load: Load, secret: object) -> None:
    with pytest.raises(ConfigError) as raised:
        load(openai(api_key=secret))

    assert str(raised.value) == (
        "providers.p.api_key: a secret can't stand in the file: name `api_key_env` or `api_key_file` instead"
    )


def test_a_key_comes_from_the_environment(load: Load) -> None:
    key = provider_of(load(openai(api_key_env="ACME_KEY"), ACME_KEY=f" {CANARY}\n")).api_key

    assert key is not None
    assert key.reveal() == CANARY


def test_a_provider_may_have_no_key(load: Load) -> None:
    assert provider_of(load(openai())).api_key is None
    assert provider_of(load(openai(api_key=None, api_key_env=None, api_key_file=None))).api_key is None


@pytest.mark.parametrize("environ", [{}, {"ACME_KEY": ""}, {"ACME_KEY": " \n"}])
def test_a_key_that_is_not_in_the_environment_is_told(load: Load, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as raised:
        load(openai(api_key_env="ACME_KEY"), **environ)

    assert str(raised.value) == "providers.p.api_key_env: the environment variable ACME_KEY is not set"


def test_a_key_file_that_cant_be_read_is_told(load: Load, tmp_path: Path) -> None:
    for path, content in (
        (tmp_path / "none", None),
        (tmp_path, None),
        (tmp_path / "binary", b"\xff" + CANARY.encode()),
    ):
        if content is not None:
            path.write_bytes(content)

        with pytest.raises(ConfigError) as raised:
            load(openai(api_key_file=str(path)))

        assert str(raised.value) == f"providers.p.api_key_file: {path} can't be read"


def test_a_key_from_two_places_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError) as raised:
        load(openai(api_key_env="ACME_KEY", api_key_file="key"), ACME_KEY=CANARY)

    assert str(raised.value) == "providers.p: give `api_key_env` or `api_key_file`, not both"


@pytest.mark.parametrize("content", ["", " \n", f"{CANARY}é", f"{CANARY}\nx: y", f"{CANARY}\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(load: Load, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content, "utf-8")

    with pytest.raises(ConfigError) as raised:
        load(openai(api_key_file=str(tmp_path / "key")))

    assert str(raised.value) == (
        "providers.p.api_key_file: the API key is empty, or has characters that no HTTP header can carry"
    )


def test_a_secret_is_masked_wherever_it_is_printed(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    config = load(openai(api_key_env="ACME_KEY"), ACME_KEY=CANARY)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("test").info("%s %r", config, config)
    logging.getLogger("test").info("started", extra={"config": config})

    secret = Secret(CANARY)
    for text in (
        str(config), repr(config), f"{config}", f"{config.providers}", str(secret), repr(secret), f"{secret}", f"{[secret]}",
    ):  # fmt: skip
        assert CANARY not in text
        assert "***" in text
    assert CANARY not in caplog.text
    assert "api_key=***" in caplog.text


def test_a_secret_has_no_attributes_to_print() -> None:
    with pytest.raises(TypeError):
        vars(Secret(CANARY))


NOT_OPEN = (
    "can be reached from elsewhere and no key is configured: add `auth.keys`, bind to 127.0.0.1, or set "
    "`auth.allow_open: true`"
)
OPEN_ADDRESSES = ["0.0.0.0:50051", "[::]:50051", "192.168.0.1:50051", "example.org:50051", "[fe80::1]:1"]


@pytest.mark.parametrize("address", OPEN_ADDRESSES)
def test_an_address_that_others_reach_needs_a_key(load: Load, address: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load({**LEAST, "server": {"grpc_address": address}})

    assert str(raised.value) == f"server.grpc_address: {address} {NOT_OPEN}"


@pytest.mark.parametrize("address", OPEN_ADDRESSES)
@pytest.mark.parametrize("auth", [{"allow_open": True}, {"keys": [{"name": "a", "sha256": SHA.upper()}]}], ids=str)
def test_an_address_that_others_reach_is_taken_with_a_key_or_on_demand(
    load: Load, address: str, auth: dict[str, Any]
) -> None:
    assert load({**LEAST, "server": {"grpc_address": address}, "auth": auth}).server.grpc_address == address


def test_the_environment_overrides_the_address(load: Load) -> None:
    content = {**LEAST, "server": {"grpc_address": "127.0.0.1:1", "drain_grace_s": 5}}

    server = load(content, PARLEY_GRPC_ADDRESS="[::1]:2").server

    assert server == Server(grpc_address="[::1]:2", drain_grace_s=5)
    assert load_config({"PARLEY_GRPC_ADDRESS": "unix:/tmp/x"}).server.grpc_address == "unix:/tmp/x"


def test_the_address_of_the_environment_needs_a_key_as_well(load: Load) -> None:
    with pytest.raises(ConfigError) as with_a_file:
        load(LEAST, PARLEY_GRPC_ADDRESS="0.0.0.0:1")
    with pytest.raises(ConfigError) as without_a_file:
        load_config({"PARLEY_GRPC_ADDRESS": "0.0.0.0:1"})

    assert str(with_a_file.value) == str(without_a_file.value) == f"server.grpc_address: 0.0.0.0:1 {NOT_OPEN}"


def test_the_environments_loopback_address_mends_an_open_one(load: Load) -> None:
    content = {**LEAST, "server": {"grpc_address": "0.0.0.0:1"}}

    assert load(content, PARLEY_GRPC_ADDRESS="127.0.0.1:1").server.grpc_address == "127.0.0.1:1"


def test_the_gateways_section_is_not_the_services_to_check(load: Load) -> None:
    assert load({**LEAST, "gateway": {"anything": [1, 2]}}) == load(LEAST)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:50051", "127.8.9.10:1", "[::1]:50051", "localhost:50051", "unix:/run/parley.sock", "unix:///run/x"],
)
def test_only_this_machine_reaches_a_loopback_address(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        *OPEN_ADDRESSES,
        "128.0.0.1:1",
        "[::ffff:10.0.0.1]:1",
        "localhost.example.org:1",
        "127.0.0.1.example.org:1",
        "0:1",
        "*:1",
        "",
        "dns:///localhost:1",
    ],
)
def test_others_reach_any_other_address(address: str) -> None:
    assert not is_loopback(address)


def test_a_section_may_be_empty(load: Load) -> None:
    assert load({**LEAST, "server": None, "auth": None}).server == Server()


OPENAI = {"kind": "openai", "base_url": "https://x/v1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server": {"grpc_address": "nope"}}, "server.grpc_address: expected host:port"),
        ({"server": {"grpc_address": "127.0.0.1"}}, "server.grpc_address: expected host:port"),
        ({"server": {"grpc_address": "127.0.0.1:99999"}}, "server.grpc_address: expected host:port"),
        ({"server": {"grpc_address": "127.0.0.1:http"}}, "server.grpc_address: expected host:port"),
        ({"server": {"grpc_address": "[::1:50051"}}, "server.grpc_address: expected host:port"),
        ({"server": {"health_address": ":1"}}, "server.health_address: expected host:port"),
        ({"server": {"drain_grace_s": float("inf")}}, "server.drain_grace_s: Expected `float` <= 86400"),
        ({"providers": {"p": OPENAI | {"base_url": "http://[::1/v1"}}}, "providers.p.base_url: expected an http://"),
        ({"providers": {"p": OPENAI | {"base_url": "http://h:99999/v1"}}}, "providers.p.base_url: expected an http://"),
        ({"providers": {"p": OPENAI | {"headers": {"a b": "c"}}}}, "providers.p.headers.'a b': no HTTP header"),
        ({"providers": {"p": OPENAI | {"headers": {"a": "b\r\nc: d"}}}}, "providers.p.headers.'a': no HTTP header"),
        (
            {"providers": {"p": OPENAI | {"headers": {"Content-Length": "5"}}}},
            "providers.p.headers.Content-Length: this",
        ),
        ({"providers": {"p": OPENAI | {"ca_file": "/no/such.pem"}}}, "providers.p.ca_file: /no/such.pem is no file"),
        ({"providers": {"p": OPENAI | {"api_key_file": "a\0b"}}}, "providers.p.api_key_file: "),
        (
            {"providers": {"p": {"kind": "embedded", "model_file": "/no.gguf"}}},
            "providers.p.model_file: /no.gguf is no",
        ),
    ],
)
def test_a_value_that_cant_work_is_found_at_start(load: Load, change: dict[str, Any], message: str) -> None:
    models = {"m": {"targets": [{"provider": "p", "model": "m"}]}}
    with pytest.raises(ConfigError) as raised:
        load({"providers": {"p": OPENAI}, "models": models, **change})

    assert str(raised.value).startswith(message)


def test_a_key_in_the_place_of_a_variables_name_is_not_told(load: Load) -> None:
    providers = {"p": OPENAI | {"api_key_env": CANARY}}
    with pytest.raises(ConfigError) as raised:
        load({"providers": providers, "models": {"m": {"targets": [{"provider": "p", "model": "m"}]}}})

    assert str(raised.value).startswith("providers.p.api_key_env: expected the name of an environment variable")
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_a_model_id_that_nobody_can_ask_for_is_refused(load: Load, name: str) -> None:
    with pytest.raises(ConfigError, match="expected an id of printable characters"):
        load({"providers": {"p": OPENAI}, "models": {name: {"targets": [{"provider": "p", "model": "m"}]}}})
