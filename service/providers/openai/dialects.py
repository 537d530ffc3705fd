"""The table of OpenAI-compatible APIs: what each takes, and in which form. Pure.

Where it is not known whether an API takes a parameter, it is handed on: the API's own refusal is
honest. What is known to be refused, or to be ignored in silence, is left to `Omissions`.

Text between `<think>` and `</think>`, as some models write it, stays in the text: only the API that
serves a model can tell it from text that merely looks so (recordings of huggingface).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.errors import Reason
from service.providers.openai.dialect import Dialect
from service.providers.openai.parts import (
    mistral_audio,
    mistral_file,
    openai_file,
    openrouter_file,
    parts,
    zai_document,
    zai_file,
)
from service.providers.openai.translations import (
    effort_of_reasoning,
    effort_or_switch,
    enabled_or_disabled,
    reasoning_or_switch,
    renamed,
    thinking_as_reasoning,
    thinking_as_switch,
)

_SAMPLING: Final = frozenset({"temperature", "top_p", "stop", "presence_penalty", "frequency_penalty"})
_BASIC: Final = _SAMPLING | {"max_tokens", "tools", "tool_choice", "response_format"}
_FUNCTIONS: Final = frozenset({"functions", "function_call"})
_LOGPROBS: Final = frozenset({"logprobs", "top_logprobs"})
_HINTS: Final = frozenset({"user", "safety_identifier", "prompt_cache_key"})
"""Say who asks: of no use to a server of one's own, and of no harm."""
_OF_ONE_VENDOR: Final = frozenset({"safe_prompt", "prompt_mode", "random_seed", "safety_settings", "search_parameters"})

_ONLY_FUNCTIONS: Final = frozenset({"function"})
_FUNCTIONS_AND_OWN: Final = frozenset({"function", "provider"})
_NO_LISTS: Final = frozenset({"auto", "none", "required", "named"})
_TO_MAX_TOKENS: Final = {"max_completion_tokens": renamed("max_tokens")}
_TO_EFFORT: Final = {"reasoning": effort_of_reasoning}
_TO_EFFORT_OR_SWITCH: Final = {
    "reasoning_effort": effort_or_switch("thinking.type"),
    "reasoning": reasoning_or_switch("thinking.type"),
    "enable_thinking": enabled_or_disabled("thinking.type"),
}

_OPENAI_PARAMETERS: Final = (
    _BASIC
    | _FUNCTIONS
    | _LOGPROBS
    | _HINTS
    | {"max_completion_tokens", "n", "logit_bias", "seed", "parallel_tool_calls", "reasoning_effort", "verbosity"}
    | {"modalities", "audio", "prediction", "web_search_options", "service_tier", "moderation"}
    | {"prompt_cache_retention", "prompt_cache_options"}
)

GENERIC: Final = Dialect(name="generic")

# Both limits at once get a 400. Models that reason take `max_completion_tokens` alone, and read system messages as developer
# messages; both kinds must not stand in one request. Parameters and members that are not known get a 400.
# Source: https://platform.openai.com/docs/api-reference/chat/create and
# https://platform.openai.com/docs/guides/reasoning (2026-11-22, by openai-python 3.54).
_OPENAI: Final = Dialect(
    name="openai",
    says_done=True,
    base_url="https://api.openai.com/v1",
    hosts=("api.openai.com", ".api.openai.com"),
    vendor="openai",
    parameters=_OPENAI_PARAMETERS,
    translations=_TO_EFFORT,
    reasoning_translations={"max_tokens": renamed("max_completion_tokens")},
    only_limit="max_completion_tokens",
    keeps_system_apart=False,
    members=frozenset({"prompt_cache_breakpoint", "audio", "function_call", "refusal"}),
    parts=parts("text", "image_url", "input_audio", "refusal", file=openai_file),
    reasoning_history="none",
)

