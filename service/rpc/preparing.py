"""What a provider is asked, made of what the caller asks: what is Parley's own of it is done here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from google.protobuf.struct_pb2 import Value

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.message_pb2 import Message
from service._gen.parley.v1.tool_pb2 import Tool
from service.dispatch.served import ServedProject
from service.errors import ParleyError, Reason, RequestError, invalid
from service.json_values import InvalidJsonError, object_to_json
from service.prompts.prompt import Prompt
from service.prompts.renderer import Renderer
from service.rpc.filling import filled
from service.rpc.validation_tools import check_tool_choice
from service.storage.store import Store
from service.tools.toolset import Offer
from service.turns.history import expanded
from service.unspoken import Unspoken

_PLACE: Final = re.compile(r"(messages|tools)\[(\d+)\]")
_MEMBER: Final = re.compile(r"\.(\w+)")


class Prepared(Unspoken, frozen=True):
    """A request on its way to a provider."""

    request: ChatCompletionRequest
    """As the provider is asked. Messages may have been added, filled and split; switches of tools are gone."""
    asked: ChatCompletionRequest
    """As the caller asked, with what stands for stored answers filled in."""
    offer: Offer | None = None
    """The server-side tools that may be used."""
    messages: Sequence[int | None] = ()
    """Which of the caller's messages each message is of; None for what was added. Empty: nothing has moved."""
    tools: Sequence[int] = ()
    """As `messages`, of tools."""

    @property
    def has_moved(self) -> bool:
        """Whether parts of the request stand at other places than the caller's."""
        return bool(self.messages or self.tools)

    def relocate(self, error: ParleyError) -> None:
        """Have an error about a part of the request name the caller's part."""
        match = _PLACE.match(error.param or "")
        if match is None or error.param is None:
            return
        places: Sequence[int | None] = self.messages if match[1] == "messages" else self.tools
        place = int(match[2])
        if not places or place >= len(places):
            return
        moved = places[place]
        rest = error.param[match.end() :]
        if moved is None:
            told = "system_prompt_args"
        elif places.count(moved) > 1:
            told = f"{match[1]}[{moved}]{self._member(moved, rest)}"
        else:
            told = f"{match[1]}[{moved}]{rest}"
        error.message = error.message.replace(f"`{error.param}`", f"`{told}`")
        error.args = (error.message,)
        error.param = told

    def _member(self, place: int, path: str) -> str:
        """The member of a message that was split in which the `path` of a part of it lies: its numbers are others."""
        member = _MEMBER.match(path)
        if member is None:
            return ""
        said = {field.name for field, _ in self.asked.messages[place].ListFields()}
        return member[0] if member[1] in said else ".tool_events"


class Preparing:
    """Prepares requests.

    Args:
        renderer: Of system prompts.
        store: Of completions, where there is one.
    """

    def __init__(self, renderer: Renderer, store: Store | None) -> None:
        self._renderer = renderer
        self._store = store

    async def prepare(
        self, request: ChatCompletionRequest, tenant: str, project: ServedProject | None, prompt: Prompt | None
    ) -> Prepared:
        """The validated `request` as its provider is to be asked; it is copied only where that differs.

        Args:
            request: As the caller gave it.
            tenant: The caller's.
            project: That the model belongs to.
            prompt: The system prompt of it, or of the arm.

        Raises:
            ParleyError: Something that it names is not there, or can't be had now.
        """
        system = await self._system_prompt(request, prompt)
        offer, is_switched = _offered(request, project)
        if request.HasField("tool_choice"):
            check_tool_choice(request.tool_choice, _callable(request, offer))
        asked = await filled(request, self._store, tenant)
        has_events = any(message.tool_events for message in asked.messages)
        if system is None and not is_switched and not has_events:
            return Prepared(asked, asked, offer)
        prepared = ChatCompletionRequest()
        prepared.CopyFrom(asked)
        message_places = _rewrite_messages(prepared, system, has_events=has_events)
        tool_places = _remove_switches(prepared, has_offer=offer is not None) if is_switched else ()
        return Prepared(prepared, asked, offer, message_places, tool_places)

    async def _system_prompt(self, request: ChatCompletionRequest, prompt: Prompt | None) -> str | None:
        if prompt is None:
            if request.system_prompt_args.fields:
                message = "`system_prompt_args` is given, but the model's project has no system prompt that takes any."
                raise RequestError(Reason.PARAMETER_INVALID, message, param="system_prompt_args")
            return None
        try:
            given = object_to_json(request.system_prompt_args)
        except InvalidJsonError as error:
            raise invalid("system_prompt_args", f"an object of JSON values; it {error}") from None
        return await self._renderer.render(prompt, prompt.check_args(given))


def _offered(request: ChatCompletionRequest, project: ServedProject | None) -> tuple[Offer | None, bool]:
    """The server-side tools that the request may use, and whether it switches any."""
    switches = {tool.id: (tool.enabled, f"tools[{index}].id") for index, tool in enumerate(request.tools) if tool.id}
    use_tools = request.use_tools if request.HasField("use_tools") else None
    toolset = project.tools if project is not None else None
    if toolset is None:
        if use_tools:
            raise invalid("use_tools", "false or left out: the model belongs to no project that has server-side tools")
        for _, path in switches.values():
            message = f"`{path}` names no server-side tool: the model belongs to no project that has any."
            raise RequestError(Reason.TOOL_NOT_FOUND, message, param=path)
        return None, False
    paths = {name: path for name, (_, path) in switches.items()}
    offer = toolset.offer(use_tools, {name: enabled for name, (enabled, _) in switches.items()}, paths)
    return offer, bool(switches)


def _callable(request: ChatCompletionRequest, offer: Offer | None) -> list[Tool]:
    """What the model may call."""
    tools = [tool for tool in request.tools if not tool.id]
    if offer is not None:
        tools += [Tool(type="function", function=definition) for definition in offer.definitions]
    return tools


def _rewrite_messages(prepared: ChatCompletionRequest, system: str | None, *, has_events: bool) -> Sequence[int | None]:
    if system is None and not has_events:
        return ()
    messages: list[Message] = []
    places: list[int | None] = []
    if system is not None:
        messages.append(Message(role="system", content=Value(string_value=system)))
        places.append(None)
    for place, message in enumerate(prepared.messages):
        turns = expanded(message, f"messages[{place}]") if message.tool_events else [message]
        messages += turns
        places += [place] * len(turns)
    del prepared.messages[:]
    prepared.messages.extend(messages)
    return places


def _remove_switches(prepared: ChatCompletionRequest, *, has_offer: bool) -> Sequence[int]:
    places = [place for place, tool in enumerate(prepared.tools) if not tool.id]
    tools = [prepared.tools[place] for place in places]
    del prepared.tools[:]
    prepared.tools.extend(tools)
    if not tools and not has_offer:
        prepared.ClearField("tool_choice")  # it was about tools that are switched off; OpenAI refuses one without tools
    return places
