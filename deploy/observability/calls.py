"""The rows about calls, their providers and what they used."""

from __future__ import annotations

from typing import Final

from deploy.observability.drawing import Panel, Query, Row
from deploy.observability.queries import BUDGET, CALL, NAMESPACE, REPLICA, SERVED, quantiles, rate

_FAILED_SHARE: Final = (
    f'sum(model:parley_calls:rate5m{{{CALL}, result="failed"}})'
    f' / sum(model:parley_calls:rate5m{{{CALL}, result=~"ok|failed"}})'
)

GLANCE: Final = Row(
    "At a glance",
    [
        Panel(
            title="Calls",
            queries=[Query(f"sum(model:parley_calls:rate5m{{{CALL}}})")],
            unit="reqps",
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            title="Failed",
            queries=[Query(_FAILED_SHARE)],
            about="Of the calls in which the caller has done nothing wrong.",
            unit="percentunit",
            kind="stat",
            width=3,
            height=4,
            thresholds=[(BUDGET, "orange"), (14.4 * BUDGET, "red")],
        ),
        Panel(
            title="First token, p95",
            queries=[
                Query(
                    "max(model:gen_ai_server_time_to_first_token_seconds:quantile5m"
                    f'{{{CALL}, quantile="0.95"}} >= 0)'  # NaN without streams
                )
            ],
            about="Of the slowest model.",
            unit="s",
            kind="stat",
            width=3,
            height=4,
            thresholds=[(5, "orange"), (10, "red")],
        ),
        Panel(
            title="Open streams",
            queries=[Query(f"sum(parley_open_streams{{{REPLICA}}})")],
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            title="Output tokens per second",
            queries=[Query(f'sum(model:gen_ai_client_token_usage:rate5m{{{CALL}, gen_ai_token_type="output"}})')],
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            title="Cost within an hour",
            queries=[Query(f"sum(model:parley_cost_usd:increase1h{{{CALL}}})")],
            unit="currencyUSD",
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            title="Targets out of use",
            queries=[
                Query(
                    "count(max by (gen_ai_request_model, target) "
                    f'(parley_target_state{{{CALL}, state!="available"}}) == 1) or vector(0)'
                )
            ],
            about="In any replica: the circuit is open or on probation, or the rate limit is reached.",
            kind="stat",
            width=3,
            height=4,
            thresholds=[(1, "orange")],
        ),
        Panel(
            title="Alerts",
            queries=[Query(f'count(ALERTS{{alertname=~"Parley.*", alertstate="firing", {NAMESPACE}}}) or vector(0)')],
            kind="stat",
            width=3,
            height=4,
            thresholds=[(1, "red")],
        ),
    ],
)

