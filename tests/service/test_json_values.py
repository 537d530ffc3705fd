"""JSON values between their protobuf forms and Python."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from service._gen.parley.v1.json_pb2 import JsonList, JsonObject, JsonValue
from service.json_values import InvalidJsonError, Json, json_object, object_to_json, value_to_json

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=20
)
_OBJECTS = st.dictionaries(_TEXT, _VALUES, max_size=5)


def value(json_value: Any) -> Value:
    return ParseDict(json_value, Value())


def order_of(members: Any) -> Any:
    """The keys of all objects within, in their order."""
    if isinstance(members, dict):
        return [(key, order_of(item)) for key, item in members.items()]
    return [order_of(item) for item in members] if isinstance(members, list) else None


@given(_OBJECTS)
def test_an_object_comes_back_equal_and_in_order(members: dict[str, Any]) -> None:
    arrived = JsonObject.FromString(json_object(members).SerializeToString())

    back = object_to_json(arrived)

    assert back == members
    assert order_of(back) == order_of(members)


@given(_OBJECTS)
def test_an_object_is_read_the_same_as_a_struct(members: dict[str, Any]) -> None:
    as_struct = Struct.FromString(json_object(members).SerializeToString())

    assert value_to_json(Value(struct_value=as_struct)) == members


@given(_VALUES)
def test_a_value_comes_back_equal(json_value: Any) -> None:
    assert value_to_json(value(json_value)) == json_value


@given(_VALUES)
def test_a_struct_is_read_the_same_as_an_object(json_value: Any) -> None:
    struct = Struct(fields={"v": value(json_value)})

    assert object_to_json(JsonObject.FromString(struct.SerializeToString())) == {"v": json_value}


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-17.0, "-17"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (2.0**53, "9007199254740992"),
        (-(2.0**53), "-9007199254740992"),
        (2.0**53 + 2, "9007199254740994"),
        (1e20, "100000000000000000000"),
        (5e-324, "5e-324"),
    ],
)
def test_integral_numbers_become_integers(number: float, printed: str) -> None:
    plain = value_to_json(Value(number_value=number))
    ordered = object_to_json(JsonObject(fields=[_entry("n", JsonValue(number_value=number))]))["n"]

    assert json.dumps(plain) == json.dumps(ordered) == printed


def test_the_kinds_stay_apart() -> None:
    members: dict[str, Json] = {
        "true": True, "false": False, "one": 1, "zero": 0, "null": None, "empty": "", "text": "1", "list": [], "object": {},
    }  # fmt: skip
    back = object_to_json(json_object(members))

    assert [(key, type(item), item) for key, item in back.items()] == [
        (key, type(item), item) for key, item in members.items()
    ]


def test_an_empty_key_is_written_as_a_struct_has_it() -> None:
    """Envoy, which reads it as a Struct, does not survive a member without a key."""
    written = json_object({"": None}).SerializeToString()

    assert written == Struct(fields={"": value(None)}).SerializeToString()
    assert JsonObject.FromString(written).SerializeToString() == written


def test_an_object_of_no_members_is_empty() -> None:
    assert object_to_json(JsonObject()) == {}
    assert json_object({}) == JsonObject()


def test_keys_keep_an_order_that_is_none_of_a_map() -> None:
    keys = [f"k{number * 7919 % 1000}" for number in range(1000)]

    assert list(object_to_json(json_object(dict.fromkeys(keys)))) == keys


def _entry(key: str, item: JsonValue | None = None) -> JsonObject.Entry:
    return JsonObject.Entry(key=key, value=item)


def _within(entry: JsonObject.Entry) -> JsonObject:
    inner = JsonValue(struct_value=JsonObject(fields=[entry]))
    return JsonObject(fields=[_entry("a", JsonValue(list_value=JsonList(values=[inner])))])


_NULL = JsonValue(null_value=NULL_VALUE)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (JsonObject(fields=[_entry("a", _NULL), _entry("b", _NULL), _entry("a", _NULL)]), "has a key that occurs twice in one object"),
        (JsonObject(fields=[_entry("", _NULL), _entry("", _NULL)]), "has a key that occurs twice in one object"),
        (JsonObject(fields=[_entry("a")]), "has a value without a kind"),
        (JsonObject(fields=[_entry("a", JsonValue())]), "has a value without a kind"),
        (_within(_entry("x")), "has a value without a kind"),
        (_within(_entry("x", JsonValue(number_value=math.nan))), "has a number that is not finite"),
        (_within(_entry("x", JsonValue(number_value=math.inf))), "has a number that is not finite"),
        (_within(_entry("x", JsonValue(number_value=-math.inf))), "has a number that is not finite"),
    ],
)  # fmt: skip
def test_an_object_that_stands_for_none_is_refused(members: JsonObject, problem: str) -> None:
    with pytest.raises(InvalidJsonError) as raised:
        object_to_json(members)

    assert str(raised.value) == problem


def test_a_key_may_occur_in_different_objects() -> None:
    assert object_to_json(_within(_entry("a", _NULL))) == {"a": [{"a": None}]}


@pytest.mark.parametrize(
    ("given_value", "problem"),
    [
        (Value(), "has a value without a kind"),
        (Value(number_value=math.nan), "has a number that is not finite"),
        (Value(number_value=math.inf), "has a number that is not finite"),
        (Value(list_value=ListValue(values=[Value(number_value=-math.inf)])), "has a number that is not finite"),
        (Value(struct_value=Struct(fields={"x": Value()})), "has a value without a kind"),
    ],
)
def test_a_value_that_stands_for_none_is_refused(given_value: Value, problem: str) -> None:
    with pytest.raises(InvalidJsonError) as raised:
        value_to_json(given_value)

    assert str(raised.value) == problem


@pytest.mark.parametrize("alien", [object(), b"bytes", {1, 2}, (1, 2), 1j])
def test_what_is_no_json_type_is_refused_by_its_type(alien: Any) -> None:
    with pytest.raises(TypeError) as raised:
        json_object({"a": [alien]})

    assert str(raised.value) == f"{type(alien).__name__} is no JSON type"


def nested(levels: int, *, of_lists: bool) -> dict[str, Any]:
    """An object with `levels` of objects or arrays, itself included."""
    inner: Any = [] if of_lists else {}
    for _ in range(levels - 2):
        inner = [inner] if of_lists else {"a": inner}
    return {"a": inner}


@pytest.mark.parametrize("of_lists", [True, False], ids=["arrays", "objects"])
def test_objects_are_made_as_deep_as_protobuf_reads_them_and_no_deeper(*, of_lists: bool) -> None:
    deepest = nested(30, of_lists=of_lists)
    assert object_to_json(JsonObject.FromString(json_object(deepest).SerializeToString())) == deepest

    with pytest.raises(InvalidJsonError) as raised:
        json_object(nested(31, of_lists=of_lists))

    assert str(raised.value) == "is nested more than 30 levels deep"


def test_an_integer_beyond_doubles_is_refused() -> None:
    assert object_to_json(json_object({"a": 10**308})) == {"a": int(1e308)}

    with pytest.raises(OverflowError):
        json_object({"a": 10**309})
