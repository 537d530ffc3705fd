"""What Envoy does when its memory or its connections run out: refuse by name what is new, and end what holds most."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.overload.v3 import (
    BufferFactoryConfig,
    LoadShedPoint,
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ScaledTrigger,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig
from envoy_data_plane.google.protobuf import Any

from gateway.config import GatewaySection

CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
HEAP = "envoy.resource_monitors.fixed_heap"
MIB = 1024 * 1024
# How often the heap is looked at. A worker takes some 100 MiB of bodies in that time.
REFRESH = timedelta(milliseconds=100)
# Shares of the heap. First memory that is free is given back and connections are closed after their answer, then new
# calls are refused, then new connections; the streams whose bodies hold most are ended in between.
ACTIONS = {
    "envoy.overload_actions.shrink_heap": 0.85,
    "envoy.overload_actions.disable_http_keepalive": 0.85,
    "envoy.overload_actions.stop_accepting_requests": 0.90,
    "envoy.overload_actions.stop_accepting_connections": 0.95,
}
RESET_LARGEST = "envoy.overload_actions.reset_high_memory_stream"
RESET_FROM, RESET_ALL = 0.92, 0.98
# Of HTTP/2 alone: Envoy 1.40 keeps no account of what requests of HTTP/1 hold.
# Streams that hold less than 2 ** 20 bytes are never the largest: an event stream has buffers of 64 KiB.
LEAST_TO_RESET_POWER = 20
# So of HTTP/1, whoever goes on sending from here on is cut off; who only reads is not. Without it, 40 bodies that had
# begun before took 1.3 GB of a heap of 512 MiB.
ABORT_HTTP1 = "envoy.load_shed_points.http1_server_abort_dispatch"
ABORT_HTTP1_FROM = 0.95


def build_overload_manager(gateway: GatewaySection) -> OverloadManager:
    """Limits of connections, and of the heap where it has one."""
    connections = DownstreamConnectionsConfig(max_active_downstream_connections=gateway.max_connections)
    manager = OverloadManager(
        refresh_interval=REFRESH,
        resource_monitors=[ResourceMonitor(name=CONNECTIONS, typed_config=Any.pack(connections))],
    )
    if gateway.max_heap_mib is None:
        return manager
    heap = FixedHeapConfig(max_heap_size_bytes=gateway.max_heap_mib * MIB)
    manager.resource_monitors.append(ResourceMonitor(name=HEAP, typed_config=Any.pack(heap)))
    manager.actions = [
        OverloadAction(name=name, triggers=[Trigger(name=HEAP, threshold=ThresholdTrigger(value=share))])
        for name, share in ACTIONS.items()
    ]
    scaled = ScaledTrigger(scaling_threshold=RESET_FROM, saturation_threshold=RESET_ALL)
    manager.actions.append(OverloadAction(name=RESET_LARGEST, triggers=[Trigger(name=HEAP, scaled=scaled)]))
    sending = Trigger(name=HEAP, threshold=ThresholdTrigger(value=ABORT_HTTP1_FROM))
    manager.loadshed_points = [LoadShedPoint(name=ABORT_HTTP1, triggers=[sending])]
    manager.buffer_factory_config = BufferFactoryConfig(minimum_account_to_track_power_of_two=LEAST_TO_RESET_POWER)
    return manager
