"""The script of the Lua filter: its files, and tables that are made of the contract's descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from envoy_data_plane.google.protobuf import (
    DescriptorProto,
    FieldDescriptorProto,
    FieldDescriptorProtoLabel,
    FieldDescriptorProtoType,
    FileDescriptorSet,
)

from gateway.urls import URLS

HERE = Path(__file__).resolve().parent
DESCRIPTORS = HERE / "_gen" / "parley.binpb"
# Joined in this order into one script.
FILES = ("errors.lua", "body_errors.lua", "query.lua", "wants_stream.lua", "sse.lua", "main.lua")
# What a body may be read as; names of the one mean the same in the other.
BODIES = ("ChatCompletionRequest", "UpdateChatCompletionRequest")
# What the script itself makes of other parameters.
MADE = {"label_pairs"}


def lua_source() -> str:
    """Tables and files, joined."""
    descriptors = FileDescriptorSet.parse(DESCRIPTORS.read_bytes())
    messages = {message.name: message for file in descriptors.file for message in file.message_type}
    parts = [(HERE / "lua" / name).read_text("utf-8") for name in FILES]
    return "\n".join([*_tables(messages), *parts])


def _tables(messages: Mapping[str, DescriptorProto]) -> list[str]:
    fields = [(messages[name], field) for name in BODIES for field in messages[name].field]
    singular = {field.name: "true" for message, field in fields if _is_singular(message, field)}
    string_maps = {field.name: "true" for message, field in fields if _is_string_map(message, field)}
    queries = {url.query: _table(_kinds(messages[url.query], url.template)) for url in URLS if url.query}
    return [
        f"-- The parameters of bodies that can't be arrays.\nlocal SINGULAR = {_table(singular)}",
        f"-- Those that are maps of strings.\nlocal STRING_MAPS = {_table(string_maps)}",
        f"-- What queries may name, and of which kind it is.\nlocal QUERIES = {_table(queries)}",
    ]


def _kinds(message: DescriptorProto, template: str) -> dict[str, str]:
    """The fields that a query may name; those that the URL names are not among them."""
    left_out = {*re.findall(r"\{(\w+)", template), *MADE}
    return {field.name: f'"{_kind(message, field)}"' for field in message.field if field.name not in left_out}


def _kind(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if _is_string_map(message, field):
        return "map"
    match field.type, field.label:
        case FieldDescriptorProtoType.STRING, FieldDescriptorProtoLabel.REPEATED:
            return "list"
        case FieldDescriptorProtoType.STRING, _:
            return "string"
        case FieldDescriptorProtoType.INT32, FieldDescriptorProtoLabel.OPTIONAL:
            return "integer"
    raise ValueError(
        f"{message.name}.{field.name} can't stand in a query: expected strings, an int32 or a map of strings"
    )


def _is_singular(message: DescriptorProto, field: FieldDescriptorProto) -> bool:
    """Whether it can't be an array; a map is a repeated entry to protobuf."""
    if field.type_name == ".google.protobuf.Value":
        return False
    return field.label != FieldDescriptorProtoLabel.REPEATED or _entry(message, field) is not None


def _is_string_map(message: DescriptorProto, field: FieldDescriptorProto) -> bool:
    entry = _entry(message, field)
    return entry is not None and all(part.type == FieldDescriptorProtoType.STRING for part in entry.field)


def _entry(message: DescriptorProto, field: FieldDescriptorProto) -> DescriptorProto | None:
    """The type of a map's entries; None for what is no map."""
    name = field.type_name.rpartition(".")[2]
    nested: Iterable[DescriptorProto] = message.nested_type
    return next((each for each in nested if each.name == name and each.options and each.options.map_entry), None)


def _table(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'["{name}"] = {value}' for name, value in members.items()) + "}"
