"""ModelService: which models can be asked."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
import msgspec
from google.protobuf.struct_pb2 import NULL_VALUE

from service._gen.parley.v1 import model_service_pb2 as pb
from service._gen.parley.v1 import model_service_pb2_grpc
from service.catalogue import Prices
from service.dispatch.served import Current
from service.dispatch.target import TargetState
from service.errors import missing
from service.projects.resolving import Allowed, listed
from service.routing import Model
from service.rpc.call import CURRENT, Call

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Answers from the configuration, and from what the service sees of the providers."""

    def __init__(self, current: Current) -> None:
        self._current = current

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802 - gRPC's name
        """All models that the caller's key may ask, in the order of the configuration, and then those of projects."""
        call, served = CURRENT.get(), self._current.served
        names = listed(served.models, served.projects, _allowed(call))
        answer = pb.ListModelsResponse(
            object="list", data=[_model(name, served.models[model_id].model) for name, model_id in names]
        )
        if call.is_rest and not answer.data:
            answer.empty_data = NULL_VALUE
            call.has_empty_lists = True
        return answer

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.Model:  # noqa: N802 - gRPC's name
        """One model, and how its targets do; MODEL_NOT_FOUND where there is none of that name."""
        if not request.model:
            raise missing("model", "the id of a model")
        call, served = CURRENT.get(), self._current.served
        resolution = served.resolve(request.model, _allowed(call))
        dispatcher = served.models[resolution.model_id]
        call.model = dispatcher.model.id
        call.project = resolution.project.name if resolution.project else None
        model = _model(request.model, dispatcher.model)
        model.targets.extend(_target(state) for state in dispatcher.targets)
        return model


def _allowed(call: Call) -> Allowed:
    return call.key.projects if call.key else None


def _model(name: str, model: Model) -> pb.Model:
    """`model`, as callers ask for it by `name`."""
    first = model.targets[0]
    known = first.capabilities
    return pb.Model(
        id=name,
        object="model",
        created=model.created,
        owned_by=first.provider,
        context_window=known.context_window,
        max_output_tokens=known.max_output_tokens,
        input_kinds=known.input_kinds or (),
        tools=known.tools,
        structured_output=known.structured_output,
        reasoning=None if known.reasoning is None else known.reasoning != "none",
        prices=_prices(known.prices),
    )


def _target(state: TargetState) -> pb.ModelTarget:
    now = state.snapshot()
    return pb.ModelTarget(
        provider=now.target.provider,
        model=now.target.model,
        state=now.state,
        in_flight=now.in_flight,
        waiting=now.waiting,
    )


def _prices(prices: Prices | None) -> pb.Prices | None:
    if prices is None:
        return None
    told = msgspec.structs.asdict(prices)
    if prices.long_context is not None:
        told["long_context"] = pb.LongContextPrices(**msgspec.structs.asdict(prices.long_context))
    return pb.Prices(**told)
