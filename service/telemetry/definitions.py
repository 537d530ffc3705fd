"""Every metric of the service: its name for Prometheus and for OpenTelemetry, its labels, its buckets.

Names of the first kind are OpenTelemetry's with underscores, as its conventions for generative AI have them; what
these don't know begins with `parley`. All values of labels come from the configuration or from a fixed set: what
callers send never becomes one.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics (2026-11-22).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_MODEL: Final = "gen_ai_request_model"
"""Id of a configured model; empty where a call came to none."""
_PROVIDER: Final = "gen_ai_provider_name"
"""Its name in the configuration."""

_MINUTES_S: Final = (163.84, 327.68, 600.0)
"""Beyond the conventions' buckets, and up to 10 minutes: as long as a model that reasons may take."""
_LATENCY_S: Final = (*(0.01 * 2**power for power in range(14)), *_MINUTES_S)
_SECONDS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_FIRST_TOKEN_S: Final = (*_SECONDS, 20.0, 40.0, 80.0, *_MINUTES_S)
_PER_TOKEN_S: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS: Final = tuple(float(4**power) for power in range(14))
_SHORT_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Of times that should be milliseconds, and tell of trouble where they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A metric."""

    name: str
    """As a scrape has it, with a counter's `_total`."""
    kind: Literal["histogram", "counter", "gauge"]
    help: str
    otel: str
    """Its name over OTLP."""
    unit: str
    """Over OTLP, in UCUM's notation."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, inclusive."""
    across: Literal["livesum", "livemin", "livemax"] = "livesum"
    """What several processes' values of a gauge come to."""


