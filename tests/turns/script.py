"""A model that plays scripted turns, tools that do what the test says, and a loop before both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.struct_pb2 import NULL_VALUE, Value

from service._gen.parley.v1.chat_completion_pb2 import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    Delta,
    Usage,
)
from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.json_pb2 import JsonObject
from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import FunctionCall, FunctionDefinition, Tool, ToolCall, ToolCallDelta, ToolEvent
from service.answers.joining import Joining
from service.catalogue import Capabilities, Prices
from service.dispatch.call import Deadline, DispatchCall, Journal
from service.dispatch.dispatcher import Dispatcher
from service.dispatch.target import TargetState
from service.dispatch.timeouts import attempt_timeouts
from service.json_values import Json, json_object
from service.limits import Limits, Retries
from service.project_settings import ToolLimits
from service.providers.provider import Identity, ProviderCall
from service.providers.transport import Timeouts
from service.routing import Model, Target
from service.turns.loop import TurnLoop
from service.turns.offer import Offer

ONCE = Limits(retries=Retries(max_attempts=1), breaker=None)
IDENTITY = Identity("chatcmpl-1", 100, "m")


@dataclass(frozen=True)
class Call:
    """A call that a turn makes."""

    name: str
    arguments: str = '{"city":"Bern"}'
    id: str = ""
    extra: dict[str, Json] | None = None


@dataclass
class Turn:
    """What the model says when it is asked once."""

    text: str = ""
    calls: Sequence[Call] = ()
    finish: str = ""
    reasoning: str = ""
    details: Sequence[dict[str, Json]] = ()
    provider_content: Sequence[dict[str, Json]] = ()
    annotations: Sequence[dict[str, Json]] = ()
    usage: Usage | None = field(default_factory=lambda: Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15))
    fails_with: Exception | None = None
    """Before anything is said; with a text, behind it."""
    waits: bool = False
    """For ever, in the same places."""
    late_s: float = 0
    """Before anything is said."""

    @property
    def ending(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")


@dataclass
class Actor:
    """A provider that plays turns in their order, the last again and again."""

    turns: list[Turn]
    requests: list[ChatCompletionRequest] = field(default_factory=list)
    calls: list[ProviderCall] = field(default_factory=list)
    open: int = 0
    """How many answers are under way."""
    change: Callable[[ChatCompletion | ChatCompletionChunk], None] = lambda _: None
    """Makes of what is answered what else a provider may answer."""
    drops: Sequence[Sequence[str]] = ()
    """By turn: parameters that it can't follow."""

    async def _begun(self, call: ProviderCall) -> tuple[int, Turn]:
        asked = ChatCompletionRequest()
        asked.CopyFrom(call.request)
        self.requests.append(asked)
        self.calls.append(call)
        number = len(self.requests) - 1
        turn = self.turns[min(number, len(self.turns) - 1)]
        if self.drops:
            call.omissions.dropped += self.drops[number]
        await asyncio.sleep(turn.late_s)
        if not turn.text:
            await _spoil(turn)
        return number, turn

    async def complete(self, call: ProviderCall) -> ChatCompletion:
        self.open += 1
        try:
            number, turn = await self._begun(call)
            await _spoil(turn)
            whole = _whole(number, turn)
            self.change(whole)
            return whole
        finally:
            self.open -= 1

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ChatCompletionChunk]:
        self.open += 1
        try:
            number, turn = await self._begun(call)
            for chunk in _chunks(number, turn):
                if chunk.choices and chunk.choices[0].finish_reason.string_value:
                    await _spoil(turn)
                self.change(chunk)
                yield chunk
        finally:
            self.open -= 1


async def _spoil(turn: Turn) -> None:
    if turn.waits:
        await asyncio.Event().wait()
    if turn.fails_with is not None:
        raise turn.fails_with


def _objects(entries: Sequence[dict[str, Json]]) -> list[JsonObject]:
    return [json_object(entry) for entry in entries]


def _call_id(number: int, place: int, call: Call) -> str:
    return call.id or f"call_{number}_{place}"


