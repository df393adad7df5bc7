"""What a serving process tells of itself, as Prometheus metrics.

With several processes each keeps its numbers in files of a common folder, from which any of them answers for all
(prometheus_client's multiprocess mode, chosen by `PROMETHEUS_MULTIPROC_DIR` before the import).

One rule: what is asked a thousand times a second holds its children; labels are looked up once.
"""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from functools import cache
from math import isnan
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

from mlops import metric_names as names
from mlops.metric_names import Metric
from mlops.serving.answers import Answers

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServingMetrics:
    """The metrics of one process.

    Args:
        folder: of the numbers of all processes; "": this is the only one.
    """

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self.takeovers = self._counter(names.SERVING_TAKEOVERS)
        self.version = self._gauge(names.SERVING_VERSION, "mostrecent")
        self.waiting = self._gauge(names.SERVING_WAITING, "livesum")
        self.drift = self._gauge(names.SERVING_DRIFT, "livemax")
        self.logged = self._counter(names.LOG_ROWS)
        self.lost = self._counter(names.LOG_LOST)
        self.log_waiting = self._gauge(names.LOG_WAITING, "livesum")
        self._predictions = cache(self._counter(names.SERVING_PREDICTIONS).labels)
        self._duration = cache(self._histogram(names.SERVING_DURATION).labels)
        self._confidence = cache(self._counter(names.SERVING_CONFIDENCE).labels)
        self._requests = cache(self._counter(names.SERVING_REQUESTS).labels)

    def answered(
        self, model: str, version: int, answers: Answers, confidence: list[float | None] | None, seconds: float
    ) -> None:
        """Count the rows of one request."""
        self._duration(model).observe(seconds)
        outcomes = predicted(answers)
        if len(outcomes) == 1:
            self._predictions(model, version, outcomes[0]).inc()
        else:
            for outcome, count in Tally(outcomes).items():
                self._predictions(model, version, outcome).inc(count)
        if confidence is not None:
            self._confidence(model).inc(sum(value for value in confidence if value is not None))

    def request(self, model: str, status: int) -> None:
        """Count a request; `model` is "" where none was found."""
        self._requests(model, status).inc()

    def exposition(self) -> bytes:
        """All numbers of all processes, as Prometheus reads them."""
        return generate_latest(self._collector())

    def summary(self) -> dict[str, Any]:
        """The same for people and programs without Prometheus."""
        samples = [sample for family in self._collector().collect() for sample in family.samples]
        models = sorted({sample.labels["model"] for sample in samples if "model" in sample.labels})
        return {
            "models": {model: _of_model(samples, model) for model in models},
            "prediction_log": {
                "rows": int(_total(samples, names.LOG_ROWS)),
                "waiting_rows": int(_total(samples, names.LOG_WAITING)),
                "lost_rows": int(_total(samples, names.LOG_LOST)),
            },
        }

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self._registry)

    def _gauge(self, metric: Metric, mode: Literal["mostrecent", "livesum", "livemax"]) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry)

    def _collector(self) -> CollectorRegistry:
        if not self._folder:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self._folder)  # type: ignore[no-untyped-call]
        return registry


def predicted(answers: Answers) -> list[str]:
    """The class of each row, for counting: a label, anomaly or normal, value, or cannot_tell."""
    if answers.label is not None:
        return ["cannot_tell" if label is None else str(label) for label in answers.label]
    if answers.flag is None:
        return ["cannot_tell" if isnan(s) else "value" for s in answers.score]
    return ["cannot_tell" if flag is None else "anomaly" if flag else "normal" for flag in answers.flag]


def quantile(buckets: Mapping[float, float], q: float) -> float | None:
    """A quantile from cumulative counts by upper bound, linear within a bucket; None without observations.

    >>> quantile({1.0: 0.0, 2.0: 10.0, math.inf: 10.0}, 0.5)
    1.5
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return None
    low, before = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= q * total:
            if math.isinf(bound):
                return low
            share = (q * total - before) / ((buckets[bound] - before) or 1.0)
            return low + share * (bound - low)
        low, before = bound, buckets[bound]
    return low


def _of_model(samples: Iterable[Sample], model: str) -> dict[str, Any]:
    mine = [sample for sample in samples if sample.labels.get("model") == model]
    buckets: dict[float, float] = {}
    for sample in mine:
        if sample.name == f"{names.SERVING_DURATION.name}_bucket":
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
    predictions = _by(mine, names.SERVING_PREDICTIONS, "outcome")
    told = sum(count for outcome, count in predictions.items() if outcome != "cannot_tell")
    sure = _total(mine, names.SERVING_CONFIDENCE)
    latency = {f"p{100 * q:g}": quantile(buckets, q) for q in (0.5, 0.95, 0.99)}
    return {
        "version": int(max((s.value for s in mine if s.name == names.SERVING_VERSION.name), default=0)),
        "requests": _by(mine, names.SERVING_REQUESTS, "status"),
        "predictions": predictions,
        "latency_ms": {name: None if value is None else 1000 * value for name, value in latency.items()},
        "mean_confidence": sure / told if sure and told else None,
        "drift": {s.labels["column"]: s.value for s in mine if s.name == names.SERVING_DRIFT.name},
        "waiting_rows": int(_total(mine, names.SERVING_WAITING)),
        "takeovers": _by(mine, names.SERVING_TAKEOVERS, "outcome"),
    }


def _by(samples: Iterable[Sample], metric: Metric, label: str) -> dict[str, int]:
    """Counts by a label, summed over the others."""
    total: Tally[str] = Tally()
    for sample in samples:
        if sample.name == metric.name:
            total[sample.labels[label]] += int(sample.value)
    return dict(total)


def _total(samples: Iterable[Sample], metric: Metric) -> float:
    return float(sum(sample.value for sample in samples if sample.name == metric.name))
