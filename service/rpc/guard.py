"""The outermost interceptor: keys, request ids, decoding, the access log, and the way out of every error.

Nothing but what is decided here reaches callers: a `ParleyError` becomes its row of the table, any
other exception INTERNAL with a fixed text and the request id to look it up by. Handlers run as
coroutines that `await context.write(…)`; with other forms grpcio cleans up after a cancellation
later, and elsewhere. The contract's methods are served as if they took a stream, and read their one
request themselves: grpcio leaves a caller of any other kind without an answer who sends none.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from service.answers.ids import random_uuid
from service.errors import ParleyError, Reason, RequestError, shutting_down
from service.rpc.access_log import AccessLog
from service.rpc.auth import Keys
from service.rpc.call import CURRENT, Call
from service.rpc.deadline import requested_timeout_s, sooner
from service.rpc.frames import forget_frames
from service.rpc.in_flight import InFlight
from service.rpc.observer import CallObserver
from service.rpc.status import TABLE, error_chunk, trailing_metadata
from service.rpc.told import completion_metadata, failure_metadata, initial_metadata
from service.tracing.context import TraceContext, read_context
from service.tracing.trace import Tracing

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,256}")
_EOF_S = 0.05
_OVER_S = 0.1
_UNTOUCHED = (("x-parley-refused", "1"),)
"""Tells the gateway that nothing was done, so that another replica may answer."""
_OPEN_METHODS = "/grpc.health.v1.Health/"
_OWN_METHODS = "/parley.v1."

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stubs alone
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Pairs: TypeAlias = tuple[tuple[str, str], ...]
_MetadataPairs: TypeAlias = Sequence[tuple[str, str | bytes]]
_Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


class Guard(grpc.aio.ServerInterceptor):
    """Stands before every method but those of the health service, and within those of the contract.

    Args:
        keys: Of callers.
        log: Has a line for each call.
        in_flight: Counts calls.
        observers: Are told of each call that has ended, when its line is written.
        tracing: Decides which calls are recorded; None where none is.
    """

    def __init__(
        self,
        keys: Keys,
        log: AccessLog,
        in_flight: InFlight,
        observers: Sequence[CallObserver] = (),
        tracing: Tracing | None = None,
    ) -> None:
        self._keys = keys
        self._access_log = log
        self._in_flight = in_flight
        self._observers = observers
        self._tracing = tracing
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler to call: refused are callers without a key, before their message is read."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_OPEN_METHODS):
            return handler
        metadata = cast(_MetadataPairs, handler_call_details.invocation_metadata)
        call, context = _begin(method, metadata)
        if self._tracing is not None and method.startswith(_OWN_METHODS):
            call.trace = self._tracing.begin(context)
            call.trace_id = call.trace.trace_id
        CURRENT.set(call)  # the handler runs in the same task
        try:
            call.key = self._keys.authenticate(metadata)
            timeout_s = requested_timeout_s(metadata)
        except RequestError as error:
            return self._refusal(error)
        if not method.startswith(_OWN_METHODS):
            return handler
        if self._in_flight.is_closed:
            return self._refusal(shutting_down(), _UNTOUCHED)
        if timeout_s is not None:
            call.deadline_at = call.started + timeout_s
        guarded = self._guarded.get(method)
        if guarded is None:
            guarded = self._guarded[method] = self._unary(handler) if handler.unary_unary else self._stream(handler)
        return guarded

    def _refusal(self, error: ParleyError, told: _Pairs = ()) -> Handler:
        """A handler that refuses without reading."""

        async def refuse(_requests: object, context: Context) -> NoReturn:
            await self._fail(CURRENT.get(), context, error, told)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _unary(self, handler: Handler) -> Handler:
        answer = cast(_Behaviour, handler.unary_unary)
        decode, encode = handler.request_deserializer, cast(Callable[[Any], bytes], handler.response_serializer)

        async def guarded(_requests: object, context: Context) -> bytes:
            call = CURRENT.get()
            self._enter(call, context)
            try:
                encoded = encode(await answer(await _read(decode, context), context))
                call.is_writing = True  # from here on the answer is on its way, and no shutdown stops it
                await context.send_initial_metadata(initial_metadata(call))
            except BaseException as error:  # noqa: BLE001 - all of them end in _fail, which raises
                await self._fail(call, context, error)
            self._log(call, "OK")
            return encoded

        return grpc.stream_unary_rpc_method_handler(guarded)

    def _stream(self, handler: Handler) -> Handler:
        answer = cast(_Behaviour, handler.unary_stream)
        decode = handler.request_deserializer

        async def guarded(_requests: object, context: Context) -> None:
            call = CURRENT.get()
            self._enter(call, context)
            try:
                await answer(await _read(decode, context), context)
            except BaseException as error:  # noqa: BLE001 - all of them end in _fail, which raises
                await self._fail(call, context, error)
            context.set_trailing_metadata(completion_metadata(call))
            self._log(call, "OK")

        return grpc.stream_stream_rpc_method_handler(guarded, None, handler.response_serializer)

    def _enter(self, call: Call, context: Context) -> None:
        remaining_s: float | None = context.time_remaining()  # the stubs know no call without a deadline
        call.deadline_at = sooner(call.deadline_at, remaining_s, time.monotonic())
        self._in_flight.enter(call, context)

    async def _fail(self, call: Call, context: Context, error: BaseException, told: _Pairs = ()) -> NoReturn:
        """Log the call and end it with the status of `error`; a cancellation is passed on."""
        try:
            failure = _failure_of(call, error)
            call.is_ending = True
            forget_frames(error)
            if failure is None:
                self._log_departure(call, context)
                raise error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError from None
        finally:
            del error  # else this frame and the exception hold each other, and the request with them
        code = TABLE[failure.reason].code
        self._log(call, code.name, failure)
        try:
            if call.has_written and call.is_rest:
                # For as long as the caller takes to read: ended without it, the stream would look complete.
                await context.write(error_chunk(failure))
            await context.abort(code, failure.message, (*trailing_metadata(failure), *failure_metadata(call), *told))
        except grpc.aio.InternalError:  # the caller has just left
            raise asyncio.CancelledError from None

    def _log_departure(self, call: Call, context: Context) -> None:
        """Log a call whose caller has gone, or has no time left."""
        if call.interruption is not None:
            self._log(call, TABLE[call.interruption.reason].code.name, call.interruption)
        else:
            self._log(call, "DEADLINE_EXCEEDED" if _is_over(context) else "CANCELLED")

    def _log(self, call: Call, status: str, failure: ParleyError | None = None) -> None:
        """Write the call's line, once its usage is known."""
        call.ended = time.monotonic()
        reason, param = (failure.reason.value, failure.param) if failure else (None, None)

        def write(_drain: object = None) -> None:
            self._access_log.write(call, status, reason, param)
            for observer in self._observers:
                observer.ended(call, status, reason)
            call.drain = None  # a task that was cancelled holds its frames, and they the request

        if call.drain is None:
            write()
        else:
            call.drain.add_done_callback(write)


