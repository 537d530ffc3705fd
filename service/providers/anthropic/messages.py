"""From the contract's conversation to that of the Messages API. Pure.

- System and developer messages before any other are the top-level `system`. Those further down stay
  where they are if the model is known to take them there (`mid_system`), but joined into one, behind the
  user turn that they stand in or before: the API takes them nowhere else (but behind a tool that it has
  run itself). For other models, and where no user turn comes any more, they are joined to the top-level
  `system`: their text is kept, their place is not.
  Source: https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
  (2026-11-22), and recording anthropic/test_inline_system_prompt_cache_prefix_is_reused.
- Messages of one side that follow each other become one turn, and in a user turn the results of tools
  come first. Source: https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls
  (2026-11-22).
- A conversation that ends with an assistant message has the model go on with it. Which models allow
  that, and with whom a conversation may begin, is left to the API.
"""

from __future__ import annotations

from typing import Any, Final

from service._gen.parley.v1.message_pb2 import Message
from service.errors import invalid
from service.providers.anthropic.history import assistant_blocks
from service.providers.anthropic.parts import Block, PartEncoder
from service.providers.anthropic.tool_ids import tool_use_id
from service.providers.content import object_at
from service.providers.omissions import Omissions
from service.providers.provider import ProviderCall

System = str | list[Block]

_NOT_MARKED: Final = ("thinking", "redacted_thinking")


def encode_messages(call: ProviderCall) -> tuple[System | None, list[dict[str, Any]]]:
    """The top-level `system` (None where there is none), and the turns.

    Raises:
        RequestError: A message holds what can't be sent to this provider, or nobody speaks but the system.
    """
    conversation = _Conversation(call.omissions, mid_system=bool(call.capabilities.mid_system))
    for index, message in enumerate(call.request.messages):
        conversation.add(f"messages[{index}]", message)
    turns = conversation.turns()
    if not turns:
        raise invalid("messages", "a conversation in which not only the system says something")
    return conversation.system(), turns


class _Conversation:
    def __init__(self, omissions: Omissions, *, mid_system: bool) -> None:
        self._omissions = omissions
        self._mid_system = mid_system
        self._system: list[Block] = []
        self._waiting: list[Block] = []
        """System messages that come behind the user turn which is not yet complete."""
        self._turns: list[dict[str, Any]] = []
        self._result_count = 0
        """How many tool results the last turn begins with."""

    def add(self, path: str, message: Message) -> None:
        encoder = PartEncoder(path, self._omissions)
        if message.name and message.role not in {"tool", "function"}:  # there it repeats what the call's id tells
            self._omissions.omit(f"{path}.name", "knows no names of participants")
        match message.role:
            case "system" | "developer":
                blocks = self._marked(path, message, encoder.texts(message))
                (self._waiting if self._turns and self._mid_system else self._system).extend(blocks)
            case "user":
                self._append("user", self._marked(path, message, encoder.blocks(message)))
            case "assistant":
                blocks = self._marked(path, message, assistant_blocks(path, message, self._omissions))
                if blocks:
                    self._end_user_turn()
                self._append("assistant", blocks)
            case "tool":
                self._add_result(path, message, encoder)
            case _:
                self._omissions.refuse(f"{path}.role", 'knows no such role: use "tool"')

    def system(self) -> System | None:
        if len(self._system) == 1 and "cache_control" not in self._system[0]:
            text: str = self._system[0]["text"]
            return text
        return self._system or None

    def turns(self) -> list[dict[str, Any]]:
        """The turns of the whole conversation, which changes `system`, too."""
        self._end_user_turn()
        self._system += self._waiting  # no user turn comes any more for them to stand behind
        self._waiting = []
        return self._turns

    def _append(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if not self._turns or self._turns[-1]["role"] != role:
            self._turns.append({"role": role, "content": []})
            self._result_count = 0
        self._turns[-1]["content"].extend(blocks)

    def _add_result(self, path: str, message: Message, encoder: PartEncoder) -> None:
        result: Block = {"type": "tool_result", "tool_use_id": tool_use_id(message.tool_call_id)}
        blocks = encoder.blocks(message)
        if blocks:
            is_string = message.content.WhichOneof("kind") == "string_value"
            result["content"] = blocks[0]["text"] if is_string else blocks
        if message.HasField("is_error"):
            result["is_error"] = message.is_error
        self._append("user", self._marked(path, message, [result]))
        content = self._turns[-1]["content"]
        content.insert(self._result_count, content.pop())
        self._result_count += 1

    def _end_user_turn(self) -> None:
        if self._waiting and self._turns[-1]["role"] == "user":
            self._turns.append({"role": "system", "content": self._waiting})
            self._waiting = []

    def _marked(self, path: str, message: Message, blocks: list[Block]) -> list[Block]:
        """The blocks, the last of them that can be marked for the cache marked as the message is.

        Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching#what-can-be-cached
        (2026-11-22), by which reasoning can't.
        """
        if not message.HasField("cache_control"):
            return blocks
        place = f"{path}.cache_control"
        last = next((block for block in reversed(blocks) if block.get("type") not in _NOT_MARKED), None)
        if last is None:
            self._omissions.omit(place, "marks for its cache neither reasoning nor what says nothing")
        else:
            last["cache_control"] = object_at(place, message.cache_control)
        return blocks
