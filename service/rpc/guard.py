"""The outermost interceptor: keys, request ids, decoding, the access log, and the way out of every error.

Nothing but what is decided here reaches callers: a `ParleyError` becomes its row of the table, any
other exception INTERNAL with a fixed text and the request id to look it up by. Handlers run as
coroutines that `await context.write(…)`; with other forms grpcio cleans up after a cancellation
later, and elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from service.errors import ParleyError, Reason, RequestError
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.call import CURRENT, Call
from service.rpc.in_flight import InFlight
from service.rpc.status import TABLE, error_chunk, trailing_metadata

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LAST_WORD_S = 2.0
_OPEN_METHODS = "/grpc.health.v1.Health/"
_OWN_METHODS = "/parley.v1."

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stubs alone
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_MetadataPairs: TypeAlias = Sequence[tuple[str, str | bytes]]
_Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


class Guard(grpc.aio.ServerInterceptor):
    """Wraps every call but those of the health service."""

    def __init__(self, keys: Keys, log: AccessLog, in_flight: InFlight) -> None:
        self._keys = keys
        self._access_log = log
        self._in_flight = in_flight

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_OPEN_METHODS):
            return handler
        if not method.startswith(_OWN_METHODS):
            return self._keep_out(handler, cast(_MetadataPairs, handler_call_details.invocation_metadata))
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler), None, handler.response_serializer)
        return grpc.unary_stream_rpc_method_handler(self._stream(method, handler), None, handler.response_serializer)

    def _keep_out(self, handler: Handler, metadata: _MetadataPairs) -> Handler:
        """The handler of another service (reflection) for callers with a key; a refusal for others."""
        try:
            self._keys.authenticate(metadata)
        except RequestError as error:
            refused = error
        else:
            return handler

        async def refuse(_request: object, context: Context) -> NoReturn:
            await _abort(context, refused)

        return grpc.stream_stream_rpc_method_handler(refuse, handler.request_deserializer, handler.response_serializer)

    def _unary(self, method: str, handler: Handler) -> Callable[[bytes, Context], Awaitable[Any]]:
        answer = cast(_Behaviour, handler.unary_unary)
        decode = handler.request_deserializer

        async def guarded(raw: bytes, context: Context) -> Any:
            metadata = cast(_MetadataPairs, context.invocation_metadata() or ())
            call = _begin(method, metadata)
            with self._in_flight.entered(call):
                try:
                    call.key_name = self._keys.authenticate(metadata)
                    response = await answer(_decode(decode, raw), context)
                    await context.send_initial_metadata(_initial_metadata(call))
                except BaseException as error:  # noqa: BLE001 - all of them end in _fail, which raises
                    await self._fail(call, context, error)
                self._access_log.write(call, "OK")
                return response

        return guarded

    def _stream(self, method: str, handler: Handler) -> Callable[[bytes, Context], Awaitable[None]]:
        answer = cast(_Behaviour, handler.unary_stream)
        decode = handler.request_deserializer

        async def guarded(raw: bytes, context: Context) -> None:
            metadata = cast(_MetadataPairs, context.invocation_metadata() or ())
            call = _begin(method, metadata)
            with self._in_flight.entered(call):
                try:
                    call.key_name = self._keys.authenticate(metadata)
                    await answer(_decode(decode, raw), context)
                except BaseException as error:  # noqa: BLE001 - all of them end in _fail, which raises
                    await self._fail(call, context, error)
                context.set_trailing_metadata((("x-request-id", call.request_id),))
                self._access_log.write(call, "OK")

        return guarded

    async def _fail(self, call: Call, context: Context, error: BaseException) -> NoReturn:
        """Log the call and end it with the status of `error`; a cancellation is passed on."""
        if isinstance(error, asyncio.CancelledError):
            if not self._in_flight.take_back_interruption(call):
                over = _is_over(context)
                self._access_log.write(call, "DEADLINE_EXCEEDED" if over else "CANCELLED")
                raise error
            failure = ParleyError(Reason.SHUTTING_DOWN, "The service is shutting down; another replica may answer.")
        elif isinstance(error, ParleyError):
            failure = error
        elif isinstance(error, Exception):
            where = "".join(traceback.format_tb(error.__traceback__))  # its text may hold a prompt or a key
            _log.error("call %s failed of %s\n%s", call.request_id, type(error).__name__, where)
            message = f"The service failed; the log tells more of request {call.request_id}."
            failure = ParleyError(Reason.INTERNAL, message)
        else:
            raise error
        code = TABLE[failure.reason].code
        self._access_log.write(call, code.name, failure.reason.value, failure.param)
        if call.has_written and call.is_rest:
            with suppress(TimeoutError):  # a caller that reads nothing is not waited for
                async with asyncio.timeout(_LAST_WORD_S):
                    await context.write(error_chunk(failure))
        await _abort(context, failure, call.request_id)


def _begin(method: str, metadata: _MetadataPairs) -> Call:
    request_id, is_rest = "", False
    for name, value in metadata:
        if name == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            request_id = value
        elif name == "x-parley-sse":
            is_rest = True
    call = Call(request_id=request_id or str(uuid.uuid4()), method=method, is_rest=is_rest)
    CURRENT.set(call)
    return call


def _initial_metadata(call: Call) -> tuple[tuple[str, str], ...]:
    request_id = ("x-request-id", call.request_id)
    return (request_id, ("x-parley-empty-lists", "1")) if call.has_empty_lists else (request_id,)


def _decode(decode: Callable[[bytes], Any] | None, raw: bytes) -> Any:
    try:
        return decode(raw) if decode else raw
    except (DecodeError, RecursionError):
        message = "The request can't be decoded: it is nested too deeply, holds invalid UTF-8, or is no such message."
        raise RequestError(Reason.REQUEST_UNDECODABLE, message) from None


def _is_over(context: Context) -> bool:
    """Whether the call's deadline has passed."""
    remaining_s: float | None = context.time_remaining()  # the stubs know no call without a deadline
    return remaining_s is not None and remaining_s <= 0


async def _abort(context: Context, failure: ParleyError, request_id: str | None = None) -> NoReturn:
    metadata = trailing_metadata(failure)
    if request_id is not None:
        metadata = (*metadata, ("x-request-id", request_id))
    await context.abort(TABLE[failure.reason].code, failure.message, metadata)
