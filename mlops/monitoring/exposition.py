"""Metrics as Prometheus reads them: a page to scrape, or a file for node_exporter's textfile collector.

One rule: a sample fits its metric, name for name and label for label, or it is an error here and no surprise there.

References:
    Prometheus documentation, "Exposition formats"; prometheus/node_exporter, "Textfile Collector".
"""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mlops import log
from mlops.errors import ConfigError, MLOpsError, StorageError
from mlops.metric_names import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()  # in the metric's order


def render(samples: Iterable[Sample]) -> str:
    """The text that Prometheus reads, metric by metric.

    Raises:
        ConfigError: a sample does not fit its metric, or stands there twice.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily

    families: dict[str, Any] = {}
    seen = set()
    for sample in samples:
        metric = _fitting(sample)
        if (metric.name, sample.labels) in seen:
            raise ConfigError(f"{metric.name}{sample.labels} has two values.")
        seen.add((metric.name, sample.labels))
        family = families.setdefault(metric.name, GaugeMetricFamily(metric.name, metric.help, labels=metric.labels))
        family.add_metric(sample.labels, sample.value)

    class Collector:
        def collect(self) -> Iterable[Any]:
            return [families[name] for name in sorted(families)]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry).decode("utf-8")


def render_history(points: Iterable[tuple[datetime, Sequence[Sample]]]) -> str:
    """What was true at several times, as OpenMetrics text: for `promtool tsdb create-blocks-from openmetrics`.

    Args:
        points: times, aware, and what was true then; in order of time.

    Raises:
        ConfigError: a sample does not fit its metric.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.openmetrics.exposition import generate_latest

    series: dict[tuple[str, tuple[str, ...]], list[tuple[float, float]]] = {}
    metrics: dict[str, Metric] = {}
    for at, samples in points:
        for sample in samples:
            metric = _fitting(sample)
            metrics[metric.name] = metric
            series.setdefault((metric.name, sample.labels), []).append((at.timestamp(), sample.value))
    families = {
        name: GaugeMetricFamily(name, metrics[name].help, labels=metrics[name].labels) for name in sorted(metrics)
    }
    for (name, labels), values in series.items():
        for seconds, value in values:
            families[name].add_metric(labels, value, timestamp=seconds)

    class Collector:
        def collect(self) -> Iterable[Any]:
            return families.values()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    text: str = generate_latest(registry).decode("utf-8")  # type: ignore[no-untyped-call]
    return text


def _fitting(sample: Sample) -> Metric:
    """The metric of a sample that fits it."""
    metric = sample.metric
    if metric.kind != "gauge" or len(sample.labels) != len(metric.labels):
        raise ConfigError(f"{metric.name} is a {metric.kind} with labels {metric.labels}; given {sample.labels}.")
    return metric


def write(text: str, path: Path) -> None:
    """Write a file for the textfile collector: all of it or, for a reader at the wrong moment, the one before.

    Raises:
        StorageError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error


class Page:
    """The page to scrape, made anew when it is older than `max_age_seconds`.

    Args:
        collect: reads the samples.
        max_age_seconds: how old an answer may be [s]: two Prometheus servers cost as much as one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        collect: Callable[[], Sequence[Sample]],
        *,
        max_age_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collect, self._max_age, self._clock = collect, max_age_seconds, clock
        self._text, self._made_at = "", float("-inf")
        self._lock = threading.Lock()

    def text(self) -> str:
        """The metrics as text."""
        with self._lock:
            if self._clock() - self._made_at > self._max_age:
                self._text, self._made_at = render(self._collect()), self._clock()
            return self._text


def server(page: Page, host: str, port: int) -> http.server.ThreadingHTTPServer:
    """An HTTP server with `GET /metrics`, to be run by `serve_forever`.

    Raises:
        ConfigError: the port cannot be had.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers: Mapping[str, Callable[[], str]] = {"/metrics": page.text, "/health": lambda: "well\n"}
            found = answers.get(self.path.partition("?")[0])
            if found is None:
                self.send_error(404, explain="Ask for /metrics.")
                return
            try:
                body = found().encode()
            except MLOpsError as error:
                _log.error("The metrics could not be read: %s", error)
                self.send_error(500, explain="See the log of mlops metrics serve.")
                return
            try:
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError as error:
                _log.warning("Who asked for the metrics did not wait for them: %s", error)

        def log_message(self, *_: Any) -> None:
            """A scrape every 15 seconds is not worth a line."""

    try:
        return http.server.ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(
            f"Port {port} of {host} cannot be had: {error.strerror}.", hint="Choose another: --port"
        ) from error