# Older deployments, of which nothing is known by their names, may take `max_tokens` alone.
# Source: https://learn.microsoft.com/azure/ai-foundry/openai/latest,
# https://learn.microsoft.com/azure/ai-services/openai/reference (2026-11-22), and the recording
# test_azure_provider_call.
_AZURE: Final = Dialect(
    name="azure",
    says_done=True,
    hosts=(".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"),
    vendor="openai",
    credentials="api-key",
    is_azure=True,
    parameters=_OPENAI_PARAMETERS,
    translations=_TO_EFFORT,
    reasoning_translations={"max_tokens": renamed("max_completion_tokens")},
    only_limit="max_tokens",
    keeps_system_apart=False,
    members=_OPENAI.members,
    parts=_OPENAI.parts,
    reasoning_history="none",
    error_reasons={"ResponsibleAIPolicyViolation": Reason.CONTENT_FILTERED},
)

# `logprobs`, `logit_bias`, names and an `n` above 1 get a 400, as unknown parameters do.
# Source: https://console.groq.com/docs/openai, https://console.groq.com/docs/flex-processing and
# https://console.groq.com/docs/api-reference (2026-11-22, by groq 1.7).
_GROQ: Final = Dialect(
    name="groq",
    says_done=True,
    base_url="https://api.groq.com/openai/v1",
    hosts=("api.groq.com",),
    parameters=_BASIC
    | _FUNCTIONS
    | {"max_completion_tokens", "n", "seed", "parallel_tool_calls", "reasoning_effort", "service_tier", "user"}
    | {"include_reasoning", "reasoning_format"},
    translations=_TO_EFFORT,
    most_choices=1,
    stream_options="usage",
    tool_choices=_NO_LISTS,
    tool_kinds=_FUNCTIONS_AND_OWN,
    named_roles=frozenset(),
    members=frozenset({"function_call"}),
    parts=parts("text", "image_url"),
    reasoning_history="reasoning",
    error_reasons={"capacity_exceeded": Reason.UPSTREAM_UNAVAILABLE},
)

# Unknown members get a 422. Streams end with the usage unasked.
# Source: https://docs.mistral.ai/api/#tag/chat (2026-11-22, by mistralai 3.7), and its recordings.
_MISTRAL: Final = Dialect(
    name="mistral",
    says_done=True,
    base_url="https://api.mistral.ai/v1",
    hosts=("api.mistral.ai", ".api.mistral.ai"),
    vendor="mistral",
    parameters=_BASIC
    | _LOGPROBS
    | {"random_seed", "min_tokens", "repetition_penalty", "top_k", "n", "prediction", "parallel_tool_calls"}
    | {"reasoning_effort", "prompt_mode", "prompt_cache_key", "service_tier", "safe_prompt"},
    translations=_TO_MAX_TOKENS | _TO_EFFORT | {"seed": renamed("random_seed")},
    stream_options="none",
    tool_choices=_NO_LISTS,
    tool_kinds=_FUNCTIONS_AND_OWN,
    wants_parameters=True,
    has_developer=False,
    named_roles=frozenset({"tool"}),
    members=frozenset({"prefix"}),
    parts=parts("text", "image_url", "document_url", file=mistral_file, input_audio=mistral_audio),
    reasoning_history="parts",
)

# Parameters that are not listed are ignored. `prefix` is a feature of https://api.deepseek.com/beta. While it
# thinks, an earlier answer with tool calls needs its reasoning, and be it empty (recording
# test_deepseek_deferred_capability_with_thinking).
# Source: https://api-docs.deepseek.com/api/create-chat-completion,
# https://api-docs.deepseek.com/guides/thinking_mode (2026-11-22), and its recordings.
_DEEPSEEK: Final = Dialect(
    name="deepseek",
    says_done=True,
    base_url="https://api.deepseek.com",
    hosts=("api.deepseek.com",),
    vendor="deepseek",
    parameters=_BASIC | _LOGPROBS | {"thinking", "reasoning_effort"},
    translations=_TO_MAX_TOKENS | _TO_EFFORT_OR_SWITCH,
    stream_options="usage",
    tool_choices=_NO_LISTS,
    tool_kinds=_FUNCTIONS_AND_OWN,
    response_formats=frozenset({"text", "json_object"}),
    has_developer=False,
    members=frozenset({"prefix", "refusal"}),
    parts=parts("text", "image_url"),
    reasoning_history="reasoning_content",
    wants_reasoning_of_calls=True,
)

