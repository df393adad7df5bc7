"""Names of metrics keep Prometheus' conventions, so that rules and dashboards read alike everywhere."""

from __future__ import annotations

import re

import pytest

from mlops.metric_names import METRICS, Metric

SUFFIXES = {"seconds": "_seconds", "unix seconds": "_timestamp_seconds", "rows": "_rows", "ratio": "_ratio"}
UNBOUNDED = {"entity", "entity_id", "device_id", "date", "run_id", "run_key", "user"}


def test_every_name_stands_once() -> None:
    """Two metrics of one name would be added up."""
    names = [metric.name for metric in METRICS]
    assert len(names) > 20
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_its_unit(metric: Metric) -> None:
    """Prefix, unit, `_total` for counters alone, buckets for histograms alone, a sentence of help, bounded labels."""
    assert re.fullmatch(r"mlops_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith(SUFFIXES.get(metric.unit, ""))
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert re.fullmatch(r"[A-Z0-9].*\.", metric.help)
    assert not set(metric.labels) & UNBOUNDED
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)
