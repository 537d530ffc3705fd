"""What a failure that Gemini reports means for the caller. Pure.

Nothing that the provider wrote is repeated: names of parameters are the contract's own.

Source: https://ai.google.dev/gemini-api/docs/troubleshooting and
https://cloud.google.com/apis/design/errors (2026-11-22), and recorded failures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from service.errors import Auth, Interrupted, RateLimited, Reason, Rejected, UpstreamError
from service.providers.chat_api import HeaderLookup
from service.providers.failures import error_of_status, metadata_of, retry_after_s
from service.providers.gemini import wire
from service.providers.gemini.spelling import camel_case

_REQUEST_ID_HEADERS: Final = ("x-goog-request-id", "x-request-id")
_TOO_LONG: Final = re.compile(r"token count\b.{0,60}?\b(exceeds|model only supports)", re.DOTALL | re.IGNORECASE)
"""The API has no code for it: "The input token count (2551556) exceeds the maximum number of tokens allowed
(1048576)." Source: https://github.com/google-gemini/gemini-cli/issues/11248 (2026-11-22)."""
_OF_A_FILE: Final = re.compile(
    r"\baccess the File\b|\baccessing input file\b|\bFile \S{1,256} (is not in an ACTIVE state|((is|was) )?not found)",
    re.IGNORECASE,
)
"""No code tells them from failures of the key: "You do not have permission to access the File … or it may not
exist." (403), "The File … is not in an ACTIVE state and usage is not allowed." (400), "Permission denied while
accessing input file." (403, Vertex AI). Source: https://github.com/googleapis/python-genai/issues/1218,
https://github.com/BerriAI/litellm/issues/20007 and https://github.com/googleapis/js-genai/issues/666
(2026-11-22)."""
_DELAY: Final = re.compile(r"(?P<seconds>\d{1,5}(\.\d{1,9})?)s")
_FIELD_NAMES: Final = re.compile(r"[A-Za-z_]+")
_OF_THE_REQUEST: Final = frozenset({400, 403, 404})

_PARAMS: Final = {
    "contents": "messages",
    "systemInstruction": "messages",
    "tools": "tools",
    "toolConfig": "tool_choice",
    "safetySettings": "safety_settings",
    "serviceTier": "service_tier",
    "generationConfig.temperature": "temperature",
    "generationConfig.topP": "top_p",
    "generationConfig.topK": "top_k",
    "generationConfig.maxOutputTokens": "max_completion_tokens",
    "generationConfig.stopSequences": "stop",
    "generationConfig.candidateCount": "n",
    "generationConfig.seed": "seed",
    "generationConfig.presencePenalty": "presence_penalty",
    "generationConfig.frequencyPenalty": "frequency_penalty",
    "generationConfig.responseLogprobs": "logprobs",
    "generationConfig.logprobs": "top_logprobs",
    "generationConfig.responseMimeType": "response_format",
    "generationConfig.responseSchema": "response_format",
    "generationConfig.responseJsonSchema": "response_format",
    "generationConfig.responseModalities": "modalities",
    "generationConfig.thinkingConfig": "reasoning_effort",
}
"""The contract's parameter by the beginning of the path that `BadRequest` names."""


def error_of_answer(provider: str, status: int, body: bytes, header: HeaderLookup) -> UpstreamError:
    """The error that an answer with a status other than 200 stands for."""
    try:
        error = wire.decode_error(body)
    except wire.UNREADABLE:
        error = wire.Error()
    metadata = metadata_of(provider, status, header, _REQUEST_ID_HEADERS)
    return _classify(status, error, retry_after_s(header), metadata)


def error_within_answer(provider: str, error: wire.Error) -> UpstreamError:
    """The error that a failure reported within an answer of status 200 stands for."""
    metadata = {"provider": provider}
    if error.code is None or not 400 <= error.code <= 599:  # noqa: PLR2004 - the HTTP error range
        return Interrupted("The provider reported a failure while it answered.", metadata=metadata)
    metadata["upstream_status"] = str(error.code)
    return _classify(error.code, error, None, metadata)


def _classify(status: int, error: wire.Error, wait_s: float | None, metadata: dict[str, str]) -> UpstreamError:
    if error.status == "INVALID_ARGUMENT" and _TOO_LONG.search(error.message or ""):
        message = "The conversation and the limit of the answer are longer than the model's context."
        return Rejected(Reason.CONTEXT_LENGTH_EXCEEDED, message, param="messages", metadata=metadata)
    if "API_KEY_INVALID" in _strings(error, "ErrorInfo", "reason"):  # with status 400
        return error_of_status(401, metadata)
    if status in _OF_THE_REQUEST and _OF_A_FILE.search(error.message or ""):
        message = "The provider can't read a file that the conversation names: it is missing, not ready or not shared."
        return Rejected(Reason.UPSTREAM_REJECTED, message, param="messages", metadata=metadata)
    if error.status == "FAILED_PRECONDITION":
        # The key is good, but may not be used from where the service runs, or not without billing.
        return Auth("The provider does not serve this service's account: its region or billing.", metadata=metadata)
    if status == 429 and _is_exhausted(error):  # noqa: PLR2004 - Too Many Requests
        message = "The account at the provider has used up its quota of the day."
        return RateLimited(Reason.UPSTREAM_QUOTA_EXHAUSTED, message, metadata=metadata)
    return error_of_status(status, metadata, wait_s=_delay_s(error) or wait_s, param=_param(error))


def _is_exhausted(error: wire.Error) -> bool:
    """Whether a quota of a day is used up, for which the hint to retry in some seconds is no help.

    Source: https://github.com/google-gemini/gemini-cli/issues/8437 (2026-11-22), with
    "GenerateRequestsPerDayPerProjectPerModel-FreeTier" beside a RetryInfo.
    """
    return any("PerDay" in quota for quota in _violations(error, "QuotaFailure", "violations", "quotaId"))


def _delay_s(error: wire.Error) -> float | None:
    for delay in _strings(error, "RetryInfo", "retryDelay"):
        if match := _DELAY.fullmatch(delay):
            return float(match["seconds"])
    return None


def _param(error: wire.Error) -> str | None:
    """The contract's name of the first parameter that the provider names, where there is one."""
    for field in _violations(error, "BadRequest", "fieldViolations", "field"):
        names = [camel_case(name) for name in _FIELD_NAMES.findall(field)]
        for length in (2, 1):
            if (param := _PARAMS.get(".".join(names[:length]))) is not None:
                return param
    return None


def _details(error: wire.Error, kind: str) -> Iterator[dict[str, Any]]:
    for detail in error.details or ():
        if str(detail.get("@type", "")).endswith(f"google.rpc.{kind}"):
            yield detail


def _strings(error: wire.Error, kind: str, name: str) -> list[str]:
    return [value for detail in _details(error, kind) if isinstance(value := detail.get(name), str)]


def _violations(error: wire.Error, kind: str, group: str, name: str) -> list[str]:
    return [
        violation[name]
        for detail in _details(error, kind)
        if isinstance(violations := detail.get(group), list)
        for violation in violations
        if isinstance(violation, dict) and isinstance(violation.get(name), str)
    ]
