"""The dashboard "Parley: targets": how each provider's models do."""

from __future__ import annotations

from typing import Final

from deploy.observability.drawing import Dashboard, Panel, Query, Row, Variable

_MODEL: Final = 'namespace=~"$namespace", gen_ai_request_model=~"$model"'
_TARGET: Final = f'{_MODEL}, target=~"$target"'
_PROVIDER: Final = f'job="parley-service", {_MODEL}, gen_ai_provider_name=~"$provider"'


def _by_provider(quantile: float, metric: str) -> Query:
    return Query(
        f"histogram_quantile({quantile}, sum by (le, gen_ai_provider_name) "
        f"(rate({metric}_bucket{{{_PROVIDER}}}[$__rate_interval])))",
        f"{{{{gen_ai_provider_name}}}} p{quantile * 100:g}",
    )


def _state(state: str) -> Query:
    return Query(
        f'sum by (target) (avg_over_time(parley_target_state{{{_TARGET}, state="{state}"}}[$__rate_interval]))'
        f" / sum by (target) (avg_over_time(parley_target_state{{{_TARGET}}}[$__rate_interval]))",
        "{{target}}",
    )


_REQUESTS: Final = Row(
    "Requests",
    [
        Panel(
            title="Requests",
            queries=[
                Query(f"sum by (target) (rate(parley_attempts_total{{{_TARGET}}}[$__rate_interval]))", "{{target}}")
            ],
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Failures by outcome",
            queries=[
                Query(
                    "sum by (target, outcome) (rate(parley_attempts_total"
                    f'{{{_TARGET}, outcome!~"OK|CANCELLED|HEDGED"}}[$__rate_interval]))',
                    "{{target}} {{outcome}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            title="Share of failures",
            queries=[
                Query(
                    f'sum by (target) (rate(parley_attempts_total{{{_TARGET}, outcome!~"OK|CANCELLED|HEDGED"}}'
                    "[$__rate_interval]))"
                    f" / sum by (target) (rate(parley_attempts_total{{{_TARGET}}}[$__rate_interval]))",
                    "{{target}}",
                )
            ],
            unit="percentunit",
            most=1,
        ),
        Panel(
            title="Duration of a request, p50",
            queries=[
                Query(
                    "histogram_quantile(0.5, sum by (le, target) (rate(gen_ai_client_operation_duration_seconds_bucket"
                    f'{{job="parley-service", {_TARGET}, outcome="OK"}}[$__rate_interval])))',
                    "{{target}}",
                )
            ],
            about="Of those that were answered, to the end of the answer.",
            unit="s",
        ),
        Panel(
            title="Duration of a request, p95",
            queries=[
                Query(
                    "histogram_quantile(0.95, sum by (le, target) (rate(gen_ai_client_operation_duration_seconds_bucket"
                    f'{{job="parley-service", {_TARGET}, outcome="OK"}}[$__rate_interval])))',
                    "{{target}}",
                )
            ],
            about="Of those that were answered, to the end of the answer.",
            unit="s",
        ),
        Panel(
            title="First token",
            queries=[_by_provider(at, "gen_ai_server_time_to_first_token_seconds") for at in (0.5, 0.95)],
            about="By the provider that answered; retries and fallbacks before it are in the time.",
            unit="s",
        ),
    ],
)

_LIMITS: Final = Row(
    "Circuits and limits",
    [
        Panel(
            title="Circuit open",
            queries=[_state("unavailable")],
            about="Share of the replicas' time.",
            unit="percentunit",
            most=1,
        ),
        Panel(
            title="On probation",
            queries=[_state("probing")],
            about="Share of the replicas' time: it has failed, and single calls find out whether it works again.",
            unit="percentunit",
            most=1,
        ),
        Panel(
            title="Rate limited",
            queries=[_state("rate_limited")],
            about="Share of the replicas' time.",
            unit="percentunit",
            most=1,
        ),
        Panel(
            title="In flight",
            queries=[Query(f"sum by (target) (parley_target_in_flight{{{_TARGET}}})", "{{target}}")],
            stacked=True,
        ),
        Panel(
            title="Queue",
            queries=[Query(f"sum by (target) (parley_target_queue_depth{{{_TARGET}}})", "{{target}}")],
            about="Calls that wait until the target has less to do.",
            stacked=True,
        ),
        Panel(
            title="Calls turned away by full queues",
            queries=[
                Query(
                    "sum by (gen_ai_request_model) (rate(gen_ai_server_request_duration_seconds_count"
                    f'{{job="parley-service", {_MODEL}, error_type="CONCURRENCY_EXHAUSTED"}}[$__rate_interval]))',
                    "{{gen_ai_request_model}}",
                )
            ],
            unit="reqps",
        ),
    ],
)

_ANSWERS: Final = Row(
    "Answers",
    [
        Panel(
            title="Time per output token",
            queries=[_by_provider(at, "gen_ai_server_time_per_output_token_seconds") for at in (0.5, 0.95)],
            unit="s",
        ),
        Panel(
            title="Tokens per second",
            queries=[
                Query(
                    "sum by (gen_ai_provider_name, gen_ai_token_type) "
                    f"(rate(gen_ai_client_token_usage_sum{{{_PROVIDER}}}[$__rate_interval]))",
                    "{{gen_ai_provider_name}} {{gen_ai_token_type}}",
                )
            ],
        ),
        Panel(
            title="Cost per hour",
            queries=[
                Query(
                    f"sum by (gen_ai_provider_name) (increase(parley_cost_usd_total{{{_PROVIDER}}}[1h]))",
                    "{{gen_ai_provider_name}}",
                )
            ],
            unit="currencyUSD",
            stacked=True,
        ),
    ],
)

TARGETS: Final = Dashboard(
    uid="parley-targets",
    title="Parley: targets",
    about="How each provider's models do. A target is a provider and its own name of a model.",
    variables=[
        Variable("namespace", "Namespace", "parley_build_info", "namespace"),
        Variable("model", "Model", "parley_target_state", "gen_ai_request_model"),
        Variable("target", "Target", "parley_target_state", "target"),
        Variable("provider", "Provider", "gen_ai_client_token_usage_count", "gen_ai_provider_name"),
    ],
    rows=[_REQUESTS, _LIMITS, _ANSWERS],
)