CALLS: Final = Row(
    "Calls",
    [
        Panel(
            title="What became of calls",
            queries=[Query(f"sum by (result) (model:parley_calls:rate5m{{{CALL}}})", "{{result}}")],
            about="refused: the caller's fault or will (wrong parameter, unknown model, no key, it left).",
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Errors by reason",
            queries=[
                Query(
                    "sum by (status, error_type) (rate(gen_ai_server_request_duration_seconds_count"
                    f'{{{SERVED}, status!="OK"}}[$__rate_interval]))',
                    "{{status}} {{error_type}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            title="Share of failed calls",
            queries=[
                Query(
                    f'sum by (gen_ai_request_model) (model:parley_calls:rate5m{{{CALL}, result="failed"}})'
                    f' / sum by (gen_ai_request_model) (model:parley_calls:rate5m{{{CALL}, result=~"ok|failed"}})',
                    "{{gen_ai_request_model}}",
                ),
                Query(f'namespace:parley_failure:ratio{{{NAMESPACE}, window="1h"}}', "all, 1 h"),
            ],
            unit="percentunit",
            thresholds=[(BUDGET, "red")],
        ),
        Panel(
            title="First token",
            queries=[
                Query(
                    f"model:gen_ai_server_time_to_first_token_seconds:quantile5m{{{CALL}}}",
                    "{{gen_ai_request_model}} {{quantile}}",
                )
            ],
            unit="s",
        ),
        Panel(
            title="Duration",
            queries=quantiles("gen_ai_server_request_duration_seconds", f'{SERVED}, status="OK"', "stream"),
            about="Of calls that were answered; by whether they were streams.",
            unit="s",
        ),
        Panel(
            title="Time per output token",
            queries=quantiles("gen_ai_server_time_per_output_token_seconds", SERVED),
            unit="s",
        ),
    ],
)

PROVIDERS: Final = Row(
    "Providers",
    [
        Panel(
            title="Targets",
            queries=[
                Query(
                    f"max by (gen_ai_request_model, target) ("
                    f'1 * parley_target_state{{{CALL}, state="probing"}}'
                    f' or 2 * parley_target_state{{{CALL}, state="rate_limited"}}'
                    f' or 3 * parley_target_state{{{CALL}, state="unavailable"}})',
                    "{{gen_ai_request_model}}: {{target}}",
                )
            ],
            about="The worst that any replica says.",
            kind="state-timeline",
            mappings={
                "0": ("available", "green"),
                "1": ("probing", "yellow"),
                "2": ("rate limited", "orange"),
                "3": ("unavailable", "red"),
            },
        ),
        Panel(
            title="Requests by outcome",
            queries=rate("parley_attempts_total", CALL, "outcome"),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Retries, fallbacks, hedges",
            queries=[
                *rate("parley_retries_total", CALL, "gen_ai_request_model", "retries {{gen_ai_request_model}}"),
                *rate("parley_fallbacks_total", CALL, "gen_ai_request_model", "fallbacks {{gen_ai_request_model}}"),
                *rate("parley_hedges_total", CALL, "result", "hedges {{result}}"),
            ],
            unit="reqps",
        ),
    ],
)

USAGE: Final = Row(
    "Usage",
    [
        Panel(
            title="Tokens per second",
            queries=[
                Query(
                    f"model:gen_ai_client_token_usage:rate5m{{{CALL}}}",
                    "{{gen_ai_request_model}} {{gen_ai_token_type}}",
                )
            ],
        ),
        Panel(
            title="Cost per hour, by model",
            queries=[Query(f"model:parley_cost_usd:increase1h{{{CALL}}}", "{{gen_ai_request_model}}")],
            unit="currencyUSD",
            stacked=True,
        ),
        Panel(
            title="Cost per hour, by key",
            queries=[Query(f"topk(10, sum by (key) (increase(parley_cost_usd_total{{{CALL}}}[1h])))", "{{key}}")],
            about="The ten with the highest costs.",
            unit="currencyUSD",
            stacked=True,
        ),
        Panel(
            title="Usage that had to be estimated",
            queries=rate("parley_usage_estimated_total", CALL, "gen_ai_request_model"),
            unit="reqps",
        ),
        Panel(
            title="Campaigns",
            queries=rate(
                "parley_campaign_calls_total",
                NAMESPACE,
                "project, campaign, arm",
                "{{project}} {{campaign}} {{arm}}",
            ),
            unit="reqps",
        ),
        Panel(
            title="Server-side tools",
            queries=[
                *rate(
                    "parley_tool_calls_total",
                    NAMESPACE,
                    "project, server, status",
                    "{{project}} {{server}} {{status}}",
                ),
            ],
            unit="reqps",
        ),
        Panel(
            title="Server-side tools, p95",
            queries=[
                Query(
                    "histogram_quantile(0.95, sum by (le, project, server) "
                    f"(rate(parley_tool_call_duration_seconds_bucket{{{NAMESPACE}}}[$__rate_interval])))",
                    "{{project}} {{server}}",
                )
            ],
            unit="s",
        ),
        Panel(
            title="Callers that left",
            queries=rate("parley_disconnects_total", CALL, "policy"),
            about="drain: the answer was read on, so that its usage is known.",
            unit="reqps",
        ),
        Panel(
            title="Calls by method",
            queries=rate("parley_rpc_calls_total", REPLICA, "method, status", "{{method}} {{status}}"),
            about="Of all methods but health and reflection.",
            unit="reqps",
        ),
    ],
)