def _begin(method: str, metadata: _MetadataPairs) -> tuple[Call, TraceContext | None]:
    """The call, and the trace that its caller says it belongs to."""
    request_id, is_rest, parent, states = "", False, "", []
    for name, value in metadata:
        if name == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            request_id = value
        elif name == "x-parley-sse":
            is_rest = True
        elif name == "traceparent":
            parent = str(value)  # of several, gRPC gives the last
        elif name == "tracestate":
            states.append(str(value))
    context = read_context(parent, ",".join(states)) if parent else None
    trace_id = None if context is None else context.trace_id
    return Call(request_id or random_uuid(), method, is_rest, trace_id=trace_id), context


async def _read(decode: Callable[[bytes], Any] | None, context: Context) -> Any:
    raw: Any = await context.read()
    if raw is grpc.aio.EOF:
        # So ends a call, too, that is cancelled, late or too large; then the cancellation arrives here.
        await asyncio.sleep(_EOF_S)
        raise RequestError(Reason.REQUEST_UNDECODABLE, "The call ended without a request.")
    try:
        return decode(raw) if decode else raw
    except (DecodeError, RecursionError):
        message = "The request can't be decoded: it is nested too deeply, holds invalid UTF-8, or is no such message."
        raise RequestError(Reason.REQUEST_UNDECODABLE, message) from None


def _failure_of(call: Call, error: BaseException) -> ParleyError | None:
    """What to tell the caller; None where there is nobody to tell, because the call was cancelled."""
    if isinstance(error, asyncio.CancelledError):
        if (interruption := call.take_back_interruption()) is not None:
            return interruption
        if call.task is None or call.task.cancelling():
            return None
    elif isinstance(error, grpc.aio.InternalError):  # a write to a caller that has just left
        return None
    elif isinstance(error, ParleyError):
        return error
    elif isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    where = "".join(traceback.format_tb(error.__traceback__))  # its text may hold a prompt or a key
    told = {"request_id": call.request_id, "trace_id": call.trace_id}
    _log.error("call %s failed of %s\n%s", call.request_id, type(error).__name__, where, extra=told)
    return ParleyError(Reason.INTERNAL, f"The service failed; the log tells more of request {call.request_id}.")


def _is_over(context: Context) -> bool:
    """Whether the call's deadline has passed, or is about to: the caller's clock may be ahead."""
    remaining_s: float | None = context.time_remaining()  # the stubs know no call without a deadline
    return remaining_s is not None and remaining_s <= _OVER_S
