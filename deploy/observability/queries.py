"""What the overview's panels ask for, again and again."""

from __future__ import annotations

from typing import Final

from deploy.observability.drawing import Query

NAMESPACE: Final = 'namespace=~"$namespace"'
CALL: Final = f'{NAMESPACE}, gen_ai_request_model=~"$model"'
SERVED: Final = f'job="parley-service", {CALL}, instance=~"$replica"'
REPLICA: Final = f'{NAMESPACE}, instance=~"$replica"'
SERVICE: Final = f'job="parley-service", {REPLICA}'
GATEWAY: Final = f'job="parley-gateway", {NAMESPACE}'
HTTP: Final = f'{GATEWAY}, envoy_http_conn_manager_prefix="http"'
CLUSTER: Final = f'{GATEWAY}, envoy_cluster_name="parley"'

BUDGET: Final = 0.005
"""As in rules/service.yaml: the share of calls that may fail."""


def quantiles(metric: str, matchers: str, by: str = "") -> list[Query]:
    """p50, p95 and p99 of a histogram."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    rates = f"sum by ({labels}) (rate({metric}_bucket{{{matchers}}}[$__rate_interval]))"
    return [
        Query(f"histogram_quantile({quantile}, {rates})", f"{name}{legend}")
        for quantile, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]


def rate(metric: str, matchers: str, by: str, legend: str = "") -> list[Query]:
    """A counter per second, summed by labels; the legend has their values unless it is given."""
    return [Query(f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))", legend or f"{{{{{by}}}}}")]