def _whole(number: int, turn: Turn) -> ChatCompletion:
    message = AssistantMessage(role="assistant")
    if turn.text:
        message.content = turn.text
    if turn.reasoning:
        message.reasoning_content = turn.reasoning
    message.reasoning_details.extend(_objects(turn.details))
    message.provider_content.extend(_objects(turn.provider_content))
    message.annotations.extend(_objects(turn.annotations))
    for place, call in enumerate(turn.calls):
        made = message.tool_calls.add(id=_call_id(number, place, call), type="function")
        made.function.CopyFrom(FunctionCall(name=call.name, arguments=call.arguments))
        if call.extra is not None:
            made.extra_content.CopyFrom(json_object(call.extra))
    return ChatCompletion(
        id=f"answer-{number}",
        object="chat.completion",
        created=1000 + number,
        model="m",
        choices=[Choice(index=0, message=message, finish_reason=turn.ending, native_finish_reason=f"end-{number}")],
        usage=turn.usage,
        system_fingerprint=f"fp-{number}",
    )


def _chunk(number: int, delta: Delta, finish: str = "") -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(
        id=f"answer-{number}",
        object="chat.completion.chunk",
        created=1000 + number,
        model="m",
        system_fingerprint=f"fp-{number}",
    )
    choice = chunk.choices.add(index=0, delta=delta, finish_reason=Value(null_value=NULL_VALUE))
    if finish:
        choice.finish_reason.string_value = finish
        choice.native_finish_reason = f"end-{number}"
    return chunk


def _chunks(number: int, turn: Turn) -> list[ChatCompletionChunk]:
    """The turn in small pieces, as an adapter gives them."""
    deltas = [Delta(role="assistant", content="")]
    deltas += [Delta(reasoning_content=piece) for piece in _split(turn.reasoning)]
    for index, entry in enumerate(turn.details):
        deltas += _pieces_of_block(index, entry)
    deltas += [Delta(content=piece) for piece in _split(turn.text)]
    deltas += [
        Delta(annotations=[json_object({**entry, "index": index})]) for index, entry in enumerate(turn.annotations)
    ]
    deltas += [
        Delta(provider_content=[json_object({**entry, "index": index})])
        for index, entry in enumerate(turn.provider_content)
    ]
    firsts, rests = [], []
    for place, call in enumerate(turn.calls):
        first = ToolCallDelta(index=place, id=_call_id(number, place, call), type="function")
        first.function.CopyFrom(FunctionCall(name=call.name, arguments=""))
        if call.extra is not None:
            first.extra_content.CopyFrom(json_object(call.extra))
        firsts.append(Delta(tool_calls=[first]))
        rests += [
            Delta(tool_calls=[ToolCallDelta(index=place, function=FunctionCall(arguments=piece))])
            for piece in _split(call.arguments)
        ]
    chunks = [_chunk(number, delta) for delta in (*deltas, *firsts, *rests)]
    chunks.append(_chunk(number, Delta(), turn.ending))
    if turn.usage is not None:
        chunks.append(_chunk(number, Delta()))
        del chunks[-1].choices[:]
        chunks[-1].usage.CopyFrom(turn.usage)
    return chunks


def _pieces_of_block(index: int, entry: dict[str, Json]) -> list[Delta]:
    """The text first, then the rest."""
    numbered = {"index": index, **entry}
    if "text" not in entry or "signature" not in entry:
        return [Delta(reasoning_details=[json_object(numbered)])]
    text = {name: value for name, value in numbered.items() if name != "signature"}
    rest = {name: value for name, value in numbered.items() if name in {"type", "signature", "index"}}
    return [Delta(reasoning_details=[json_object(piece)]) for piece in (text, rest)]


def _split(text: str) -> list[str]:
    half = (len(text) + 1) // 2
    return [piece for piece in (text[:half], text[half:]) if piece]


@dataclass(frozen=True)
class Found:
    """What a tool brings."""

    text: str
    is_error: bool = False
    duration_ms: int = 7


