"""The errors of the service, without gRPC and without HTTP.

    ParleyError
    ├── ConfigError              the operator's: found at start
    ├── RequestError             the caller's fault
    ├── StorageUnavailable       the database does not answer
    ├── ToolServerUnavailable    a server of server-side tools does not answer
    └── UpstreamError            the provider's, or of the way to it
        ├── Unavailable          can't be reached, or can't answer now
        ├── Timeout              silent for too long
        ├── RateLimited          asks to come later
        ├── Rejected             does not take the request
        ├── Auth                 does not take the service's credentials
        ├── Malformed            answered what its API does not allow
        ├── Interrupted          began to answer, and broke off
        ├── CircuitOpen          has failed so often that it is not asked
        └── ConcurrencyExhausted has as many calls as it may have

Every message is written to be shown to callers: it holds no text of a provider and no part of a
request but parameter names and the model id. `service/rpc/status.py` has the one table that maps the reasons.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Why a call failed; the same names as `parley.v1.ErrorReason`, where each is documented."""

    PARAMETER_INVALID = "PARAMETER_INVALID"
    PARAMETER_MISSING = "PARAMETER_MISSING"
    PARAMETER_UNSUPPORTED = "PARAMETER_UNSUPPORTED"
    REQUEST_UNDECODABLE = "REQUEST_UNDECODABLE"
    API_KEY_INVALID = "API_KEY_INVALID"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    UPSTREAM_REJECTED = "UPSTREAM_REJECTED"
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    UPSTREAM_AUTH_FAILED = "UPSTREAM_AUTH_FAILED"
    UPSTREAM_MODEL_NOT_FOUND = "UPSTREAM_MODEL_NOT_FOUND"
    UPSTREAM_RATE_LIMITED = "UPSTREAM_RATE_LIMITED"
    UPSTREAM_QUOTA_EXHAUSTED = "UPSTREAM_QUOTA_EXHAUSTED"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    UPSTREAM_MALFORMED = "UPSTREAM_MALFORMED"
    UPSTREAM_INTERRUPTED = "UPSTREAM_INTERRUPTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"
    MAX_TTFT_EXCEEDED = "MAX_TTFT_EXCEEDED"
    CONCURRENCY_EXHAUSTED = "CONCURRENCY_EXHAUSTED"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    COMPLETION_NOT_FOUND = "COMPLETION_NOT_FOUND"
    SESSION_NOT_FOUND = "SESSION_NOT_FOUND"
    CAMPAIGN_NOT_FOUND = "CAMPAIGN_NOT_FOUND"
    TOOL_NOT_FOUND = "TOOL_NOT_FOUND"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    TOOL_SERVER_UNAVAILABLE = "TOOL_SERVER_UNAVAILABLE"
    TOOL_TURNS_EXCEEDED = "TOOL_TURNS_EXCEEDED"
    SYSTEM_PROMPT_FAILED = "SYSTEM_PROMPT_FAILED"


