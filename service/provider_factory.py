"""From a provider's section of the configuration to the provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from service import config
from service.key_file import KeyFile
from service.providers.anthropic import ANTHROPIC
from service.providers.chat_api import ChatApi
from service.providers.cohere import COHERE
from service.providers.embedded.options import Options
from service.providers.embedded.supervisor import EmbeddedModel
from service.providers.gemini import GEMINI
from service.providers.http import HttpChatProvider
from service.providers.openai.api import openai_api
from service.providers.openai.dialects import EMBEDDED
from service.providers.provider import Provider
from service.providers.transport import Timeouts
from service.providers.transport_http1 import Http1Transport
from service.secret_reading import read_key_file


def embedded_model(section: config.EmbeddedProvider, on_ready: Callable[[bool], None]) -> EmbeddedModel:
    """The model, which has yet to be run; `on_ready` is told whenever it becomes ready, or stops to be."""
    options = Options(
        model_file=section.model_file,
        context_tokens=section.context_tokens,
        parallel=section.slots,
        threads=section.threads,
    )
    return EmbeddedModel(options, on_ready=on_ready)


def embedded_provider(
    name: str, section: config.EmbeddedProvider, model: EmbeddedModel, stack: AsyncExitStack
) -> Provider:
    """The provider that asks `model`; `stack` closes its connections."""
    transport = Http1Transport(timeouts_of(section))
    stack.push_async_callback(transport.aclose)

    def endpoint() -> tuple[str, Mapping[str, str]]:
        now = model.endpoint  # port and key change with every restart
        return now.base_url, {"authorization": f"Bearer {now.api_key}"}

    return HttpChatProvider(name, endpoint, transport, openai_api(replace(EMBEDDED, most_choices=section.slots)))


def http_provider(name: str, section: config.HttpProviderConfig, stack: AsyncExitStack) -> Provider:
    """A provider that is asked over HTTP; `stack` closes its connections."""
    transport = Http1Transport(timeouts_of(section), ca_file=Path(section.ca_file) if section.ca_file else None)
    stack.push_async_callback(transport.aclose)
    base_url = (section.address if isinstance(section, config.OpenAIProvider) else section.base_url).rstrip("/")
    headers = {header.lower(): value for header, value in section.headers.items()}
    if isinstance(section, config.AnthropicProvider):
        headers["anthropic-version"] = section.version
        if section.betas:
            headers["anthropic-beta"] = ",".join(section.betas)
    return HttpChatProvider(name, _endpoint(section, base_url, headers), transport, _api(section, base_url))


def timeouts_of(section: config.ProviderConfig) -> Timeouts:
    """The provider's own timeouts, which hold where a model has none."""
    if isinstance(section, config.EmbeddedProvider):
        return Timeouts(read_s=section.read_timeout_s)
    return Timeouts(connect_s=section.connect_timeout_s, read_s=section.read_timeout_s)


def vendor_of(section: config.ProviderConfig) -> str:
    """Whose models a provider has, in the catalogue; empty where they are of many."""
    match section:
        case config.OpenAIProvider(api=dialect):
            return dialect.vendor
        case config.AnthropicProvider():
            return "anthropic"
        case config.GeminiProvider():
            return "google"
        case config.CohereProvider() | config.EmbeddedProvider():
            return ""
        case _:
            assert_never(section)


def _api(section: config.HttpProviderConfig, base_url: str) -> ChatApi:
    match section:
        case config.OpenAIProvider(api=dialect):
            return openai_api(dialect, base_url, section.api_version)
        case config.AnthropicProvider():
            return ANTHROPIC
        case config.GeminiProvider():
            return GEMINI
        case config.CohereProvider():
            return COHERE
        case _:
            assert_never(section)


def _endpoint(
    section: config.HttpProviderConfig, base_url: str, headers: dict[str, str]
) -> Callable[[], tuple[str, Mapping[str, str]]]:
    """Gives address and headers, the credentials among them, for each request."""
    if section.api_key is None:
        return lambda: (base_url, headers)
    name, form = _credentials(section)
    key = section.api_key.reveal()
    if section.api_key_file is None:
        headers[name] = form % key
        return lambda: (base_url, headers)
    file = KeyFile(Path(section.api_key_file), key, lambda path: read_key_file(path).reveal())
    return lambda: (base_url, headers | {name: form % file.current()})


def _credentials(section: config.HttpProviderConfig) -> tuple[str, str]:
    """Name of the header, and what it says, with %s for the key."""
    match section:
        case config.OpenAIProvider(api=dialect) if dialect.credentials == "api-key":
            return "api-key", "%s"
        case config.AnthropicProvider():
            return "x-api-key", "%s"
        case config.GeminiProvider() if section.auth == "api_key":
            return "x-goog-api-key", "%s"
        case _:
            return "authorization", "Bearer %s"
