"""Has a model answer in as many turns as it calls server-side tools, and makes one answer of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeAlias

from service._gen.parley.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunk
from service._gen.parley.v1.tool_pb2 import ToolEvent
from service.answers.joining import Joining
from service.dispatch.call import DispatchCall
from service.dispatch.dispatcher import Dispatcher
from service.turns.course import Course
from service.turns.offer import Offer
from service.turns.pieces import one_chunk
from service.turns.telling import Telling
from service.turns.usage import spent

_Ask: TypeAlias = Callable[[DispatchCall], AsyncGenerator[ChatCompletionChunk]]


class TurnLoop:
    """Answers one call, by a model that may call server-side tools.

    A turn that calls such tools is followed by another, in which the model is told what they found. The answer
    has the text of all turns, and of the calls only those of the caller's own tools, which end it: what ran is
    told in `tool_events`. Limits of the request (`max_tokens`, `stop` …) are each turn's; `max_ttft_ms` is the
    first one's, whose `tool_choice` the others have only where it requires no call.

    Usage and cost are summed up over the turns, each at the prices of the target that answered it; the call's
    journal has those of each.

    Args:
        dispatcher: Of the model, which is asked for each turn.
        offer: The server-side tools that the request may use.
    """

    def __init__(self, dispatcher: Dispatcher, offer: Offer) -> None:
        self._dispatcher = dispatcher
        self._offer = offer

    async def complete(self, call: DispatchCall) -> ChatCompletion:
        """The answer in one piece; its turns are asked for so, too.

        Raises:
            ParleyError: As `Dispatcher.complete`; TOOL_TURNS_EXCEEDED, and see `asking.check`.
        """
        answer = Joining()
        async with aclosing(self._answer(call, self._in_one_piece)) as chunks:
            async for chunk in chunks:
                answer.take(chunk)
        return answer.completion()

    async def stream(self, call: DispatchCall) -> AsyncGenerator[ChatCompletionChunk]:
        """The answer in pieces; iterate in one task, and close the generator when done with it.

        Nothing is yielded before there is something to see: text, reasoning, a call, a tool that has run.

        Raises:
            ParleyError: As `complete`; also midway.
        """
        async with aclosing(self._answer(call, self._dispatcher.stream)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _answer(self, call: DispatchCall, ask: _Ask) -> AsyncGenerator[ChatCompletionChunk]:
        course = Course(call, self._offer)
        telling = Telling(course.is_server_side)
        while True:
            turn = Joining()
            async with aclosing(_turn(ask(course.next_call()), telling, turn)) as chunks:
                async for chunk in chunks:
                    yield chunk
            completion = turn.completion()
            calls = course.end_turn(completion)
            ran: list[ToolEvent] = []
            if calls:
                async with aclosing(course.run(calls)) as events:
                    async for event in events:
                        ran.append(event)
                        yield telling.event(event)
            if course.is_over:
                break
            course.go_on(completion, ran)
        for chunk in telling.ending(completion, spent(call.journal.turns)):
            yield chunk

    async def _in_one_piece(self, call: DispatchCall) -> AsyncGenerator[ChatCompletionChunk]:
        yield one_chunk(await self._dispatcher.complete(call))


async def _turn(
    chunks: AsyncGenerator[ChatCompletionChunk], telling: Telling, turn: Joining
) -> AsyncGenerator[ChatCompletionChunk]:
    """What a turn tells; all of it is added to `turn`."""
    telling.begin_turn()
    async with aclosing(chunks):
        async for chunk in chunks:
            telling.number(chunk)
            turn.take(chunk)
            for told in telling.told(chunk):
                yield told