# What the model behind it doesn't take, it leaves out itself. A credit is a US dollar.
# Source: https://openrouter.ai/docs/api/reference/parameters (2026-11-22, by openrouter 1.3:
# ChatRequest), https://openrouter.ai/docs/use-cases/usage-accounting,
# https://openrouter.ai/docs/guides/best-practices/reasoning-tokens (2026-11-22), and its recordings.
_OPENROUTER: Final = Dialect(
    name="openrouter",
    says_done=True,
    base_url="https://openrouter.ai/api/v1",
    hosts=("openrouter.ai",),
    parameters=_BASIC
    | _LOGPROBS
    | {"max_completion_tokens", "logit_bias", "seed", "parallel_tool_calls", "reasoning", "reasoning_effort"}
    | {"include_reasoning", "verbosity", "modalities", "audio", "prediction", "web_search_options", "service_tier"}
    | {"user", "prompt_cache_key", "prompt_cache_options", "cache_control"}
    | {"top_k", "min_p", "top_a", "repetition_penalty"},
    translations={
        "thinking": thinking_as_reasoning,
        "enable_thinking": renamed("reasoning.enabled"),
        "thinking_budget": renamed("reasoning.max_tokens"),
    },
    has_one_amount=True,
    stream_options="usage",
    members=frozenset({"cache_control", "prompt_cache_breakpoint", "audio", "refusal"}),
    parts=parts("text", "image_url", "input_audio", "video_url", file=openrouter_file),
    reasoning_history="details",
    tells_cost=True,
)

# Source: https://inference-docs.cerebras.ai/api-reference/chat-completions and
# https://inference-docs.cerebras.ai/resources/openai (2026-11-22, by cerebras-cloud-sdk 1.91), and its
# recordings.
_CEREBRAS: Final = Dialect(
    name="cerebras",
    says_done=True,
    base_url="https://api.cerebras.ai/v1",
    hosts=("api.cerebras.ai",),
    parameters=_BASIC
    | _LOGPROBS
    | {"max_completion_tokens", "min_tokens", "n", "logit_bias", "seed", "parallel_tool_calls", "prediction"}
    | {"reasoning_effort", "reasoning_format", "prompt_cache_key", "service_tier", "user"},
    translations=_TO_EFFORT,
    stream_options="usage",
    tool_choices=_NO_LISTS,
    tool_kinds=_ONLY_FUNCTIONS,
    members=frozenset(),
    parts=parts("text", "image_url"),
    reasoning_history="reasoning",
)

# Its `logprobs` is a number, and answered in a form of its own.
# Source: https://docs.together.ai/reference/chat-completions-1 (2026-11-22, by together 3.1).
_TOGETHER: Final = Dialect(
    name="together",
    says_done=True,
    base_url="https://api.together.ai/v1",
    hosts=("api.together.ai", "api.together.xyz"),
    parameters=_BASIC
    | {"n", "logit_bias", "seed", "function_call", "top_k", "min_p", "repetition_penalty", "chat_template_kwargs"}
    | {"reasoning", "reasoning_effort"},
    translations=_TO_MAX_TOKENS | {"thinking": thinking_as_switch, "enable_thinking": renamed("reasoning.enabled")},
    stream_options="usage",
    tool_choices=_NO_LISTS,
    tool_kinds=_FUNCTIONS_AND_OWN,
    wants_parameters=True,
    has_developer=False,
    members=frozenset({"function_call", "refusal"}),
    parts=parts("text", "image_url", "video_url", "input_audio"),
    reasoning_history="reasoning",
)

