"""Which of its numbers Envoy keeps, and how: some hundred series, however many calls and clients there are."""

from __future__ import annotations

from envoy_data_plane.envoy.config.metrics.v3 import HistogramBucketSettings, StatsConfig, StatsMatcher
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, RegexMatcher, StringMatcher

# In milliseconds, as Envoy's times are; answers take up to ten minutes.
BUCKETS_MS = [
    *(5, 10, 25, 50, 100, 250, 500),
    *(1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000),
]
# What nobody looks at. A list of what to keep would be shorter, and wrong: some of Envoy's own decisions read numbers
# (`membership_healthy` is /readyz), and one that is not kept is always 0.
# The router counts each answer of a cluster a second time as `external` or `internal`, a listener those of `http`.
LEFT_OUT = [
    r"(listener\.admin|http\.admin|http\.async-client|listener_manager|runtime|filesystem|workers)\..*",
    r"(thread_local_cluster_manager|cluster_manager|main_thread)\..*",
    r"server\.(worker_\d+|main_thread|compilation_settings)\..*",
    r"listener\.[^.]+\.(http\..*|worker_\d+\..*|connections_accepted_per_socket_event)",
    r"http\..*passthrough_internal_redirect_.*",
    r"cluster\.[^.]+\.(external|internal|canary)\..*",
    r"cluster\.[^.]+\.(lb_(subsets|zone)_.*|http2\.(header|cookie)_.*)",
    r"cluster\.admin\..*",
]


def build_statistics() -> StatsConfig:
    """The section `stats_config`."""
    left_out = [StringMatcher(safe_regex=RegexMatcher(regex=regex)) for regex in LEFT_OUT]
    times = StringMatcher(safe_regex=RegexMatcher(regex=r".*(_rq_time|_cx_length_ms|_connect_ms)"))
    return StatsConfig(
        stats_matcher=StatsMatcher(exclusion_list=ListStringMatcher(patterns=left_out)),
        histogram_bucket_settings=[HistogramBucketSettings(match=times, buckets=list(map(float, BUCKETS_MS)))],
    )
