"""The metrics that Prometheus sees: every name once, with what it means, its unit and its labels.

What serves counts its own requests; everything else is read from the records by `mlops metrics`. Rules, dashboards and
docs are made from, or tested against, this list.

One rule: a name says its unit (`_seconds`, `_rows`, `_ratio`, `_total` for a counter), and a label never holds what
grows without bound (no entity, no date, no run).

References:
    Prometheus documentation, "Metric and label naming" and "Instrumentation".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]
Unit = Literal["seconds", "unix seconds", "rows", "ratio", "requests", "predictions", "count", "yes or no", "own"]

# Upper bounds of a request's time [s]: from what a model costs that is in memory to what a client gives up on.
REQUEST_SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: Kind
    help: str
    unit: Unit  # "yes or no": 1 or 0; "own": that of what is measured, which a label names
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # of a histogram, upper bounds in its unit


# The platform.
MODEL_INFO = Metric(
    "mlops_model_info", "gauge", "1 for every model with a spec.", "yes or no", ("model", "owner", "task")
)
COLLECT_DURATION = Metric("mlops_collect_duration_seconds", "gauge", "How long reading the records took.", "seconds")
COLLECT_UP = Metric(
    "mlops_collect_up",
    "gauge",
    "0 if the records of a part could not be read: its metrics are missing.",
    "yes or no",
    ("model", "part"),
)

# Pipelines.
STEP_LAST_RUN = Metric(
    "mlops_step_last_run_timestamp_seconds",
    "gauge",
    "When a step has last ended without an error.",
    "unix seconds",
    ("model", "step"),
)
STEP_LAST_SUCCESS = Metric(
    "mlops_step_last_success_timestamp_seconds",
    "gauge",
    "When a step has last ended with done or nothing to do.",
    "unix seconds",
    ("model", "step"),
)
STEP_LAST_DURATION = Metric(
    "mlops_step_last_duration_seconds", "gauge", "How long a step took the last time.", "seconds", ("model", "step")
)
STEP_LAST_OUTCOME = Metric(
    "mlops_step_last_outcome",
    "gauge",
    "1 for the outcome a step had last, 0 for the others.",
    "yes or no",
    ("model", "step", "outcome"),
)

# Incidents and alerts.
INCIDENTS = Metric(
    "mlops_incidents", "gauge", "Incidents that are not resolved.", "count", ("model", "kind", "severity", "state")
)
ALERTS_UNDELIVERED = Metric(
    "mlops_alerts_undelivered",
    "gauge",
    "Alerts that wait because their channel has not taken them.",
    "count",
    ("channel",),
)
ALERTS_OLDEST_UNDELIVERED = Metric(
    "mlops_alerts_oldest_undelivered_timestamp_seconds",
    "gauge",
    "Since when the oldest alert waits; 0 if none does.",
    "unix seconds",
    ("channel",),
)

# Data and features.
DELIVERY_ROWS = Metric("mlops_delivery_rows", "gauge", "Rows of the newest validated delivery.", "rows", ("model",))
DELIVERY_NEWEST = Metric(
    "mlops_delivery_newest_timestamp_seconds",
    "gauge",
    "End of the newest validated delivery's date.",
    "unix seconds",
    ("model",),
)
QUARANTINE_DELIVERIES = Metric(
    "mlops_quarantine_deliveries", "gauge", "Deliveries that wait in quarantine.", "count", ("model",)
)
FEATURE_NEWEST = Metric(
    "mlops_feature_newest_timestamp_seconds",
    "gauge",
    "End of the newest date that has features.",
    "unix seconds",
    ("model", "view"),
)

# Versions and decisions.
CHAMPION_VERSION = Metric(
    "mlops_champion_version", "gauge", "Version that is champion by the ledger; absent if none.", "count", ("model",)
)
CHAMPION_SINCE = Metric(
    "mlops_champion_since_timestamp_seconds",
    "gauge",
    "Since when the champion is champion.",
    "unix seconds",
    ("model",),
)
GATE_VERDICT = Metric(
    "mlops_gate_verdict",
    "gauge",
    "1 for the verdict of a gate in the newest decision, 0 for the others.",
    "yes or no",
    ("model", "gate", "verdict"),
)
DECISION_VERDICT = Metric(
    "mlops_decision_verdict",
    "gauge",
    "1 for the verdict of the newest decision on a challenger, 0 for the others.",
    "yes or no",
    ("model", "verdict"),
)

# Predictions.
PREDICTION_ROWS = Metric(
    "mlops_prediction_rows", "gauge", "Rows of the newest batch of predictions.", "rows", ("model",)
)
PREDICTION_SCORED_ROWS = Metric(
    "mlops_prediction_scored_rows",
    "gauge",
    "Of these, rows with a score; the others are cannot tell.",
    "rows",
    ("model",),
)
PREDICTION_FLAGGED_ROWS = Metric(
    "mlops_prediction_flagged_rows", "gauge", "Of these, rows flagged: anomalies or positives.", "rows", ("model",)
)
PREDICTION_CONFIDENCE = Metric(
    "mlops_prediction_confidence_ratio",
    "gauge",
    "Mean probability of the classes answered in the newest batch; of classifiers alone.",
    "ratio",
    ("model",),
)
PREDICTION_UNSURE_ROWS = Metric(
    "mlops_prediction_unsure_rows",
    "gauge",
    "Rows whose class answered has a probability below 0.6; of classifiers alone.",
    "rows",
    ("model",),
)
PREDICTION_ALARMS = Metric(
    "mlops_prediction_alarms", "gauge", "Alarms of the newest batch, as onsets per entity.", "count", ("model",)
)
PREDICTION_NEWEST = Metric(
    "mlops_prediction_newest_timestamp_seconds",
    "gauge",
    "End of the newest date that has predictions.",
    "unix seconds",
    ("model",),
)

# Drift and performance.
DRIFT_VERDICT = Metric(
    "mlops_drift_verdict",
    "gauge",
    "1 for the verdict of the newest drift report, 0 for the others.",
    "yes or no",
    ("model", "verdict"),
)
DRIFT_DEGREE = Metric(
    "mlops_drift_degree",
    "gauge",
    "1 for how much the newest drift report matters, 0 for the others.",
    "yes or no",
    ("model", "degree"),
)
DRIFT_SHARE = Metric(
    "mlops_drift_share_ratio",
    "gauge",
    "Share of the columns in drift, of those that could be judged.",
    "ratio",
    ("model",),
)
DRIFT_VALUE = Metric(
    "mlops_drift_value",
    "gauge",
    "Value of the measure of a column; absent if it cannot tell.",
    "own",
    ("model", "column"),
)
DRIFT_THRESHOLD = Metric(
    "mlops_drift_threshold", "gauge", "Threshold of a column, in the measure's own unit.", "own", ("model", "column")
)
DRIFT_NEWEST = Metric(
    "mlops_drift_newest_timestamp_seconds",
    "gauge",
    "End of the newest date that was looked at for drift.",
    "unix seconds",
    ("model",),
)
PERFORMANCE = Metric(
    "mlops_performance",
    "gauge",
    "Realised metric of the newest date whose labels are mature; absent if none is.",
    "own",
    ("model", "metric"),
)
PERFORMANCE_ESTIMATE = Metric(
    "mlops_performance_estimate",
    "gauge",
    "Metric of the newest predictions as estimated without labels, with the ends of its interval; absent if unknown.",
    "own",
    ("model", "metric", "bound"),
)
ESTIMATES_HELD = Metric(
    "mlops_performance_estimates_held_ratio",
    "gauge",
    "Share of the last nights whose truth lay in the interval that was estimated before; absent before the first.",
    "ratio",
    ("model",),
)

# Serving: counted by the process that serves.
SERVING_REQUESTS = Metric(
    "mlops_serving_requests_total", "counter", "Requests answered, by HTTP status.", "requests", ("model", "status")
)
SERVING_DURATION = Metric(
    "mlops_serving_request_duration_seconds",
    "histogram",
    "Time from request to answer.",
    "seconds",
    ("model",),
    REQUEST_SECONDS,
)
SERVING_PREDICTIONS = Metric(
    "mlops_serving_predictions_total",
    "counter",
    "Rows predicted, by what came out: the class, anomaly, normal, value, or cannot_tell.",
    "predictions",
    ("model", "version", "outcome"),
)
SERVING_VERSION = Metric(
    "mlops_serving_version", "gauge", "Version that is loaded, by its role.", "count", ("model", "role")
)
SERVING_CONFIDENCE = Metric(
    "mlops_serving_confidence_total",
    "counter",
    "Sum of the probabilities of the classes answered; over the predictions with a class it is their mean.",
    "own",
    ("model",),
)
SERVING_TAKEOVERS = Metric(
    "mlops_serving_takeovers_total",
    "counter",
    "Versions that took over, or were refused, in a serving process.",
    "count",
    ("model", "outcome"),
)
SERVING_WAITING = Metric("mlops_serving_waiting_rows", "gauge", "Rows that wait in the queue.", "rows", ("model",))
SERVING_DRIFT = Metric(
    "mlops_serving_drift_value",
    "gauge",
    "Population stability index of what came in of late; absent while it cannot tell.",
    "own",
    ("model", "column"),
)
LOG_ROWS = Metric(
    "mlops_prediction_log_rows_total", "counter", "Rows that the prediction log has on disk.", "predictions"
)
LOG_LOST = Metric("mlops_prediction_log_lost_rows_total", "counter", "Rows that it has lost.", "predictions")
LOG_WAITING = Metric(
    "mlops_prediction_log_waiting_rows", "gauge", "Rows that wait in memory because the disk refuses.", "rows"
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


def markdown() -> str:
    """All metrics as a table.

    >>> "| `mlops_champion_version` | gauge | count | `model` |" in markdown()
    True
    """
    lines = ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"