# A router to APIs of several companies, which take different parameters.
# Source: https://huggingface.co/docs/inference-providers/tasks/chat-completion (2026-11-22, by
# huggingface_hub 2.4), and its recordings.
_HUGGINGFACE: Final = Dialect(
    name="huggingface",
    says_done=True,
    base_url="https://router.huggingface.co/v1",
    hosts=("router.huggingface.co",),
    parameters=frozenset(ChatCompletionRequest.DESCRIPTOR.fields_by_name)
    - _OF_ONE_VENDOR
    - {"cache_control", "prompt_cache_options", "prompt_cache_retention", "moderation", "max_completion_tokens"},
    translations=_TO_MAX_TOKENS,
    stream_options="usage",
)

# Models that reason refuse the penalties and `stop`. Counts reasoning apart from the completion.
# Source: https://docs.x.ai/developers/rest-api-reference/inference/chat-completions,
# https://docs.x.ai/developers/cost-tracking (2026-11-22).
_XAI: Final = Dialect(
    name="xai",
    says_done=True,
    base_url="https://api.x.ai/v1",
    hosts=("api.x.ai", ".api.x.ai"),
    vendor="xai",
    parameters=_BASIC
    | _LOGPROBS
    | {"max_completion_tokens", "n", "seed", "parallel_tool_calls", "reasoning_effort", "search_parameters"}
    | {"web_search_options", "user", "service_tier"},
    translations=_TO_EFFORT,
    reasoning_lacks=frozenset({"presence_penalty", "frequency_penalty", "stop"}),
    stream_options="usage",
    tool_choices=_NO_LISTS,
    tool_kinds=_FUNCTIONS_AND_OWN,
    named_roles=frozenset({"user"}),
    members=frozenset({"refusal"}),
    parts=parts("text", "image_url", file=openai_file),
    reasoning_history="reasoning_content",
)

# Reads what its documentation lists and ignores the rest, `tool_choice` too; images as data alone.
# Source: https://docs.ollama.com/api/openai-compatibility and
# https://github.com/ollama/ollama/blob/main/openai/openai.go (2026-11-22), and its recordings.
_OLLAMA: Final = Dialect(
    name="ollama",
    says_done=True,
    base_url="http://127.0.0.1:11434/v1",
    hosts=("ollama.com",),
    parameters=_BASIC | _LOGPROBS | _HINTS | {"seed", "reasoning", "reasoning_effort"},
    translations=_TO_MAX_TOKENS,
    stream_options="usage",
    tool_choices=frozenset({"auto"}),
    tool_kinds=_ONLY_FUNCTIONS,
    has_developer=False,
    members=frozenset(),
    parts=parts("text", "image_url"),
    reasoning_history="reasoning",
)

# Ignores what it doesn't know; few models' chat templates know the role "developer".
# Source: https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/openai/chat_completion/protocol.py
# (2026-11-22).
_VLLM: Final = Dialect(
    name="vllm",
    says_done=True,
    base_url="http://127.0.0.1:8000/v1",
    parameters=_BASIC
    | _LOGPROBS
    | _HINTS
    | {"max_completion_tokens", "n", "logit_bias", "seed", "parallel_tool_calls", "reasoning_effort"}
    | {"include_reasoning", "top_k", "min_p", "repetition_penalty", "min_tokens", "chat_template_kwargs"},
    translations=_TO_EFFORT
    | {
        "thinking_budget": renamed("thinking_token_budget"),
        "enable_thinking": renamed("chat_template_kwargs.enable_thinking"),
    },
    stream_options="usage",
    tool_choices=_NO_LISTS,
    tool_kinds=_ONLY_FUNCTIONS,
    has_developer=False,
    members=frozenset({"refusal"}),
    parts=parts("text", "image_url", "input_audio", "video_url", "refusal"),
    reasoning_history="reasoning",
)