REQUEST_DURATION: Final = Definition(
    name="gen_ai_server_request_duration_seconds",
    kind="histogram",
    help="Chat calls, from their arrival until the caller had the end, or was gone.",
    otel="gen_ai.server.request.duration",
    unit="s",
    labels=("gen_ai_operation_name", _MODEL, _PROVIDER, "stream", "status", "error_type"),
    buckets=_LATENCY_S,
)
TIME_TO_FIRST_TOKEN: Final = Definition(
    name="gen_ai_server_time_to_first_token_seconds",
    kind="histogram",
    help="Streams, from the call's arrival to the first chunk of the answer.",
    otel="gen_ai.server.time_to_first_token",
    unit="s",
    labels=(_MODEL, _PROVIDER),
    buckets=_FIRST_TOKEN_S,
)
TIME_PER_OUTPUT_TOKEN: Final = Definition(
    name="gen_ai_server_time_per_output_token_seconds",
    kind="histogram",
    help="Whole streams of one turn, per token after the first.",
    otel="gen_ai.server.time_per_output_token",
    unit="s",
    labels=(_MODEL, _PROVIDER),
    buckets=_PER_TOKEN_S,
)
TOKEN_USAGE: Final = Definition(
    name="gen_ai_client_token_usage",
    kind="histogram",
    help="Tokens of a call; estimated where the provider does not tell.",
    otel="gen_ai.client.token.usage",
    unit="{token}",
    labels=(_MODEL, _PROVIDER, "gen_ai_token_type"),
    buckets=_TOKENS,
)
ATTEMPT_DURATION: Final = Definition(
    name="gen_ai_client_operation_duration_seconds",
    kind="histogram",
    help="Requests to providers, from when they were sent to the end of the answer.",
    otel="gen_ai.client.operation.duration",
    unit="s",
    labels=(_MODEL, "target", "outcome"),
    buckets=_LATENCY_S,
)
ATTEMPTS: Final = Definition(
    name="parley_attempts_total",
    kind="counter",
    help="Requests to providers, by what became of them.",
    otel="parley.attempts",
    unit="{attempt}",
    labels=(_MODEL, "target", "outcome"),
)
RETRIES: Final = Definition(
    name="parley_retries_total",
    kind="counter",
    help="Requests to a target that had just failed at the same call.",
    otel="parley.retries",
    unit="{attempt}",
    labels=(_MODEL,),
)
FALLBACKS: Final = Definition(
    name="parley_fallbacks_total",
    kind="counter",
    help="Requests to a target since another had failed at the same call.",
    otel="parley.fallbacks",
    unit="{attempt}",
    labels=(_MODEL,),
)
HEDGES: Final = Definition(
    name="parley_hedges_total",
    kind="counter",
    help="Requests to a second target beside a slow one; won: it was the one that answered.",
    otel="parley.hedges",
    unit="{attempt}",
    labels=(_MODEL, "result"),
)
TARGET_STATE: Final = Definition(
    name="parley_target_state",
    kind="gauge",
    help="1 for the state that a target is in: available, probing, unavailable or rate_limited; else 0.",
    otel="parley.target.state",
    unit="1",
    labels=(_MODEL, "target", "state"),
    across="livemax",
)
TARGET_IN_FLIGHT: Final = Definition(
    name="parley_target_in_flight",
    kind="gauge",
    help="Requests that a target is answering.",
    otel="parley.target.in_flight",
    unit="{attempt}",
    labels=(_MODEL, "target"),
)
TARGET_QUEUE_DEPTH: Final = Definition(
    name="parley_target_queue_depth",
    kind="gauge",
    help="Calls that wait until a target has less to do.",
    otel="parley.target.queue_depth",
    unit="{call}",
    labels=(_MODEL, "target"),
)
OPEN_CALLS: Final = Definition(
    name="parley_open_calls",
    kind="gauge",
    help="Calls that are being answered, streams among them.",
    otel="parley.open_calls",
    unit="{call}",
)
OPEN_STREAMS: Final = Definition(
    name="parley_open_streams",
    kind="gauge",
    help="Streams that are being answered.",
    otel="parley.open_streams",
    unit="{stream}",
)
DISCONNECTS: Final = Definition(
    name="parley_disconnects_total",
    kind="counter",
    help="Chat calls whose caller left before the end; drain: the answer was read on without it.",
    otel="parley.disconnects",
    unit="{call}",
    labels=(_MODEL, "policy"),
)
OVERHEAD: Final = Definition(
    name="parley_overhead_seconds",
    kind="histogram",
    help="What successful chat calls waited for the service itself, up to a stream's first token: no provider, no "
    "queue, no store.",
    otel="parley.overhead",
    unit="s",
    labels=("stream",),
    buckets=_SHORT_S,
)
EVENT_LOOP_LAG: Final = Definition(
    name="parley_event_loop_lag_seconds",
    kind="histogram",
    help="How much later than due the event loop woke a task that was to run.",
    otel="parley.event_loop.lag",
    unit="s",
    buckets=_SHORT_S,
)
COST: Final = Definition(
    name="parley_cost_usd_total",
    kind="counter",
    help="What chat calls cost, in US dollars, where prices are known.",
    otel="parley.cost",
    unit="{USD}",
    labels=(_MODEL, _PROVIDER, "key"),
)
USAGE_ESTIMATED: Final = Definition(
    name="parley_usage_estimated_total",
    kind="counter",
    help="Chat calls whose usage the provider did not tell.",
    otel="parley.usage_estimated",
    unit="{call}",
    labels=(_MODEL,),
)
CAMPAIGN_CALLS: Final = Definition(
    name="parley_campaign_calls_total",
    kind="counter",
    help="Chat calls that took part in a campaign.",
    otel="parley.campaign.calls",
    unit="{call}",
    labels=("project", "campaign", "arm"),
)
TOOL_CALLS: Final = Definition(
    name="parley_tool_calls_total",
    kind="counter",
    help="Server-side tools that ran.",
    otel="parley.tool.calls",
    unit="{call}",
    labels=("project", "server", "status"),
)
TOOL_CALL_DURATION: Final = Definition(
    name="parley_tool_call_duration_seconds",
    kind="histogram",
    help="How long server-side tools ran.",
    otel="parley.tool.call.duration",
    unit="s",
    labels=("project", "server", "status"),
    buckets=_LATENCY_S,
)
RPC_CALLS: Final = Definition(
    name="parley_rpc_calls_total",
    kind="counter",
    help="Calls of all methods but those of health and reflection, by the name of their gRPC status.",
    otel="parley.rpc.calls",
    unit="{call}",
    labels=("method", "status"),
)
STORAGE_UP: Final = Definition(
    name="parley_storage_up",
    kind="gauge",
    help="Whether the store's database answered when it was last asked.",
    otel="parley.storage.up",
    unit="1",
    across="livemin",
)
STORAGE_QUEUE_DEPTH: Final = Definition(
    name="parley_storage_queue_depth",
    kind="gauge",
    help="Completions that wait to be written.",
    otel="parley.storage.queue_depth",
    unit="{completion}",
)
STORAGE_LOST: Final = Definition(
    name="parley_storage_lost_total",
    kind="counter",
    help="Completions that were given up without anybody being told.",
    otel="parley.storage.lost",
    unit="{completion}",
)
STORED: Final = Definition(
    name="parley_stored_total",
    kind="counter",
    help="Answers that were to be stored: stored; partial: given to the store as far as they had come; failed: not "
    "stored when the caller was told of the end.",
    otel="parley.stored",
    unit="{completion}",
    labels=("outcome",),
)
CONFIG_RELOADS: Final = Definition(
    name="parley_config_reloads_total",
    kind="counter",
    help="Configurations that were read anew.",
    otel="parley.config.reloads",
    unit="{reload}",
    labels=("result",),
)
CONFIG_LAST_ADOPTED: Final = Definition(
    name="parley_config_last_adopted_timestamp_seconds",
    kind="gauge",
    help="When the configuration in force was put in force, in seconds since 1970.",
    otel="parley.config.last_adopted",
    unit="s",
    across="livemin",
)
READY: Final = Definition(
    name="parley_ready",
    kind="gauge",
    help="Whether this replica is to be sent calls: what the health service says of it.",
    otel="parley.ready",
    unit="1",
    across="livemin",
)
BUILD_INFO: Final = Definition(
    name="parley_build_info",
    kind="gauge",
    help="1, with the version that runs.",
    otel="parley.build.info",
    unit="1",
    labels=("version",),
    across="livemax",
)

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Definition))
