"""Scripts for the scratch service."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from tests.gateway.scratch import Context, Stream

END = ChatCompletionChunk()
KEEPALIVE = ChatCompletionChunk(keepalive=True)
CHAT = "/v1/chat/completions"


def text_chunk(text: str) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(id="c")
    chunk.choices.add(index=0).delta.content = text
    return chunk


def chunks(*messages: ChatCompletionChunk) -> Stream:
    """A stream of these messages."""

    async def answer(request: Any, context: Context) -> None:
        for message in messages:
            await context.write(message)

    return answer


def failure(code: grpc.StatusCode, text: str, *metadata: tuple[str, str]) -> Any:
    """A call that fails before its first message, as the service has it: trailers only."""

    async def answer(request: Any, context: Context) -> ChatCompletion:
        detail = AnyMessage()
        detail.Pack(ErrorInfo(reason="SOME_REASON", domain="parley"))
        status = Status(code=code.value[0], message=text, details=[detail])
        trailers: tuple[tuple[str, str | bytes], ...] = (
            *metadata,
            ("grpc-status-details-bin", status.SerializeToString()),
        )
        await context.abort(code, text, trailing_metadata=trailers)

    return answer
