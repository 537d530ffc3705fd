"""The form in which records leave the store for good: one JSON object a line. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from service.storage.forms import stored_completion, stored_messages
from service.storage.json_form import json_of
from service.storage.record import Record


def line_of(record: Record) -> bytes:
    """What REST shows of the record and of its messages, and whose it is; ends with a line feed."""
    members: dict[str, Any] = {"tenant": record.tenant}
    members |= json_of(stored_completion(record, with_request=True))
    members |= {"messages": [json_of(message) for message in stored_messages(record)]}
    return msgspec.json.encode(members) + b"\n"
