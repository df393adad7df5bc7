"""Grafana's dashboard of `mlops serve`: how much is asked, how fast it is answered, by which version, and what is kept.

Its numbers are those of the processes that serve (scrape job `serving`), not of the records.

One rule: as in `mlops.monitoring.dashboards`, a query is made from `mlops.metric_names`.
"""

from __future__ import annotations

from mlops import metric_names as names
from mlops.metric_names import Metric
from mlops.monitoring.grafana import WIDTH, Dashboard, Panel, Query

_WINDOW = "[5m]"


def _rate(metric: Metric, by: str, labels: str = 'model=~"$model"') -> str:
    return f"sum by ({by}) (rate({metric.name}{{{labels}}}{_WINDOW}))"


def _quantile(share: float) -> str:
    buckets = f'rate({names.SERVING_DURATION.name}_bucket{{model=~"$model"}}{_WINDOW})'
    return f"histogram_quantile({share}, sum by (model, le) ({buckets}))"


_REFUSED = _rate(names.SERVING_REQUESTS, "model", 'model=~"$model", status=~"5.."')
_ASKED = _rate(names.SERVING_REQUESTS, "model")

SERVING = Dashboard(
    "mlops-serving",
    "mlops: serving",
    (
        Panel(
            "Requests", "Answered per second, by HTTP status.", "timeseries",
            (Query(_rate(names.SERVING_REQUESTS, "model, status"), "{{model}} {{status}}"),), unit="reqps",
        ),
        Panel(
            "Latency", "From request to answer: half of them are faster, and 99 of 100.", "timeseries",
            (Query(_quantile(0.5), "{{model}} p50"), Query(_quantile(0.99), "{{model}} p99")), unit="s",
        ),
        Panel(
            "Faults", "Share of requests that end with 5xx.", "timeseries",
            (Query(f"({_REFUSED} or 0 * {_ASKED}) / ({_ASKED} > 0)", "{{model}}"),), unit="percentunit",
            red_from=0.001,
        ),
        Panel(
            "Rows that wait", "In the queues of all processes; beyond 20,000 a process says 429.", "timeseries",
            (Query(f'sum by (model) ({names.SERVING_WAITING.name}{{model=~"$model"}})', "{{model}}"),),
        ),
        Panel(
            "Predictions", "Rows per second, by what came out.", "timeseries",
            (Query(_rate(names.SERVING_PREDICTIONS, "model, outcome"), "{{model}} {{outcome}}"),),
        ),
        Panel(
            "Versions", "Which version is loaded, by its role; the largest of all processes.", "timeseries",
            (Query(f'max by (model, role) ({names.SERVING_VERSION.name}{{model=~"$model"}})', "{{model}} {{role}}"),),
        ),
        Panel(
            "Takeovers", "Versions that took over, or were refused, in all processes.", "timeseries",
            (Query(f'sum by (model, outcome) ({names.SERVING_TAKEOVERS.name}{{model=~"$model"}})',
                   "{{model}} {{outcome}}"),),
        ),
        Panel(
            "Live drift", "Population stability index of the last half hour to hour, by column: a light, no verdict.",
            "timeseries",
            (Query(f'max by (model, column) ({names.SERVING_DRIFT.name}{{model=~"$model"}})', "{{model}} {{column}}"),),
        ),
        Panel(
            "Prediction log", "Rows per second that are on disk, rows that wait in memory, rows lost.", "timeseries",
            (
                Query(f"sum(rate({names.LOG_ROWS.name}{_WINDOW}))", "kept per second"),
                Query(f"sum({names.LOG_WAITING.name})", "waiting"),
                Query(f"sum({names.LOG_LOST.name})", "lost"),
            ),
            width=WIDTH,
        ),
    ),
)  # fmt: skip
