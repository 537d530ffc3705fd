"""The API of OpenAI and of those that are compatible with it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlsplit

from service.providers.chat_api import ChatApi, EncodedCall
from service.providers.openai.dialect import Dialect
from service.providers.openai.errors import error_of_answer
from service.providers.openai.origin import Origin
from service.providers.openai.request import encode_request
from service.providers.openai.response import translate_completion
from service.providers.openai.stream import StreamTranslator
from service.providers.provider import ProviderCall

_PATH = "/chat/completions"
_AZURE_VERSION = "2024-12-01-preview"
"""Unless configured: as in the recording test_azure_provider_call. Streams can be asked for their usage
since 2024-09-01-preview.

Source: https://learn.microsoft.com/azure/ai-services/openai/api-version-deprecation (2026-11-22).
"""
_AZURE_MODELS_VERSION = "2024-05-01-preview"
"""Likewise, of the API for models of other vendors.

Source: https://learn.microsoft.com/rest/api/aifoundry/modelinference (2026-11-22).
"""


def openai_api(dialect: Dialect, base_url: str = "", api_version: str | None = None) -> ChatApi:
    """The translators.

    Args:
        dialect: Which API it is.
        base_url: Where it is; only Azure's tells more than that.
        api_version: Azure's `api-version`.
    """
    path_to = _azure_path(base_url, api_version) if dialect.is_azure else lambda _model: _PATH

    def origin(provider: str, call: ProviderCall) -> Origin:
        request = call.request
        choices = 1 if "n" in call.omissions.dropped else request.n
        return Origin(provider, call.identity, dialect, frozenset(request.stop), choices)

    return ChatApi(
        encode=lambda call, stream: EncodedCall(path_to(call.model), encode_request(call, dialect, stream=stream)),
        translate=lambda provider, body, call: translate_completion(body, origin(provider, call)),
        stream=lambda provider, call: StreamTranslator(origin(provider, call)),
        error=lambda provider, status, body, header: error_of_answer(
            provider, status, body, header, dialect.error_reasons
        ),
    )


def _azure_path(base_url: str, api_version: str | None) -> Callable[[str], str]:
    """From a model (the name of a deployment) to the path.

    The base URL is that of a resource, or goes on to `/openai`, `/openai/deployments`, `/openai/deployments/…`,
    `/models` or, for the API without dated versions, `/openai/v1`.

    Source: https://learn.microsoft.com/azure/ai-services/openai/reference,
    https://learn.microsoft.com/azure/ai-foundry/openai/latest (2026-11-22).
    """
    base = urlsplit(base_url).path.rstrip("/")
    if base.endswith("/openai/v1"):
        version = f"?api-version={quote(api_version)}" if api_version else ""
        return lambda _model: _PATH + version
    has_other_models = base.endswith("/models")
    version = f"?api-version={quote(api_version or (_AZURE_MODELS_VERSION if has_other_models else _AZURE_VERSION))}"
    if has_other_models or "/openai/deployments/" in base:
        return lambda _model: _PATH + version
    before = "/openai/deployments/"
    for given in ("/openai/deployments", "/openai"):
        if base.endswith(given):
            before = before.removeprefix(given)
            break
    return lambda model: f"{before}{quote(model, safe='')}{_PATH}{version}"
