"""Records in the form of the tables' rows. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service.storage.record import Record, Summary

_SAME_NAME = (
    "id",
    "tenant",
    "created",
    "model",
    "session_id",
    "project",
    "campaign",
    "arm",
    "status",
    "error_reason",
    "request_id",
    "provider",
    "upstream_model",
    "first_token_ms",
    "duration_ms",
    "is_usage_estimated",
)
_OVERHEAD_BYTES = 2048
"""About what a row takes besides its two messages."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is written of one record."""

    completion: dict[str, Any]
    session: dict[str, Any]
    labels: list[dict[str, Any]]
    tags: list[dict[str, Any]]
    size_bytes: int

    @property
    def key(self) -> tuple[str, UUID]:
        """Of the completion."""
        return self.completion["tenant"], self.completion["id"]

    def __repr__(self) -> str:
        return f"Rows({self.completion['id']}, {self.size_bytes} bytes)"


def rows_of(record: Record) -> Rows:
    """The rows of a record, which need not be kept after that."""
    completion = {name: getattr(record, name) for name in _SAME_NAME}
    completion["end_user"] = record.user
    completion["request"] = record.request.SerializeToString()
    completion["completion"] = record.completion.SerializeToString()
    return Rows(
        completion=completion,
        session={
            "tenant": record.tenant,
            "id": record.session_id,
            "first_id": record.id,
            "created": record.created,
            "end_user": record.user,
        },
        labels=label_rows(record.tenant, record.id, record.labels),
        tags=[
            {"completion_id": record.id, "place": place, "tag": tag, "tenant": record.tenant}
            for place, tag in enumerate(dict.fromkeys(record.tags))
        ],
        size_bytes=len(completion["request"]) + len(completion["completion"]) + _OVERHEAD_BYTES,
    )


def label_rows(tenant: str, completion_id: UUID, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a completion's labels."""
    return [
        {"completion_id": completion_id, "key": key, "value": value, "tenant": tenant, "pair": pair_of(key, value)}
        for key, value in labels.items()
    ]


def pair_of(key: str, value: str) -> UUID:
    """What stands for a label in the index."""
    text = f"{len(key)}:{key}{value}"
    return UUID(bytes=hashlib.blake2b(text.encode(), digest_size=16).digest())


def summary_of(row: Mapping[str, Any], labels: Mapping[str, str], tags: tuple[str, ...]) -> Summary:
    """The record of a row without its request."""
    return Summary(**_fields_of(row, labels, tags))


def record_of(row: Mapping[str, Any], labels: Mapping[str, str], tags: tuple[str, ...]) -> Record:
    """The record of a row."""
    return Record(**_fields_of(row, labels, tags), request=ChatCompletionRequest.FromString(row["request"]))


def _fields_of(row: Mapping[str, Any], labels: Mapping[str, str], tags: tuple[str, ...]) -> dict[str, Any]:
    fields = {name: row[name] for name in _SAME_NAME}
    completion = ChatCompletion.FromString(row["completion"])
    return fields | {"user": row["end_user"], "labels": labels, "tags": tags, "completion": completion}
