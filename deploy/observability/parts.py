"""The rows about the parts that run: replicas of the service, their store, the gateway."""

from __future__ import annotations

from typing import Final

from deploy.observability.drawing import Panel, Query, Row
from deploy.observability.queries import CLUSTER, GATEWAY, HTTP, REPLICA, SERVICE, quantiles, rate

REPLICAS: Final = Row(
    "Replicas",
    [
        Panel(
            title="Ready",
            queries=[Query(f"parley_ready{{{REPLICA}}}", "{{instance}}")],
            kind="state-timeline",
            mappings={"0": ("no", "red"), "1": ("yes", "green")},
        ),
        Panel(
            title="Open streams",
            queries=[Query(f"parley_open_streams{{{REPLICA}}}", "{{instance}}")],
            stacked=True,
        ),
        Panel(
            title="Open calls",
            queries=[Query(f"parley_open_calls{{{REPLICA}}}", "{{instance}}")],
            about="Streams among them.",
            stacked=True,
        ),
        Panel(
            title="Overhead",
            queries=quantiles("parley_overhead_seconds", REPLICA),
            about="What calls waited for the service itself: no provider, no queue, no store.",
            unit="s",
        ),
        Panel(
            title="Event loop late, p99",
            queries=[
                Query(
                    "histogram_quantile(0.99, sum by (le, instance) "
                    f"(rate(parley_event_loop_lag_seconds_bucket{{{REPLICA}}}[$__rate_interval])))",
                    "{{instance}}",
                )
            ],
            unit="s",
            thresholds=[(0.25, "red")],
        ),
        Panel(
            title="CPU",
            queries=[
                Query(f"rate(process_cpu_seconds_total{{{SERVICE}}}[$__rate_interval])", "{{instance}}"),
            ],
            about="Cores; the service's process takes one at most.",
            thresholds=[(0.8, "red")],
        ),
        Panel(
            title="Memory",
            queries=[Query(f"process_resident_memory_bytes{{{SERVICE}}}", "{{instance}}")],
            unit="bytes",
        ),
        Panel(
            title="File descriptors",
            queries=[
                Query(f"process_open_fds{{{SERVICE}}} / process_max_fds{{{SERVICE}}}", "{{instance}}"),
            ],
            unit="percentunit",
            thresholds=[(0.8, "red")],
        ),
        Panel(
            title="Versions and configurations",
            queries=[
                Query(f"sum by (instance, version) (parley_build_info{{{REPLICA}}})"),
                Query(f"sum by (instance) (time() - parley_config_last_adopted_timestamp_seconds{{{REPLICA}}})"),
                Query(f'sum by (instance) (parley_config_reloads_total{{{REPLICA}, result="refused"}})'),
            ],
            about="B: seconds since the configuration in force was adopted; C: how many were refused.",
            kind="table",
        ),
    ],
)

STORAGE: Final = Row(
    "Storage",
    [
        Panel(
            title="Database",
            queries=[Query(f"parley_storage_up{{{REPLICA}}}", "{{instance}}")],
            kind="state-timeline",
            mappings={"0": ("away", "red"), "1": ("there", "green")},
        ),
        Panel(
            title="Completions",
            queries=[
                *rate("parley_stored_total", REPLICA, "outcome"),
                Query(f"sum(rate(parley_storage_lost_total{{{REPLICA}}}[$__rate_interval]))", "lost"),
            ],
            unit="reqps",
        ),
        Panel(
            title="Waiting to be written",
            queries=[Query(f"parley_storage_queue_depth{{{REPLICA}}}", "{{instance}}")],
        ),
    ],
)

ENVOY: Final = Row(
    "Gateway",
    [
        Panel(
            title="Answers by status",
            queries=rate(
                "envoy_http_downstream_rq_xx", HTTP, "envoy_response_code_class", "{{envoy_response_code_class}}xx"
            ),
            about="As clients see them; a stream that breaks off is 2xx.",
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Calls without an answer of the service",
            queries=[
                *rate(
                    "envoy_cluster_upstream_rq_xx",
                    f'{CLUSTER}, envoy_response_code_class="5"',
                    "instance",
                ),
                *rate("envoy_cluster_upstream_rq_retry", CLUSTER, "instance", "retries {{instance}}"),
            ],
            about="Refused, cut, or no replica there; retries are calls that another replica could take.",
            unit="reqps",
        ),
        Panel(
            title="Replicas",
            queries=[
                Query(f"envoy_cluster_membership_healthy{{{CLUSTER}}}", "healthy {{instance}}"),
                Query(f"envoy_cluster_membership_total{{{CLUSTER}}}", "known {{instance}}"),
                Query(
                    f"envoy_cluster_outlier_detection_ejections_active{{{CLUSTER}}}",
                    "ejected {{instance}}",
                ),
            ],
            about="As each gateway sees them.",
        ),
        Panel(
            title="Open requests and connections",
            queries=[
                Query(f"sum by (instance) (envoy_http_downstream_rq_active{{{HTTP}}})", "requests {{instance}}"),
                Query(f"sum by (instance) (envoy_http_downstream_cx_active{{{HTTP}}})", "connections {{instance}}"),
            ],
        ),
        Panel(
            title="Duration of requests",
            queries=quantiles("envoy_http_downstream_rq_time", HTTP),
            about="From their first byte to the last of the answer.",
            unit="ms",
        ),
        Panel(
            title="Connecting to the service",
            queries=quantiles("envoy_cluster_upstream_cx_connect_ms", CLUSTER),
            unit="ms",
        ),
        Panel(
            title="Overload",
            queries=[
                Query(
                    f"envoy_overload_envoy_resource_monitors_fixed_heap_pressure{{{GATEWAY}}}", "memory {{instance}}"
                ),
                Query(
                    f"envoy_overload_envoy_resource_monitors_global_downstream_max_connections_pressure{{{GATEWAY}}}",
                    "connections {{instance}}",
                ),
            ],
            about="Requests are refused from 90 % of the memory on, connections at 100 % of either.",
            unit="percent",
            most=100,
            thresholds=[(85, "red")],
        ),
        Panel(
            title="Memory",
            queries=[Query(f"envoy_server_memory_physical_size{{{GATEWAY}}}", "{{instance}}")],
            unit="bytes",
        ),
        Panel(
            title="Bytes",
            queries=[
                Query(f"sum(rate(envoy_http_downstream_cx_rx_bytes_total{{{HTTP}}}[$__rate_interval]))", "received"),
                Query(f"sum(rate(envoy_http_downstream_cx_tx_bytes_total{{{HTTP}}}[$__rate_interval]))", "sent"),
            ],
            unit="Bps",
        ),
        Panel(
            title="Calls by route",
            queries=rate(
                "envoy_vhost_route_upstream_rq_completed", f'{GATEWAY}, envoy_virtual_host="parley"', "envoy_route"
            ),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Refused for overload",
            queries=[
                *rate("envoy_http_rq_overload_local_reply", HTTP, "instance", "requests {{instance}}"),
                *rate(
                    "envoy_listener_downstream_cx_overload_reject",
                    f'{GATEWAY}, envoy_listener_address="http"',
                    "instance",
                    "connections, memory {{instance}}",
                ),
                *rate(
                    "envoy_listener_downstream_global_cx_overflow",
                    f'{GATEWAY}, envoy_listener_address="http"',
                    "instance",
                    "connections, number {{instance}}",
                ),
            ],
            unit="reqps",
        ),
        Panel(
            title="Failed health checks",
            queries=rate("envoy_cluster_health_check_failure", CLUSTER, "instance"),
            about="Of the service's replicas, by each gateway.",
        ),
    ],
)
