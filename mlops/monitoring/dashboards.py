"""Grafana's dashboards, made from the names of the metrics: overview, performance, drift, pipelines, serving.

`mlops metrics dashboards` writes them to deploy/grafana/dashboards; a test holds the files against this module and runs
every query against a Prometheus.

One rule: a query is made from `mlops.metric_names`, so a metric that is renamed or dropped cannot leave a panel empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlops import metric_names as names
from mlops.metric_names import Metric
from mlops.monitoring.grafana import WIDTH, Dashboard, Panel, Query, model
from mlops.monitoring.serving_dashboard import SERVING

_MODEL = '{model=~"$model"}'


def _age(metric: Metric, labels: str = _MODEL) -> str:
    return f"time() - {metric.name}{labels}"


OVERVIEW = Dashboard(
    "mlops-overview",
    "mlops: overview",
    by_model=False,
    panels=(
        Panel("Models", "Models with a spec.", "stat", (Query(f"count({names.MODEL_INFO.name})"),), width=4, height=4),
        Panel(
            "With a champion", "Models that have a champion.", "stat",
            (Query(f"count({names.CHAMPION_VERSION.name})"),), width=4, height=4,
        ),
        Panel(
            "Incidents not over", "Open, acknowledged and silenced.", "stat",
            (Query(f"sum({names.INCIDENTS.name}) or vector(0)"),), width=4, height=4, red_from=1,
        ),
        Panel(
            "Alerts not delivered", "A channel has not taken them.", "stat",
            (Query(f"sum({names.ALERTS_UNDELIVERED.name})"),), width=4, height=4, red_from=1,
        ),
        Panel(
            "In quarantine", "Deliveries that wait for a decision.", "stat",
            (Query(f"sum({names.QUARANTINE_DELIVERIES.name})"),), width=4, height=4, red_from=1,
        ),
        Panel(
            "Records that cannot be read", "Parts whose metrics are missing.", "stat",
            (Query(f"count({names.COLLECT_UP.name} == 0) or vector(0)"),), width=4, height=4, red_from=1,
        ),
        Panel(
            "Champions", "Version, and since when it is champion.", "table",
            (Query(names.CHAMPION_VERSION.name, "version"), Query(_age(names.CHAMPION_SINCE, ""), "age [s]")),
        ),
        Panel(
            "Incidents", "What is not over, by model, kind, urgency and state; 0 for a model without any.", "table",
            (Query(f"{names.INCIDENTS.name} > 0 or on (model) 0 * {names.MODEL_INFO.name}"),),
        ),
        Panel(
            "Drift", "How much that of the newest date matters.", "table", (Query(f"{names.DRIFT_DEGREE.name} == 1"),),
        ),
        Panel(
            "Age of the newest predictions", "Time since the end of the newest date that has any.", "bargauge",
            (Query(_age(names.PREDICTION_NEWEST, ""), "{{model}}"),), unit="s", red_from=48 * 3600,
        ),
    ),
)  # fmt: skip

PERFORMANCE = Dashboard(
    "mlops-performance",
    "mlops: model performance",
    (
        Panel(
            "Realised metrics", "On the newest date whose labels are mature.", "timeseries",
            (Query(names.PERFORMANCE.name + _MODEL, "{{model}} {{metric}}"),),
        ),
        Panel(
            "Estimated without labels",
            "Metrics of the newest predictions before their labels come; of detectors, what they flag and would find.",
            "timeseries",
            (Query(names.PERFORMANCE_ESTIMATE.name + _MODEL, "{{model}} {{metric}} {{bound}}"),),
        ),
        Panel(
            "Champion", "Version that is champion by the ledger.", "timeseries",
            (Query(names.CHAMPION_VERSION.name + _MODEL, "{{model}}"),),
        ),
        Panel(
            "Rows of the newest batch", "All, those with a score, those flagged.", "timeseries",
            (
                Query(names.PREDICTION_ROWS.name + _MODEL, "{{model}} rows"),
                Query(names.PREDICTION_SCORED_ROWS.name + _MODEL, "{{model}} scored"),
                Query(names.PREDICTION_FLAGGED_ROWS.name + _MODEL, "{{model}} flagged"),
            ),
        ),
        Panel(
            "Alarms of the newest batch", "Onsets per entity.", "timeseries",
            (Query(names.PREDICTION_ALARMS.name + _MODEL, "{{model}}"),),
        ),
        Panel(
            "Rows without a score", "Share of the newest batch for which the model cannot tell.", "timeseries",
            (
                Query(
                    f"1 - {names.PREDICTION_SCORED_ROWS.name}{_MODEL} / ({names.PREDICTION_ROWS.name}{_MODEL} > 0)",
                    "{{model}}",
                ),
            ),
            unit="percentunit", red_from=0.2,
        ),
        Panel(
            "Gates of the newest decision", "What each gate said of the newest challenger.", "table",
            (Query(f"{names.GATE_VERDICT.name}{_MODEL} == 1"),),
        ),
    ),
)  # fmt: skip

DRIFT = Dashboard(
    "mlops-drift",
    "mlops: drift",
    (
        Panel(
            "Verdict", "How much the drift of the newest date matters.", "table",
            (Query(f"{names.DRIFT_DEGREE.name}{_MODEL} == 1"),), height=6,
        ),
        Panel(
            "Looked at", "Time since the end of the newest date that was looked at.", "bargauge",
            (Query(_age(names.DRIFT_NEWEST), "{{model}}"),), unit="s", height=6, red_from=48 * 3600,
        ),
        Panel(
            "Columns in drift", "Share of those that could be judged.", "timeseries",
            (Query(names.DRIFT_SHARE.name + _MODEL, "{{model}}"),), unit="percentunit",
        ),
        Panel(
            "Nearest to their thresholds", "Value of the measure over its threshold: above 1 is drift.", "bargauge",
            (
                Query(
                    f"topk(15, {names.DRIFT_VALUE.name}{_MODEL} / ({names.DRIFT_THRESHOLD.name}{_MODEL} > 0))",
                    "{{model}} {{column}}",
                ),
            ),
            red_from=1,
        ),
        Panel(
            "Values over time", "The measure of each column; a threshold of its own belongs to each.", "timeseries",
            (Query(names.DRIFT_VALUE.name + _MODEL, "{{model}} {{column}}"),), width=WIDTH,
        ),
    ),
)  # fmt: skip

PIPELINES = Dashboard(
    "mlops-pipelines",
    "mlops: pipelines",
    (
        Panel(
            "Last success", "Time since each step has last ended with done or nothing to do.", "bargauge",
            (Query(_age(names.STEP_LAST_SUCCESS), "{{model}} {{step}}"),), unit="s", red_from=36 * 3600,
        ),
        Panel(
            "Last outcome", "How each step ended the last time.", "table",
            (Query(f"{names.STEP_LAST_OUTCOME.name}{_MODEL} == 1"),),
        ),
        Panel(
            "Duration", "How long each step took.", "timeseries",
            (Query(names.STEP_LAST_DURATION.name + _MODEL, "{{model}} {{step}}"),), unit="s",
        ),
        Panel(
            "Delivered rows", "Of the newest validated delivery.", "timeseries",
            (Query(names.DELIVERY_ROWS.name + _MODEL, "{{model}}"),),
        ),
        Panel(
            "In quarantine", "Deliveries that wait for a decision.", "timeseries",
            (Query(names.QUARANTINE_DELIVERIES.name + _MODEL, "{{model}}"),), red_from=1,
        ),
        Panel(
            "Age of data and features", "Time since the end of the newest date that has them.", "timeseries",
            (
                Query(_age(names.DELIVERY_NEWEST), "{{model}} delivery"),
                Query(_age(names.FEATURE_NEWEST), "{{model}} {{view}}"),
            ),
            unit="s", red_from=48 * 3600,
        ),
        Panel(
            "Reading the records", "How long `mlops metrics` took.", "timeseries",
            (Query(names.COLLECT_DURATION.name, "seconds"),), unit="s",
        ),
    ),
)  # fmt: skip

RECORDS = (OVERVIEW, PERFORMANCE, DRIFT, PIPELINES)  # of what `mlops metrics` reads; the other is of what serves
DASHBOARDS = (*RECORDS, SERVING)


def files() -> Mapping[str, str]:
    """The dashboards as JSON, by file name."""
    return {
        f"{one.uid.removeprefix('mlops-')}.json": json.dumps(model(one), indent=2, ensure_ascii=False) + "\n"
        for one in DASHBOARDS
    }
