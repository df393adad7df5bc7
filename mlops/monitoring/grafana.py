"""Dashboards in Grafana's JSON model: panels on a grid, with the choice of a Prometheus and of models.

References:
    Grafana documentation, "Dashboard JSON model".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops.metric_names import MODEL_INFO

SCHEMA_VERSION = 39
WIDTH = 24  # columns of Grafana's grid
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One query and how its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    description: str
    kind: Literal["stat", "timeseries", "table", "bargauge"]
    queries: tuple[Query, ...]
    unit: str = "short"  # Grafana's name for it
    width: int = 12
    height: int = 8
    red_from: float | None = None  # values from here on are red


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    by_model: bool = True  # it has a choice of models


def model(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard in Grafana's JSON model."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["mlops"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "utc",
        "links": [{"type": "dashboards", "tags": ["mlops"], "title": "mlops", "asDropdown": False, "keepTime": True}],
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_placed(dashboard.panels)),
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    if dashboard.by_model:
        query = f"label_values({MODEL_INFO.name}, model)"
        yield {
            "name": "model", "label": "Model", "type": "query", "datasource": _DATASOURCE, "definition": query,
            "query": {"query": query, "refId": "models"}, "refresh": 2, "includeAll": True, "multi": True,
            "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}, "sort": 1,
        }  # fmt: skip


def _placed(panels: Iterable[Panel]) -> Iterator[dict[str, Any]]:
    """Panels from left to right, line by line."""
    x = y = line = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > WIDTH:
            x, y, line = 0, y + line, 0
        yield _panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": panel.height})
        x, line = x + panel.width, max(line, panel.height)


def _panel(number: int, panel: Panel, place: Mapping[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    found: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": dict(place),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": instant,
                "range": not instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {},
    }
    if panel.kind == "table":
        hidden = {"Time": True, "__name__": True, "instance": True, "job": True}
        found["transformations"] = [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": hidden}},
        ]
    return found
