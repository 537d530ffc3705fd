"""What the model's turns need of server-side tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service._gen.parley.v1.tool_pb2 import FunctionDefinition
from service.project_settings import ToolLimits


class Outcome(Protocol):
    """What came of one call of a tool."""

    @property
    def text(self) -> str:
        """For the model: the result, or what went wrong."""

    @property
    def is_error(self) -> bool:
        """Whether it went wrong."""

    @property
    def duration_ms(self) -> int:
        """How long it took."""


class Offer(Protocol):
    """The server-side tools that one request may use."""

    @property
    def definitions(self) -> Sequence[FunctionDefinition]:
        """As the model is told of them; at least one."""

    @property
    def limits(self) -> ToolLimits:
        """Bounds of what they may do."""

    def is_server_side(self, name: str) -> bool:
        """Whether the tool of that name is one of them."""

    async def run(self, name: str, arguments_json: str, within_s: float) -> Outcome:
        """Run one of them; it never raises for what the tool, its server or the model does wrong.

        Args:
            name: One of the definitions'.
            arguments_json: As the model wrote them, or blank.
            within_s: The longest that it may take; where that is nothing, the model is told so.
        """
