"""Which target answers for a model id. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.catalogue import Capabilities
from service.errors import Reason, RequestError

_LONGEST_QUOTE = 100
NOTHING_KNOWN = Capabilities()


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider."""

    provider: str
    """Name of the provider in the configuration."""
    model: str
    """The provider's own name of the model."""
    capabilities: Capabilities = NOTHING_KNOWN
    """What is known of that model."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that callers can ask for."""

    id: str
    target: Target
    created: int
    """Seconds since 1970, 0 where unknown."""
    drop_params: bool = False
    """Whether parameters that the provider can't follow are left out, where a request does not say."""


class Router:
    """The configured models, in the order of the configuration."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models

    @property
    def models(self) -> list[Model]:
        """All models."""
        return list(self._models.values())

    def resolve(self, model_id: str) -> Model:
        """The model of that id.

        Raises:
            RequestError: MODEL_NOT_FOUND, param `model`.
        """
        model = self._models.get(model_id)
        if model is None:
            quoted = f" `{model_id}`" if len(model_id) <= _LONGEST_QUOTE and model_id.isprintable() else ""
            raise RequestError(
                Reason.MODEL_NOT_FOUND,
                f"The model{quoted} does not exist; GET /v1/models (ListModels) lists those that do.",
                param="model",
            )
        return model
