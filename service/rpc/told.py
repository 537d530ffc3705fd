"""What callers are told of a call in metadata, beside the answer or the error itself."""

from __future__ import annotations

from service.rpc.call import Call
from service.rpc.status import header_value

Pairs = tuple[tuple[str, str], ...]

_MOST_NAMES = 50
"""Names of the contract are at most about 60 characters long, with their path."""


def initial_metadata(call: Call) -> Pairs:
    """Ahead of an answer, whole or in pieces.

    Ahead of a sign of life there is only the request id: nobody has answered yet. So it is where no provider is asked.
    """
    request_id = ("x-request-id", call.request_id)
    empty_lists = (("x-parley-empty-lists", "1"),) if call.has_empty_lists else ()
    if call.first_token is None:
        return (request_id, *empty_lists)
    dropped = call.journal.dropped
    told = (("x-parley-dropped-params", _listed(dropped)),) if dropped else ()
    return (request_id, *_who(call), *told, *empty_lists)


def failure_metadata(call: Call) -> Pairs:
    """Behind an error, which says more."""
    return (("x-request-id", call.request_id), *_who(call))


def completion_metadata(call: Call) -> Pairs:
    """Behind a stream that has ended well: by this a caller can tell that it is complete."""
    pairs = [("x-request-id", call.request_id), *_who(call)]
    if call.is_complete and call.usage is not None:
        pairs.append(("x-parley-tokens-out", str(call.usage.completion_tokens)))
    if call.is_complete and call.finish_reason:
        pairs.append(("x-parley-finish", header_value(call.finish_reason)))
    if call.is_complete and call.is_usage_estimated:
        pairs.append(("x-parley-usage", "estimated"))
    return tuple(pairs)


def _who(call: Call) -> Pairs:
    target = call.journal.target
    arm = () if call.arm is None else (("x-parley-arm", call.arm),)
    if target is None or not call.journal.attempts:
        return arm
    return (
        ("x-parley-target", header_value(str(target))),
        ("x-parley-attempts", str(len(call.journal.attempts))),
        *arm,
    )


def _listed(names: list[str]) -> str:
    """The names, or as many as metadata has room for (grpcio takes 8 KiB) and how many more there are."""
    told = names[:_MOST_NAMES]
    more = len(names) - len(told)
    return ", ".join([*told, f"+{more}"] if more else told)