@dataclass
class Tools:
    """Server-side tools whose names begin with `srv__`, answered by a function of the test's."""

    answer: Callable[[str, str], Awaitable[Found]]
    limits: ToolLimits = field(default_factory=ToolLimits)
    ran: list[tuple[str, str, float]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0

    @property
    def definitions(self) -> tuple[FunctionDefinition, ...]:
        return (FunctionDefinition(name="srv__weather"), FunctionDefinition(name="srv__time"))

    def is_server_side(self, name: str) -> bool:
        return name.startswith("srv__")

    async def run(self, name: str, arguments_json: str, within_s: float) -> Found:
        self.ran.append((name, arguments_json, within_s))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self.answer(name, arguments_json)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def sunny(name: str, arguments: str) -> Found:
    """A tool that knows at once."""
    return Found(f"{name} says sunny")


@dataclass
class Scene:
    """A loop before actors named a, b, c…"""

    loop: TurnLoop
    actors: list[Actor]
    offer: Offer
    request: ChatCompletionRequest
    deadline: Deadline
    journal: Journal = field(default_factory=Journal)
    seen: list[ChatCompletionChunk] = field(default_factory=list)
    """What was streamed."""

    def call(self) -> DispatchCall:
        return DispatchCall(self.request, IDENTITY, may_drop=False, deadline=self.deadline, journal=self.journal)

    async def ask(self, *, stream: bool) -> ChatCompletion:
        if not stream:
            return await self.loop.complete(self.call())
        joining = Joining()
        async with aclosing(self.loop.stream(self.call())) as chunks:
            async for chunk in chunks:
                self.seen.append(chunk)
                joining.take(chunk)
        return joining.completion()

    @property
    def tools(self) -> Tools:
        assert isinstance(self.offer, Tools)
        return self.offer

    @property
    def requests(self) -> list[ChatCompletionRequest]:
        return self.actors[0].requests


def scene(
    *turns: Turn,
    tools: Offer | None = None,
    request: ChatCompletionRequest | None = None,
    deadline: Deadline | None = None,
    others: Sequence[list[Turn]] = (),
    prices: Sequence[Prices | None] = (),
    limits: Limits = ONCE,
) -> Scene:
    """A model whose first target plays `turns`, and whose others play `others`; `tools` are `Tools`, or real ones."""
    actors = [Actor(list(each)) for each in (turns, *others)]
    known = [*prices, *[None] * len(actors)]
    targets = tuple(
        Target(name, "m", Capabilities(prices=price)) for name, price, _ in zip("abcdef", known, actors, strict=False)
    )
    timeouts = attempt_timeouts(limits, Timeouts())
    states = [
        TargetState(target=target, provider=actor, limits=limits, timeouts=timeouts)
        for target, actor in zip(targets, actors, strict=True)
    ]
    used = tools or Tools(sunny)
    loop = TurnLoop(Dispatcher(Model("m", targets, 0, limits=limits), states), used)
    return Scene(loop, actors, used, request or asking(), deadline or Deadline())


def asking(**fields: Any) -> ChatCompletionRequest:
    """A request with a function of the caller's, `mine`."""
    request = ChatCompletionRequest(model="m", **fields)
    request.messages.append(said("user", "How is the weather?"))
    if "tools" not in fields:
        request.tools.append(function("mine"))
    return request


def in_order(message: ProtoMessage) -> dict[str, Any]:
    """The message with the members of objects in one order: a stream tells of a block in another than a whole answer."""
    members: dict[str, Any] = _sorted(json_format.MessageToDict(message))
    return members


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_sorted(item) for item in value]
        is_object = all(isinstance(item, dict) and "key" in item for item in items)
        return sorted(items, key=lambda item: str(item["key"])) if is_object else items
    return value


def function(name: str) -> Tool:
    return Tool(type="function", function=FunctionDefinition(name=name))


def said(role: str, text: str) -> Message:
    message = Message(role=role)
    message.content.string_value = text
    return message


def as_history(message: AssistantMessage) -> Message:
    """The answer's message as a caller sends it back."""
    back = Message(role="assistant")
    for descriptor, value in message.ListFields():
        if descriptor.name == "content":
            back.content.string_value = value
        elif descriptor.is_repeated:
            getattr(back, descriptor.name).extend(value)
        elif descriptor.message_type is not None:
            getattr(back, descriptor.name).CopyFrom(value)
        else:
            setattr(back, descriptor.name, value)
    return back


def told(events: Sequence[ToolEvent]) -> list[tuple[str, str, str]]:
    return [(event.id, event.tool, event.result) for event in events]


def names(calls: Sequence[ToolCall]) -> list[str]:
    return [call.function.name for call in calls]