class ParleyError(Exception):
    """What the service can say of a failure.

    Args:
        reason: Why.
        message: For people; safe to show to callers.
        param: The request's parameter that is wrong, such as `messages[0].role`.
        metadata: Further ErrorInfo metadata (`provider`, `upstream_status`, `upstream_request_id`).
    """

    retry_after_s: float | None = None
    """When to come again, where that is known."""

    def __init__(
        self, reason: Reason, message: str, *, param: str | None = None, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param
        self.metadata = metadata or {}


class ConfigError(Exception):
    """The configuration can't be used; the message names the path and what was expected."""


class RequestError(ParleyError):
    """The request is wrong; sending it again can't help."""


def missing(param: str, expected: str) -> RequestError:
    """The error of a required parameter that is absent; `expected` says what belongs there."""
    return RequestError(Reason.PARAMETER_MISSING, f"`{param}` is required: {expected}.", param=param)


def invalid(param: str, expected: str) -> RequestError:
    """The error of a parameter with a wrong value; `expected` goes on after "must be"."""
    return RequestError(Reason.PARAMETER_INVALID, f"`{param}` must be {expected}.", param=param)


def shutting_down() -> ParleyError:
    """The error of a call that the end of the service ends or keeps out."""
    return ParleyError(Reason.SHUTTING_DOWN, "The service is shutting down; another replica may answer.")


def deadline_exceeded() -> ParleyError:
    """The error of a call that is not over when its caller's deadline is."""
    return ParleyError(Reason.DEADLINE_EXCEEDED, "The call's deadline has passed before the answer was complete.")


def max_ttft_exceeded() -> ParleyError:
    """The error of a call whose first token was not there in the time that the request gives it."""
    message = "No first token has come within `max_ttft_ms`."
    return ParleyError(Reason.MAX_TTFT_EXCEEDED, message, param="max_ttft_ms")


class StorageUnavailable(ParleyError):
    """The database does not answer."""

    def __init__(self, retry_after_s: float = 1.0) -> None:
        super().__init__(Reason.STORAGE_UNAVAILABLE, "Completions can't be stored or read now; try again later.")
        self.retry_after_s = retry_after_s


class ToolServerUnavailable(ParleyError):
    """A server of server-side tools does not answer; `server` is its name in the configuration."""

    def __init__(self, server: str, retry_after_s: float = 1.0) -> None:
        message = f"The server `{server}` of the project's tools is not available; try again later."
        super().__init__(Reason.TOOL_SERVER_UNAVAILABLE, message, metadata={"tool_server": server})
        self.retry_after_s = retry_after_s


class UpstreamError(ParleyError):
    """The provider, or the way to it, failed."""


class Unavailable(UpstreamError):
    """The provider can't be reached, or reports that it can't answer now."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(Reason.UPSTREAM_UNAVAILABLE, message, metadata=metadata)
        self.retry_after_s = retry_after_s


class Exhausted(UpstreamError):
    """This process has nothing left to reach a provider with, such as file descriptors; another replica may have."""

    def __init__(self) -> None:
        message = "This replica has too many connections to open another to the provider."
        super().__init__(Reason.UPSTREAM_UNAVAILABLE, message)
        self.retry_after_s = 1.0


class Timeout(UpstreamError):
    """The provider was silent for longer than its timeouts allow."""

    def __init__(self, message: str, *, metadata: dict[str, str] | None = None) -> None:
        super().__init__(Reason.UPSTREAM_TIMEOUT, message, metadata=metadata)


class RateLimited(UpstreamError):
    """The provider asks to come later, after `retry_after_s` seconds where it tells."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retry_after_s: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message, metadata=metadata)
        self.retry_after_s = retry_after_s


class Rejected(UpstreamError):
    """The provider does not take the request."""


class Auth(UpstreamError):
    """The provider does not take the credentials that the service is configured with."""

    def __init__(self, message: str, *, metadata: dict[str, str] | None = None) -> None:
        super().__init__(Reason.UPSTREAM_AUTH_FAILED, message, metadata=metadata)


class Malformed(UpstreamError):
    """The provider answered what its API does not allow."""

    def __init__(self, message: str, *, metadata: dict[str, str] | None = None) -> None:
        super().__init__(Reason.UPSTREAM_MALFORMED, message, metadata=metadata)


class Interrupted(UpstreamError):
    """The provider began to answer, and broke off or reported an error."""

    def __init__(self, message: str, *, metadata: dict[str, str] | None = None) -> None:
        super().__init__(Reason.UPSTREAM_INTERRUPTED, message, metadata=metadata)


class CircuitOpen(UpstreamError):
    """The target has failed so often lately that it is left alone for `retry_after_s` seconds more."""

    def __init__(self, retry_after_s: float) -> None:
        message = "The model's provider has failed repeatedly and is left alone for a while."
        super().__init__(Reason.CIRCUIT_OPEN, message)
        self.retry_after_s = retry_after_s


class ConcurrencyExhausted(UpstreamError):
    """The target has as many calls as it may have; `retry_after_s` is an estimate."""

    def __init__(self, retry_after_s: float) -> None:
        message = "The model has as many calls as it may have, and the queue is full or was too slow."
        super().__init__(Reason.CONCURRENCY_EXHAUSTED, message)
        self.retry_after_s = retry_after_s
