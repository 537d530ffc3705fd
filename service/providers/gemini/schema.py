"""The JSON Schema of an answer, as Gemini reads it. Pure."""

from __future__ import annotations

from service.json_values import Json


def with_property_ordering(schema: Json) -> Json:
    """The schema with `propertyOrdering` in every object that has properties and none yet.

    Source: https://ai.google.dev/gemini-api/docs/structured-output (2026-11-22).
    """
    if isinstance(schema, list):
        return [with_property_ordering(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    ordered = {name: _member(name, value) for name, value in schema.items()}
    properties = schema.get("properties")
    if isinstance(properties, dict) and "propertyOrdering" not in schema:
        ordered["propertyOrdering"] = list(properties)
    return ordered


def _member(name: str, value: Json) -> Json:
    if name in {"const", "enum", "default", "example", "examples"}:
        return value  # values, and no schemas
    if name in {"properties", "$defs", "definitions"} and isinstance(value, dict):
        return {key: with_property_ordering(item) for key, item in value.items()}
    return with_property_ordering(value)
