"""The policies that are compared, as Envoy's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, LoadBalancingPolicy, LoadBalancingPolicyPolicy
from envoy_data_plane.envoy.config.core.v3 import RuntimeDouble, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    ClientSideWeightedRoundRobin,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.common.v3 import SlowStartConfig
from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 import (
    LeastRequest,
    LeastRequestSelectionMethod,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.round_robin.v3 import RoundRobin
from envoy_data_plane.google.protobuf import Any

from bench.balancing.reports import Telling

REPORT_PERIOD_S: Final = 1.0
"""Ten times as often as Envoy asks by default."""
_UPDATE_PERIOD_S: Final = 1.0
_BLACKOUT_S: Final = 10.0
_EXPIRATION_S: Final = 180.0
_SLOW_START_S: Final = 30.0
_NAMES: Final = "envoy.load_balancing_policies."
_FULL_SCAN: Final = LeastRequestSelectionMethod.FULL_SCAN


@dataclass(frozen=True)
class Policy:
    """One of them."""

    name: str
    told: str
    telling: Telling = Telling.NOTHING
    by_stream: bool = False
    """Whether the load is told in a stream of its own, rather than in each call's trailers."""


POLICIES: Final = (
    Policy("gateway", "as the gateway is configured"),
    Policy("round_robin", "in turn"),
    Policy("two_choices", "least request: the better of two at random, Envoy's default"),
    Policy("four_choices", "least request: the best of four at random"),
    Policy("full_scan", "least request: the best of all"),
    Policy("bias", "least request by weights: nearly equal ones, and active_request_bias 2"),
    Policy("two_choices_slow", "two_choices, with slow start over 30 s"),
    Policy("full_scan_slow", "full_scan, with slow start over 30 s"),
    Policy("orca_trailers", "weighted by ORCA in trailers, as it is meant", Telling.RATE),
    Policy("orca", "weighted by ORCA out of band, as it is meant", Telling.RATE, by_stream=True),
    Policy("orca_inverse", "out of band, weight 1 / open calls", Telling.INVERSE, by_stream=True),
    Policy("orca_steep", "out of band, weight 1 / open calls squared", Telling.STEEP, by_stream=True),
)


def balance(cluster: Cluster, policy: Policy, speed: float) -> None:
    """Have the cluster balance so; times are the faster clock's."""
    if policy.telling is not Telling.NOTHING:
        _set(cluster, "client_side_weighted_round_robin", _weighted(policy, speed))
        return
    slow_start = SlowStartConfig(slow_start_window=timedelta(seconds=_SLOW_START_S / speed))
    match policy.name:
        case "gateway":
            pass
        case "round_robin":
            _set(cluster, "round_robin", RoundRobin())
        case "two_choices":
            _set(cluster, "least_request", LeastRequest())
        case "four_choices":
            _set(cluster, "least_request", LeastRequest(choice_count=4))
        case "full_scan":
            _set(cluster, "least_request", LeastRequest(selection_method=_FULL_SCAN))
        case "bias":
            _set(cluster, "least_request", LeastRequest(active_request_bias=_double("balancing.bias", 2.0)))
            _set_weights(cluster)
        case "two_choices_slow":
            _set(cluster, "least_request", LeastRequest(slow_start_config=slow_start))
        case "full_scan_slow":
            _set(cluster, "least_request", LeastRequest(selection_method=_FULL_SCAN, slow_start_config=slow_start))
        case _:
            raise ValueError(f"no policy {policy.name!r}")


def _weighted(policy: Policy, speed: float) -> ClientSideWeightedRoundRobin:
    return ClientSideWeightedRoundRobin(
        enable_oob_load_report=policy.by_stream,
        oob_reporting_period=timedelta(seconds=REPORT_PERIOD_S / speed),
        blackout_period=timedelta(seconds=_BLACKOUT_S / speed),
        weight_expiration_period=timedelta(seconds=_EXPIRATION_S / speed),
        weight_update_period=timedelta(seconds=_UPDATE_PERIOD_S / speed),
        error_utilization_penalty=1.0,  # the documented default, which is not what Envoy does without it
    )


def _set(cluster: Cluster, name: str, config: Message) -> None:
    typed = TypedExtensionConfig(name=_NAMES + name, typed_config=Any.pack(config))
    cluster.load_balancing_policy = LoadBalancingPolicy(
        policies=[LoadBalancingPolicyPolicy(typed_extension_config=typed)]
    )


def _set_weights(cluster: Cluster) -> None:
    """Nearly equal ones: where they are equal, Envoy leaves the bias out of account."""
    if cluster.load_assignment is None:
        raise ValueError("a cluster has no endpoints")
    for locality in cluster.load_assignment.endpoints:
        for number, endpoint in enumerate(locality.lb_endpoints):
            endpoint.load_balancing_weight = 1000 + number


def _double(key: str, value: float) -> RuntimeDouble:
    return RuntimeDouble(runtime_key=key, default_value=value)
