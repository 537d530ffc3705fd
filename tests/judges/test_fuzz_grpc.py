"""Thousands of malformed requests to the service over gRPC: nothing crashes or leaks, and every error has a reason of ours."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from service.errors import Reason
from tests.conftest import KEY
from tests.judges.asked import ANSWERING, BODIES, MARK, MODELS, OTHERS
from tests.judges.fuzzing import ENOUGH, REQUESTS, SEED, Fuzzed, Tally, fuzzed
from tests.judges.stored_ids import ANSWER_PLACE, CHOICE_PLACE, COMPLETION_PLACE, StoredIds
from tests.support.json_form import to_proto

BATCH: Final = 50
"""Requests of one example, sent at the same time."""
METHODS: Final = (*ANSWERING * 6, *OTHERS)
"""Half of the requests are for answers."""
ALLOWED: Final = frozenset({
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
})  # fmt: skip
TEXTS: Final = (
    "",
    " ",
    "\x00",
    "é" * 300,
    "user",
    "assistant",
    "tool",
    "json_schema",
    "function",
    "data:,",
    "x" * 5000,
    "support",
    "size",
    "shop__echo",
    COMPLETION_PLACE,
    CHOICE_PLACE,
    ANSWER_PLACE,
)
NUMBERS: Final = (0, 1, -1, 2, 127, 128, 2**31 - 1, -(2**31))
REALS: Final = (0.0, -0.0, 0.5, -1.0, 1e308, float("inf"), float("-inf"), float("nan"), 2.0**53 + 1)
NAMES: Final = (
    "x-request-id", "x-parley-sse", "x-request-timeout-ms", "x-parley-target", "on-disconnect", "x-api-key", "x-stainless-lang", "user-agent-x",
)  # fmt: skip

_any_number = st.integers(0, 2**32 - 1)
_byte_change = st.tuples(st.integers(0, 2), _any_number, st.integers(0, 255))
_metadata = st.tuples(
    st.sampled_from(NAMES),
    st.one_of(st.sampled_from(("", "1", "-1", "abc", "9" * 30, "1.5")), st.text("\x20\x7e,=", max_size=9)),
)


@dataclass(frozen=True)
class Malformed:
    """A request that is right but for the changes."""

    method: str
    body: int
    model: str
    edits: list[int]
    byte_changes: list[tuple[int, int, int]]
    metadata: list[tuple[str, str]]
    timeout_s: float

    def raw(self) -> bytes:
        """Its bytes."""
        request = self._right()
        for edit in self.edits:
            _edit(request, edit)
        return self._changed(request.SerializeToString())

    def _right(self) -> Any:
        if self.method in ANSWERING:
            body = {**BODIES[self.body % len(BODIES)], "model": self.model}
            return to_proto({**body, "stream": True} if self.method.endswith("StreamChatCompletion") else body)
        several = OTHERS[self.method]
        return copy.deepcopy(several[self.body % len(several)])

    def _changed(self, raw: bytes) -> bytes:
        changed = bytearray(raw)
        for what, at, byte in self.byte_changes:
            place = at % (len(changed) + 1)
            if what == 0:
                changed[place : place + 1] = bytes([byte])
            elif what == 1:
                changed[place:place] = bytes([byte])
            else:
                del changed[place : place + byte]
        return bytes(changed)


_requests = st.builds(
    Malformed,
    method=st.sampled_from(METHODS),
    body=st.integers(0, 119),
    model=st.sampled_from(MODELS),
    edits=st.lists(_any_number, max_size=5),
    byte_changes=st.one_of(st.just([]), st.lists(_byte_change, max_size=4)),
    metadata=st.lists(_metadata, max_size=2),
    timeout_s=st.sampled_from((20.0,) * 20 + (0.001, 0.01)),
)


def _edit(message: Any, number: int) -> None:
    """Change one field; `number` says which, on which level, and to what."""
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    number, at = divmod(number, len(fields))
    field = fields[at]
    if field.message_type is not None and not field.message_type.GetOptions().map_entry:
        inner = getattr(message, field.name)
        if field.is_repeated:
            inner = inner[number % len(inner)] if len(inner) and number % 3 else inner.add()
        else:
            inner.SetInParent()
        if number > len(fields):
            _edit(inner, number // 3)
    elif field.message_type is not None:
        _edit_map(getattr(message, field.name), field, number)
    elif field.is_repeated:
        getattr(message, field.name).extend([_value(field, number)] * (number % 4))
    else:
        setattr(message, field.name, _value(field, number))


def _edit_map(target: Any, field: FieldDescriptor, number: int) -> None:
    assert field.message_type is not None
    key = field.message_type.fields_by_name["key"]
    value = field.message_type.fields_by_name["value"]
    if value.message_type is None:
        target[_value(key, number)] = _value(value, number // 7)
    else:
        target[_value(key, number)].SetInParent()


def _value(field: FieldDescriptor, number: int) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return bytes(number % 256)
        case FieldDescriptor.CPPTYPE_STRING:
            return TEXTS[number % len(TEXTS)]
        case FieldDescriptor.CPPTYPE_BOOL:
            return bool(number % 2)
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return REALS[number % len(REALS)]
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return abs(NUMBERS[number % len(NUMBERS)])
        case _:
            return NUMBERS[number % len(NUMBERS)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with fuzzed(tmp_path_factory.mktemp("fuzzed-grpc")) as parts:
        yield parts


@pytest.mark.timeout(90 + REQUESTS // 20)
def test_malformed_requests_over_grpc(parts: Fuzzed) -> None:
    tally = Tally()
    runner = asyncio.Runner()
    channel = runner.run(_channel(parts))

    @seeded(SEED)
    @settings(
        max_examples=max(REQUESTS // BATCH, 1),
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(_requests, min_size=BATCH, max_size=BATCH))
    def send(batch: list[Malformed]) -> None:
        wrong = len(tally.wrong)
        parts.store_session()
        runner.run(_send(channel, batch, parts.ids, tally))
        assert len(tally.wrong) == wrong, "\n".join(tally.wrong[wrong:])
        if not parts.before and sum(tally.endings.values()) >= REQUESTS // 10:
            parts.note()

    with runner:
        try:
            send()
        finally:
            runner.run(channel.close())
    assert tally.endings["OK "] > REQUESTS / 50, tally.report("malformed gRPC requests")
    assert len(tally.endings) > 5, tally.report("malformed gRPC requests")
    assert set(tally.answered) == set(METHODS) or REQUESTS < ENOUGH, tally.report("malformed gRPC requests")
    parts.check()


async def _channel(parts: Fuzzed) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(parts.stack.grpc_address)


async def _send(channel: grpc.aio.Channel, batch: list[Malformed], ids: StoredIds, tally: Tally) -> None:
    await asyncio.gather(*(_ask(channel, request, ids, tally) for request in batch))


async def _ask(channel: grpc.aio.Channel, request: Malformed, ids: StoredIds, tally: Tally) -> None:
    method: Any = channel.unary_stream(request.method)  # the stubs want serializers
    raw = ids.put(request.raw())
    call = method(raw, metadata=(("authorization", f"Bearer {KEY}"), *request.metadata), timeout=request.timeout_s)
    async for message in _quietly(call):
        ids.learn(message)
    code, text = await call.code(), await call.details()
    reason = _reason(await call.trailing_metadata())
    tally.endings[f"{code.name} {reason}"] += 1
    if code is grpc.StatusCode.OK:
        tally.answered[request.method] += 1
    if complaint := _complaint(code, text, reason):
        tally.wrong.append(f"{complaint}: {code.name} {reason} {text!r} of {request}")


async def _quietly(call: Any) -> Any:
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError:
        return


def _reason(metadata: Any) -> str:
    info = ErrorInfo()
    for name, value in metadata or ():
        if name == "grpc-status-details-bin":
            for detail in Status.FromString(value).details:
                detail.Unpack(info)
    return info.reason


def _complaint(code: grpc.StatusCode, text: str, reason: str) -> str:
    """What is wrong with an ending, if anything."""
    if code not in ALLOWED:
        return "not the caller's fault, it says"
    if MARK in text:
        return "a prompt in the status"
    is_named = reason in Reason.__members__ and reason != "INTERNAL"
    is_callers_clock = code is grpc.StatusCode.DEADLINE_EXCEEDED and not reason
    if code is not grpc.StatusCode.OK and not is_named and not is_callers_clock:
        return "no reason of ours"
    return ""
