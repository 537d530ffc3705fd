"""Where each API is asked, and how it is recognised."""

from __future__ import annotations

import json

import pytest

from service.errors import Interrupted, Reason, RequestError
from service.providers.chat_api import EncodedCall
from service.providers.openai.api import openai_api
from service.providers.openai.dialects import DIALECTS, dialect_at
from service.providers.sse import SseEvent
from tests.support.openai_asking import call_of

VERSION = "?api-version=2024-12-01-preview"


@pytest.mark.parametrize("name", [name for name in DIALECTS if name != "azure"])
def test_the_path_is_openais(name: str) -> None:
    api = openai_api(DIALECTS[name], "https://x/v1")

    assert api.encode(call_of({}), False) == EncodedCall(  # noqa: FBT003 - a function's type has no names
        "/chat/completions", b'{"model":"up-1","messages":[{"role":"user","content":"Hi"}]}'
    )


@pytest.mark.parametrize(
    ("base_url", "version", "path"),
    [
        ("https://r.openai.azure.com", None, f"/openai/deployments/up-1/chat/completions{VERSION}"),
        ("https://r.openai.azure.com/", "2025-04-01-preview", "/openai/deployments/up-1/chat/completions?api-version=2025-04-01-preview"),
        ("http://127.0.0.1:8080/r/azure/x", None, f"/openai/deployments/up-1/chat/completions{VERSION}"),
        ("https://r.openai.azure.com/openai", None, f"/deployments/up-1/chat/completions{VERSION}"),
        ("https://r.openai.azure.com/openai/deployments", None, f"/up-1/chat/completions{VERSION}"),
        ("https://r.openai.azure.com/openai/deployments/", None, f"/up-1/chat/completions{VERSION}"),
        ("https://r.openai.azure.com/openai/deployments/gpt-4o", None, f"/chat/completions{VERSION}"),
        ("https://r.services.ai.azure.com/models", None, "/chat/completions?api-version=2024-05-01-preview"),
        ("https://r.openai.azure.com/openai/v1", None, "/chat/completions"),
        ("https://r.openai.azure.com/openai/v1/", "preview", "/chat/completions?api-version=preview"),
    ],
)  # fmt: skip
def test_azure_tells_the_deployment_in_the_path(base_url: str, version: str | None, path: str) -> None:
    api = openai_api(DIALECTS["azure"], base_url, version)

    assert api.encode(call_of({}), False).path == path  # noqa: FBT003


def test_a_deployments_name_can_not_leave_its_place_in_the_path() -> None:
    call = call_of({})
    api = openai_api(DIALECTS["azure"], "https://r.openai.azure.com")
    encoded = api.encode(type(call)(call.request, "a/../b?c", call.identity, call.capabilities, call.omissions), False)  # noqa: FBT003

    assert encoded.path == f"/openai/deployments/a%2F..%2Fb%3Fc/chat/completions{VERSION}"
    assert json.loads(encoded.body)["model"] == "a/../b?c"


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://r.openai.azure.com", "azure"),
        ("https://r.cognitiveservices.azure.com/openai/v1", "azure"),
        ("https://r.services.ai.azure.com/openai/v1", "azure"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.deepseek.com/beta", "deepseek"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.cerebras.ai/v1", "cerebras"),
        ("https://api.together.xyz/v1", "together"),
        ("https://api.together.ai/v1", "together"),
        ("https://router.huggingface.co/together/v1", "huggingface"),
        ("https://api.x.ai/v1", "xai"),
        ("https://API.X.AI:443/v1", "xai"),
        ("https://ollama.com/v1", "ollama"),
        ("https://api.z.ai/api/paas/v4", "zai"),
        ("https://open.bigmodel.cn/api/paas/v4", "zai"),
        ("http://127.0.0.1:11434/v1", "generic"),
        ("https://api.openai.com.example.org/v1", "generic"),
        ("https://evilapi.openai.com/v1", "generic"),
        ("https://openai.azure.com", "generic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "generic"),
        ("", "generic"),
    ],
)
def test_an_api_is_recognised_by_its_host(base_url: str, name: str) -> None:
    assert dialect_at(base_url).name == name


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialects_own_address_is_its_own(name: str) -> None:
    dialect = DIALECTS[name]
    if dialect.base_url is None:
        assert name in {"generic", "azure"}
    elif not dialect.base_url.startswith("http://127.0.0.1:"):
        assert dialect_at(dialect.base_url) is dialect


@pytest.mark.parametrize(
    ("count", "is_done", "is_complete"), [(2, True, True), (1, True, True), (2, False, True), (1, False, False)]
)
def test_a_stream_with_fewer_answers_than_were_asked_for_has_to_say_that_it_is_over(
    count: int,
    is_done: bool,  # noqa: FBT001 - a column of the table
    is_complete: bool,  # noqa: FBT001
) -> None:
    call = call_of({"n": 2})
    translator = openai_api(DIALECTS["generic"]).stream("acme", call)
    for index in range(count):
        piece = b'{"choices":[{"index":%d,"delta":{"content":"x"},"finish_reason":"stop"}]}' % index
        translator.translate(SseEvent("message", piece))
    translator.translate(SseEvent("message", b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'))
    if is_done:
        translator.translate(SseEvent("message", b"[DONE]"))

    if is_complete:
        assert len(translator.finish()) == 1
    else:
        with pytest.raises(Interrupted, match="before the answer was complete"):
            translator.finish()


def test_the_vendors_are_those_of_the_catalogue() -> None:
    vendors = {name: dialect.vendor for name, dialect in DIALECTS.items() if dialect.vendor}

    assert vendors == {
        "openai": "openai",
        "azure": "openai",
        "mistral": "mistral",
        "deepseek": "deepseek",
        "xai": "xai",
    }


def test_the_dialect_is_known_to_all_four_translators() -> None:
    api = openai_api(DIALECTS["zai"], "https://api.z.ai/api/paas/v4")
    call = call_of({"stop": ["END"]})
    whole = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop","stop_reason":"END"}]}'
    piece = b'{"choices":[{"delta":{"content":"x"},"finish_reason":"stop","stop_reason":"END"}]}'
    flagged = b'{"error":{"code":"1301"}}'

    with pytest.raises(RequestError):
        api.encode(call_of({"n": 2}), True)  # noqa: FBT003
    assert api.translate("acme", whole, call).choices[0].stop_sequence == "END"
    assert api.stream("acme", call).translate(SseEvent("message", piece))[-1].choices[0].stop_sequence == "END"
    assert api.error("acme", 400, flagged, lambda _name: None).reason is Reason.CONTENT_FILTERED