_LLAMACPP_PARAMETERS: Final = (
    _BASIC
    | _LOGPROBS
    | _HINTS
    | {"max_completion_tokens", "n", "logit_bias", "seed", "parallel_tool_calls", "modalities"}
    | {"top_k", "min_p", "typical_p", "chat_template_kwargs"}
)

# Ignores what it doesn't know, and takes a choice of one tool for "auto".
# Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md (2026-11-22) and
# server-common.cpp beside it.
_LLAMACPP: Final = Dialect(
    name="llamacpp",
    says_done=True,
    base_url="http://127.0.0.1:8080/v1",
    parameters=_LLAMACPP_PARAMETERS,
    translations={
        "repetition_penalty": renamed("repeat_penalty"),
        "enable_thinking": renamed("chat_template_kwargs.enable_thinking"),
        "reasoning_effort": renamed("chat_template_kwargs.reasoning_effort"),
    },
    stream_options="usage",
    tool_choices=frozenset({"auto", "none", "required"}),
    tool_kinds=_ONLY_FUNCTIONS,
    has_developer=False,
    members=frozenset(),
    parts=parts("text", "image_url", "input_audio"),
    reasoning_history="reasoning_content",
)

# One stop sequence, a free choice of tools, no schema.
# Source: https://docs.z.ai/api-reference/llm/chat-completion, https://docs.z.ai/api-reference/api-code
# (2026-11-22), and its recordings.
_ZAI: Final = Dialect(
    name="zai",
    says_done=True,
    base_url="https://api.z.ai/api/paas/v4",
    hosts=("api.z.ai", "open.bigmodel.cn"),
    parameters=_BASIC - {"presence_penalty", "frequency_penalty"} | {"thinking", "reasoning_effort"},
    translations=_TO_MAX_TOKENS | _TO_EFFORT_OR_SWITCH | {"user": renamed("user_id")},
    most_stops=1,
    stream_options="usage",
    tool_choices=frozenset({"auto"}),
    tool_kinds=_FUNCTIONS_AND_OWN,
    response_formats=frozenset({"text", "json_object"}),
    has_developer=False,
    members=frozenset(),
    parts=parts("text", "image_url", "video_url", "input_audio", file=zai_file, document_url=zai_document),
    reasoning_history="reasoning_content",
    error_reasons={
        "1113": Reason.UPSTREAM_QUOTA_EXHAUSTED,
        "1211": Reason.UPSTREAM_MODEL_NOT_FOUND,
        "1261": Reason.CONTEXT_LENGTH_EXCEEDED,
        "1301": Reason.CONTENT_FILTERED,
    },
)

# llama.cpp as it ships with the service, with a model that reads and writes text: it answers an image
# with a 500, and too large an `n` with a 400 that names no parameter (xllamacpp 2026.10, run here).
EMBEDDED: Final = Dialect(
    name="embedded",
    says_done=True,
    parameters=_LLAMACPP_PARAMETERS - {"modalities"},
    stream_options="usage",
    tool_choices=frozenset({"auto", "none"}),
    tool_kinds=_ONLY_FUNCTIONS,
    has_developer=False,
    members=frozenset(),
    parts=parts("text"),
    reasoning_history="reasoning_content",
)

_OTHERS: Final = (
    *(_OPENAI, _AZURE, _GROQ, _MISTRAL, _DEEPSEEK, _OPENROUTER, _CEREBRAS, _TOGETHER, _HUGGINGFACE, _XAI),
    *(_OLLAMA, _VLLM, _LLAMACPP, _ZAI),
)
DIALECTS: Final = {dialect.name: dialect for dialect in (GENERIC, *_OTHERS)}
"""Those that the configuration can name."""


def dialect_at(base_url: str) -> Dialect:
    """The dialect of the API at an address, `GENERIC` where its host is not known."""
    host = urlsplit(base_url).hostname or ""
    for dialect in _OTHERS:
        if any(host.endswith(known) if known.startswith(".") else host == known for known in dialect.hosts):
            return dialect
    return GENERIC
