"""The server-side tools of a project, and what of them a request may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service._gen.parley.v1.tool_pb2 import FunctionDefinition
from service.errors import Reason, RequestError, ToolServerUnavailable
from service.project_settings import ToolLimits
from service.tools.listing import SEPARATOR, ToolDefinition
from service.tools.outcome import ToolFailedError, ToolOutcome, read_arguments
from service.tools.server import ToolServerConnection


@dataclass(frozen=True, slots=True)
class Offer:
    """The server-side tools that the model may call in one request."""

    limits: ToolLimits
    _tools: Mapping[str, tuple[ToolServerConnection, ToolDefinition]] = field(repr=False)

    @property
    def definitions(self) -> tuple[FunctionDefinition, ...]:
        """As the model is told of them, in an order that stays; not to be changed."""
        return tuple(tool.function for _, tool in self._tools.values())

    def is_server_side(self, name: str) -> bool:
        """Whether the function of that name is one of these."""
        return name in self._tools

    async def run(self, name: str, arguments_json: str, within_s: float) -> ToolOutcome:
        """Have a tool run, for as long as its server's settings give it and for at most `within_s` seconds.

        Whatever goes wrong is told to the model. A cancellation passes, and is told to the server.

        Args:
            name: One of `definitions`.
            arguments_json: As the model wrote them.
            within_s: What is left for it.
        """
        connection, tool = self._tools[name]
        try:
            arguments = read_arguments(arguments_json)
        except ToolFailedError as failure:
            return ToolOutcome(str(failure), is_error=True, duration_ms=0)
        if within_s <= 0:
            return ToolOutcome("The tool was not called: there is no time left.", is_error=True, duration_ms=0)
        return await connection.call(tool.name, arguments, min(within_s, connection.settings.timeout_s))


class Toolset:
    """The server-side tools of a project.

    Args:
        servers: Its servers, by name.
        limits: What its tools may do for one request.
        use_tools: Whether they may be used where a request does not say.
    """

    def __init__(
        self, servers: Mapping[str, ToolServerConnection], limits: ToolLimits, *, use_tools: bool = True
    ) -> None:
        self._servers = servers
        self._limits = limits
        self._use_tools = use_tools

    def offer(
        self,
        use_tools: bool | None,  # noqa: FBT001 - one switch beside others, not a mode of the method
        switches: Mapping[str, bool],
        paths: Mapping[str, str],
    ) -> Offer | None:
        """The tools that a request may use; None where there are none.

        Args:
            use_tools: The request's switch for all; None stands for the project's.
            switches: Those for single tools, by id.
            paths: By id as well: where the request names it, such as `tools[2].id`.

        Raises:
            RequestError: A switch names a tool that the project does not have.
            ToolServerUnavailable: A server that is needed is down.
        """
        use_tools = self._use_tools if use_tools is None else use_tools
        self._check(switches, paths)
        offered: dict[str, tuple[ToolServerConnection, ToolDefinition]] = {}
        for name, connection in self._servers.items():
            by_default = use_tools and connection.settings.enabled
            wanted = {id_: tool for id_, tool in connection.tools.items() if switches.get(id_, by_default)}
            if not wanted and (connection.is_known or not self._may_want(name, switches, by_default=by_default)):
                continue
            if connection.is_up:
                offered.update((id_, (connection, tool)) for id_, tool in wanted.items())
            elif connection.settings.when_down == "fail":
                raise ToolServerUnavailable(name, connection.retry_in_s)
        return Offer(self._limits, offered) if offered else None

    def _check(self, switches: Mapping[str, bool], paths: Mapping[str, str]) -> None:
        for id_ in switches:
            connection = self._servers.get(_server_of(id_))
            if connection is None or (connection.is_known and id_ not in connection.tools):
                message = f"`{paths[id_]}` must be the id of one of the project's server-side tools, SERVER__TOOL."
                raise RequestError(Reason.TOOL_NOT_FOUND, message, param=paths[id_])

    @staticmethod
    def _may_want(name: str, switches: Mapping[str, bool], *, by_default: bool) -> bool:
        """Whether tools may be wanted of a server that has not told its tools yet."""
        return by_default or any(is_on and _server_of(id_) == name for id_, is_on in switches.items())


def _server_of(id_: str) -> str:
    return id_.partition(SEPARATOR)[0]
