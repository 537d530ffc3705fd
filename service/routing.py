"""Models and their targets. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from service.catalogue import Capabilities
from service.errors import Reason, RequestError
from service.limits import Limits

_LONGEST_QUOTE = 100
NOTHING_KNOWN = Capabilities()
DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider."""

    provider: str
    """Name of the provider in the configuration."""
    model: str
    """The provider's own name of the model."""
    capabilities: Capabilities = NOTHING_KNOWN
    """What is known of that model."""
    weight: float = 1.0
    """Its part of the calls under the policy "weighted"; 0 for one that only stands in for others."""

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that callers can ask for."""

    id: str
    targets: tuple[Target, ...]
    """At least one."""
    created: int
    """Seconds since 1970, 0 where unknown."""
    drop_params: bool = False
    """Whether parameters that the provider can't follow are left out, where a request does not say."""
    limits: Limits = DEFAULT_LIMITS


def model_not_found(model_id: str) -> RequestError:
    """The error of a model id that nobody answers for; param `model`."""
    quoted = f" `{model_id}`" if len(model_id) <= _LONGEST_QUOTE and model_id.isprintable() else ""
    return RequestError(
        Reason.MODEL_NOT_FOUND,
        f"The model{quoted} does not exist; GET /v1/models (ListModels) lists those that do.",
        param="model",
    )
