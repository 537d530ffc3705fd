"""The dashboard "Parley": is it well, and if not, where to look."""

from __future__ import annotations

from typing import Final

from deploy.observability.calls import CALLS, GLANCE, PROVIDERS, USAGE
from deploy.observability.drawing import Dashboard, Variable
from deploy.observability.parts import ENVOY, REPLICAS, STORAGE

OVERVIEW: Final = Dashboard(
    uid="parley-overview",
    title="Parley",
    about="Is it well, and if not, where to look. What the alerts mean: docs/operations.md.",
    variables=[
        Variable("namespace", "Namespace", "parley_build_info", "namespace"),
        Variable("model", "Model", "parley_target_state", "gen_ai_request_model"),
        Variable("replica", "Replica", "parley_build_info", "instance"),
    ],
    rows=[GLANCE, CALLS, PROVIDERS, USAGE, REPLICAS, STORAGE, ENVOY],
)
