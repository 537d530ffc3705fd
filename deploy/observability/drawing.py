"""What dashboards are made of, as Grafana's classic JSON has it. Pure.

Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model (2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "state-timeline", "table"]

SCHEMA_VERSION: Final = 41
"""Of Grafana 12; newer ones migrate it as they load it."""
COLUMNS: Final = 24
DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and what to call its series."""

    expression: str
    legend: str = "__auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A drawing of some series."""

    title: str
    queries: Sequence[Query]
    about: str = ""
    """What is not said by the title."""
    unit: str = "short"
    """As Grafana names it: `s`, `reqps`, `percentunit`, `currencyUSD` …"""
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    most: float | None = None
    """The end of the axis."""
    thresholds: Sequence[tuple[float, str]] = ()
    """From which value on which colour; green below."""
    mappings: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Text and colour in the place of a value."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """What the whole dashboard can be narrowed to: values of a label."""

    name: str
    label: str
    metric: str
    of: str
    """The label, in Prometheus."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page."""

    uid: str
    title: str
    about: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def drawn(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana takes it, from a file or by its API."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["parley"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), *(_variable(each) for each in dashboard.variables)]},
        "annotations": {"list": [_firing()]},
        "links": [_other_dashboards()],
        "panels": list(_panels(dashboard.rows)),
    }


def _panels(rows: Sequence[Row]) -> Iterator[Json]:
    """All rows one below the other; the panels of a row from left to right, in as many lines as they need."""
    number = y = 0
    for row in rows:
        number += 1
        heading: Json = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        yield heading
        x, y, line_height = 0, y + 1, 0
        for panel in row.panels:
            number += 1
            if x + panel.width > COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            drawing = {"id": number, "gridPos": place, **_panel(panel)}
            x, line_height = x + panel.width, max(line_height, panel.height)
            if row.collapsed:
                heading["panels"].append(drawing)
            else:
                yield drawing
        y += line_height


def _panel(panel: Panel) -> Json:
    is_instant = panel.kind in {"stat", "table"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "targets": [_target(query, chr(ord("A") + at), panel) for at, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
        **({"transformations": [{"id": "merge", "options": {}}]} if panel.kind == "table" else {}),
        **({"maxDataPoints": 300} if not is_instant else {}),
    }


def _target(query: Query, reference: str, panel: Panel) -> Json:
    is_instant = panel.kind == "table"
    return {
        "refId": reference,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "instant": is_instant,
        "range": not is_instant,
        "format": "table" if is_instant else "time_series",
    }


def _field(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for value, color in panel.thresholds]
    defaults: Json = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": _mappings(panel),
        "custom": _custom(panel),
    }
    if panel.most is not None:
        defaults["max"] = panel.most
    return defaults


def _mappings(panel: Panel) -> list[Json]:
    if not panel.mappings:
        return []
    options = {value: {"text": text, "color": color} for value, (text, color) in panel.mappings.items()}
    return [{"type": "value", "options": options}]


def _custom(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
        }
    return {"fillOpacity": 80, "lineWidth": 0} if panel.kind == "state-timeline" else {}


_LEGEND: Final[Json] = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
_OPTIONS: Final[dict[Kind, Json]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "auto",
    },
    "state-timeline": {"legend": _LEGEND, "showValue": "never", "mergeValues": True, "rowHeight": 0.8},
    "table": {"showHeader": True},
}


def _datasource() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}


def _variable(variable: Variable) -> Json:
    query = f"label_values({variable.metric}, {variable.of})"
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "refresh": 2,  # as the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",  # series without the label, too
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _firing() -> Json:
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Parley.*", alertstate="firing", namespace=~"$namespace"}',
        "titleFormat": "{{alertname}}",
        "tagKeys": "severity,gen_ai_request_model,target,instance",
        "step": "60s",
    }


def _other_dashboards() -> Json:
    return {
        "type": "dashboards",
        "title": "Parley",
        "tags": ["parley"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }
