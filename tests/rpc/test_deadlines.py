"""The caller's deadline: a header or gRPC's own, told with its reason on both faces, and nothing goes on after it."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from service.rpc.deadline import sooner
from tests.support.asking import REST, SOON_S, Played, read_to_end, stub_of, until
from tests.support.chunks import opening, saying
from tests.support.faces import grpc_failure
from tests.support.in_process import in_process
from tests.support.json_form import to_proto
from tests.support.stack import gateway_beside

REQUEST = to_proto({"model": "m", "messages": [{"role": "user", "content": "x"}]})
BIG = saying("x" * 100_000)


def header(milliseconds: object) -> tuple[tuple[str, str], ...]:
    return (("x-request-timeout-ms", str(milliseconds)),)


def reason_of(error: Any) -> str:
    raw = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = ErrorInfo()
    for detail in Status.FromString(raw).details:
        detail.Unpack(info)
    return info.reason


async def failure_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SOON_S):
            await call if hasattr(call, "__await__") else await call.read()
    return caught.value


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "abc", "86400001", "100, 200", "0x10", "9" * 30])
async def test_a_header_that_is_no_such_number_is_refused_by_name(value: str) -> None:
    provider = Played()
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        error = await failure_of(stub.CreateChatCompletion(REQUEST, metadata=header(value)))
        (line,) = service.calls()

    failure = grpc_failure(error)
    assert (failure.http_status, failure.param, failure.code) == (400, "x-request-timeout-ms", "invalid_value")
    assert not provider.asked
    assert line["param"] == "x-request-timeout-ms"


@pytest.mark.parametrize("is_unary", [True, False])
@pytest.mark.parametrize("is_grpcs_own", [True, False])
async def test_a_deadline_is_told_with_its_reason_and_ends_the_providers_work(
    *, is_unary: bool, is_grpcs_own: bool
) -> None:
    provider = Played([None])
    given: dict[str, Any] = {"timeout": 1.0} if is_grpcs_own else {"metadata": header(300)}
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        method = stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion
        error = await failure_of(method(REQUEST, **given))
        async with asyncio.timeout(SOON_S):
            await provider.closed.wait()
            await service.in_flight.wait_idle()
        (line,) = service.calls()

    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(error) == "DEADLINE_EXCEEDED"
    assert grpc_failure(error).code == "deadline_exceeded"
    trailing = dict(error.trailing_metadata())
    assert (trailing["x-parley-target"], trailing["x-parley-attempts"]) == ("m/m", "1")
    assert (line["status"], line["reason"]) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_the_sooner_of_the_two_deadlines_counts() -> None:
    for given in ({"timeout": 60.0, "metadata": header(200)}, {"timeout": 0.5, "metadata": header(60_000)}):
        provider, began = Played([None]), time.monotonic()
        async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
            error = await failure_of(stub.StreamChatCompletion(REQUEST, **given))

        assert reason_of(error) == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("requested_at", "remaining_s", "expected"),
    [
        (None, None, None),
        (105.0, None, 105.0),
        (None, 10.0, 109.98),
        (None, 0.1, 100.095),
        (105.0, 10.0, 105.0),
        (115.0, 10.0, 109.98),
        (None, -1.0, 99.0),
    ],
)
def test_grpcs_deadline_is_met_a_little_early(
    requested_at: float | None, remaining_s: float | None, expected: float | None
) -> None:
    assert sooner(requested_at, remaining_s, 100.0) == pytest.approx(expected)


async def test_amid_a_rest_stream_a_deadline_is_told_in_band() -> None:
    provider = Played([opening(), saying("a"), None])
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST, metadata=(*REST, *header(300))))

    assert ended.text == "a"
    assert ended.chunks[-1].error.code.string_value == "deadline_exceeded"
    assert ended.error is not None
    assert provider.was_cut


async def test_amid_a_grpc_stream_a_deadline_is_its_status() -> None:
    provider = Played([opening(), saying("a"), None])
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        ended = await read_to_end(stub.StreamChatCompletion(REQUEST, metadata=header(300)))

    assert ended.text == "a"
    assert not any(chunk.HasField("error") for chunk in ended.chunks)
    assert reason_of(ended.error) == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("is_rest", [True, False])
async def test_behind_a_reader_that_reads_nothing_the_provider_is_let_go_at_the_deadline(*, is_rest: bool) -> None:
    provider = Played([opening(), *[BIG] * 2000])
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        metadata = (*(REST if is_rest else ()), *header(1000))
        call = stub.StreamChatCompletion(REQUEST, metadata=metadata)
        await call.read()
        async with asyncio.timeout(SOON_S):
            await provider.closed.wait()
        assert provider.was_cut
        assert provider.sent < 2000
        ended = await read_to_end(call)

    assert reason_of(ended.error) == "DEADLINE_EXCEEDED"
    assert ended.chunks[-1].HasField("error") == is_rest


async def test_a_rest_client_that_reads_nothing_until_its_deadline_is_told_of_it_then(tmp_path: Path) -> None:
    provider = Played([opening(), *[BIG] * 2000])
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-timeout-ms: 1000\r\n"
    async with in_process({"m": provider}) as service, gateway_beside(service.address, tmp_path) as address:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        async with asyncio.timeout(SOON_S):
            await provider.closed.wait()
        async with asyncio.timeout(SOON_S):
            received = await reader.read(-1)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        await until(service.calls)
        (line,) = service.calls()

    assert provider.was_cut
    assert b"deadline_exceeded" in received.rpartition(b"data: ")[2]
    assert b"[DONE]" not in received
    assert (line["status"], line["usage_estimated"]) == ("DEADLINE_EXCEEDED", True)


@pytest.mark.parametrize("is_unary", [True, False])
async def test_a_first_token_that_is_late_is_told_by_the_parameters_name(*, is_unary: bool) -> None:
    provider = Played([opening(), None])  # what opens an answer is no token
    request = to_proto({"model": "m", "max_ttft_ms": 200, "messages": [{"role": "user", "content": "x"}]})
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        method = stub.CreateChatCompletion if is_unary else stub.StreamChatCompletion
        error = await failure_of(method(request))

    assert reason_of(error) == "MAX_TTFT_EXCEEDED"
    assert (grpc_failure(error).param, grpc_failure(error).http_status) == ("max_ttft_ms", 504)
    assert provider.was_cut


async def test_a_first_token_in_time_leaves_the_rest_its_time() -> None:
    provider = Played([opening(), saying("a"), None, saying("b")])
    request = to_proto({"model": "m", "max_ttft_ms": 500, "messages": [{"role": "user", "content": "x"}]})
    async with in_process({"m": provider}) as service, stub_of(service.address) as stub:
        call = stub.StreamChatCompletion(request)
        await call.read()
        await asyncio.sleep(0.7)  # what the parameter bounds is over by then
        provider.go.set()
        ended = await read_to_end(call)

    assert ended.error is None
