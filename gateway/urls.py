"""The URLs of the REST API, and the methods that each has; the contract's HTTP annotations, in one table."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIXES = ("", "/api")


@dataclass(frozen=True)
class RestUrl:
    """A URL by its template: `{x}` stands for one segment, `{x=**}` at the end for all that follow.

    `query` is the message whose fields the query of a GET may name; without it no method takes a query.
    """

    template: str
    methods: tuple[str, ...]
    query: str | None = None

    @property
    def statistics(self) -> str:
        """Under which name its calls are counted; one for what belongs together."""
        return re.sub(r"/", "_", self.template.removeprefix("/api").removeprefix("/v1/").partition("/{")[0])

    @property
    def path(self) -> str | None:
        """The path, where it is always the same."""
        return None if "{" in self.template else self.template

    @property
    def prefix(self) -> str | None:
        """What paths begin with whose rest may be anything."""
        head, _, rest = self.template.partition("{")
        return head if rest.endswith("=**}") else None

    @property
    def regex(self) -> str | None:
        """RE2, matched in full, of paths with an id in them.

        An id has no colon, with which a verb begins for the transcoder: streams have an internal one.
        """
        if self.path or self.prefix:
            return None
        return re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(self.template))


_COMPLETIONS = "/v1/chat/completions"
_SESSIONS = "/v1/sessions"
URLS = tuple(
    RestUrl(prefix + template, methods, query)
    for prefix in PREFIXES
    for template, methods, query in (
        (_COMPLETIONS, ("GET", "POST"), "ListChatCompletionsRequest"),
        (f"{_COMPLETIONS}/{{completion_id}}", ("GET", "POST", "DELETE"), None),
        (f"{_COMPLETIONS}/{{completion_id}}/messages", ("GET",), "ListChatCompletionMessagesRequest"),
        (_SESSIONS, ("GET",), "ListSessionsRequest"),
        (f"{_SESSIONS}/{{session_id}}", ("GET", "DELETE"), None),
        ("/v1/models", ("GET",), None),
        ("/v1/models/{model=**}", ("GET",), None),
    )
)
