"""From the parts of one of Gemini's candidates to a message, in pieces or whole. Pure.

Both the translator of whole answers and that of streams read parts here, so that they say the same. What
is kept does not grow with the length of the text: a few words for each part that is no text.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service._gen.parley.v1 import chat_completion_pb2 as pb
from service._gen.parley.v1 import tool_pb2
from service.errors import Malformed
from service.json_values import json_object
from service.providers.gemini import wire
from service.providers.gemini.details import FORMAT, reasoning_detail
from service.providers.gemini.grounding import Grounding
from service.providers.gemini.server_tools import ServerTools

_OF_TEXT: Final = frozenset({"text", "thought"})
_OF_CALL: Final = frozenset({"functionCall", "thoughtSignature", "thought"})


class CandidateReader:
    """Reads one candidate; feed it each piece, then call `finish`.

    A message has `provider_content` only where other fields can't carry what has to go back: parts of the
    provider's own tools, signatures of texts, and an order other than thoughts, text, calls. Where that
    is found late, entries for all that came before are told then.

    Of a thought its text and its signature are read; other members (`partMetadata`) have no place in the
    contract and are left out.

    Args:
        provider: Its name in the configuration.
        id_stem: Begins the ids of tool calls that have none; unique to the choice.
        server_tools: Is told of runs of the provider's own tools.
    """

    def __init__(self, provider: str, id_stem: str, server_tools: ServerTools) -> None:
        self._provider = provider
        self._server_tools = server_tools
        self.finish_reason: str | None = None
        self.ratings: list[dict[str, Any]] = []
        self.calls = 0
        """How many functions the model has called."""
        self._id_stem = id_stem
        self._grounding = Grounding()
        self._thoughts = 0
        self._is_thinking = False
        self._text_length = 0  # of the text that no entry tells yet
        self._has_text = False
        self._untold: list[dict[str, Any]] | None = []  # entries, as long as there is no need to tell them
        # Pieces of what is being read: joined once, since protobuf's strings are copied when they grow.
        self._texts: list[str] = []
        self._thought_texts: list[str] = []

    def read(self, candidate: wire.Candidate) -> pb.Delta:
        """What the candidate, or a piece of it, adds.

        Raises:
            Malformed: A function call is not as it was asked for.
            ValueError: A part can't be told in the contract's form.
            msgspec.ValidationError: A part has a wrong type somewhere.
        """
        delta = pb.Delta()
        parts = candidate.content.parts if candidate.content else None
        for told in parts or ():
            part = {name: raw for name, raw in told.items() if raw != wire.NULL} if wire.NULL in told.values() else told
            if "functionCall" in part:
                self._read_call(delta, part)
            elif "text" not in part:
                self._read_block(delta, part)
            elif "thought" in part and wire.decode_boolean(part["thought"]):
                self._read_thought(delta, part)
            else:
                self._read_text(delta, part)
        self._end_reading(delta)
        self._grounding.add(candidate)
        if candidate.grounding_metadata:
            self._server_tools.add_metadata(candidate.grounding_metadata)
        self.finish_reason = candidate.finish_reason or self.finish_reason
        self.ratings = candidate.safety_ratings or self.ratings
        return delta

    def finish(self) -> pb.Delta:
        """What the candidate's end adds: citations, and the last entries of `provider_content`."""
        delta = pb.Delta(annotations=[json_object(annotation) for annotation in self._grounding.annotations()])
        self._end_text(delta)
        if self._grounding.metadata:
            entry: dict[str, Any] = {"format": FORMAT, "metadata": self._grounding.metadata}
            delta.provider_content.append(json_object(entry))
        return delta

    def _read_text(self, delta: pb.Delta, part: wire.Part) -> None:
        text = wire.decode_string(part["text"])
        attached = {name: msgspec.json.decode(raw) for name, raw in part.items() if name not in _OF_TEXT}
        if not text and not attached:
            return
        self._is_thinking = False
        if text and self.calls:
            self._tell(delta)
        if attached:
            self._end_text(delta)
            self._tell(delta)
            self._note(delta, {"text_length": len(text), "block": attached})
        else:
            self._text_length += len(text)
        if text:
            self._has_text = True
            self._grounding.offsets.add(text)
            self._texts.append(text)

    def _read_thought(self, delta: pb.Delta, part: wire.Part) -> None:
        text = wire.decode_string(part["text"])
        signature = wire.decode_string(part["thoughtSignature"]) if "thoughtSignature" in part else None
        if not text and signature is None:
            return
        if not self._is_thinking:
            self._end_text(delta)
            self._note(delta, {"reasoning_index": self._thoughts})
            self._thoughts += 1
        if signature is not None and (self._has_text or self.calls):
            self._tell(delta)
        self._is_thinking = signature is None  # a signature ends its block
        if text:
            self._thought_texts.append(text)
        detail = reasoning_detail(self._thoughts - 1, text=text or None, signature=signature)
        delta.reasoning_details.append(json_object(detail))

    def _read_call(self, delta: pb.Delta, part: wire.Part) -> None:
        call = wire.decode_function_call(part["functionCall"])
        if not call.name or call.partial_args is not None:
            message = "A function call of the provider's answer has no name, or comes in pieces."
            raise Malformed(message, metadata={"provider": self._provider})
        arguments = b"{}" if call.args == wire.NULL else call.args
        wire.decode_arguments(arguments)
        translated = delta.tool_calls.add(
            index=self.calls,
            id=call.id or f"call_{self._id_stem}_{self.calls}",
            type="function",
            function=tool_pb2.FunctionCall(
                name=call.name, arguments=msgspec.json.format(arguments, indent=-1).decode()
            ),
        )
        if "thoughtSignature" in part:
            signature = wire.decode_string(part["thoughtSignature"])
            translated.extra_content.CopyFrom(json_object({"google": {"thought_signature": signature}}))
        self._is_thinking = False
        self.calls += 1
        self._end_text(delta)
        entry: dict[str, Any] = {"tool_call_id": translated.id}
        if attached := {name: msgspec.json.decode(raw) for name, raw in part.items() if name not in _OF_CALL}:
            self._tell(delta)
            entry["block"] = attached
        self._note(delta, entry)

    def _read_block(self, delta: pb.Delta, part: wire.Part) -> None:
        block = {name: msgspec.json.decode(raw) for name, raw in part.items()}
        if block.keys() <= _OF_TEXT:  # nothing of a text that is null
            return
        if "toolCall" in block:
            self._server_tools.add_call(block["toolCall"])
        self._is_thinking = False
        self._end_text(delta)
        self._tell(delta)
        self._note(delta, {"block": block})

    def _end_reading(self, delta: pb.Delta) -> None:
        if self._texts:
            delta.content = "".join(self._texts)
        if self._thought_texts:
            delta.reasoning_content = "".join(self._thought_texts)
        self._texts, self._thought_texts = [], []

    def _end_text(self, delta: pb.Delta) -> None:
        if self._text_length:
            self._note(delta, {"text_length": self._text_length})
            self._text_length = 0

    def _note(self, delta: pb.Delta, entry: dict[str, Any]) -> None:
        if self._untold is None:
            delta.provider_content.append(json_object({"format": FORMAT, **entry}))
        else:
            self._untold.append(entry)

    def _tell(self, delta: pb.Delta) -> None:
        """From now on tell the order of all parts, beginning with those that came before."""
        before, self._untold = self._untold or (), None
        for entry in before:
            self._note(delta, entry)
