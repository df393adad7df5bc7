"""Metrics reach Prometheus whole: as a page and as a file."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops import metric_names as names
from mlops.errors import ConfigError, StorageError
from mlops.monitoring.exposition import CONTENT_TYPE, Page, Sample, render, render_history, server, write

SAMPLES = [
    Sample(names.CHAMPION_VERSION, 3, ("fleet",)),
    Sample(names.CHAMPION_VERSION, 1, ('p"u\\m\np',)),
    Sample(names.COLLECT_DURATION, 0.25),
]


def test_the_text_holds_help_type_and_every_sample() -> None:
    """Each metric once, labels escaped as the format wants it."""
    from prometheus_client.parser import text_string_to_metric_families

    found = {family.name: family for family in text_string_to_metric_families(render(SAMPLES))}
    versions = found["mlops_champion_version"]
    assert (versions.type, versions.documentation) == ("gauge", names.CHAMPION_VERSION.help)
    assert {sample.labels["model"]: sample.value for sample in versions.samples} == {"fleet": 3, 'p"u\\m\np': 1}
    assert [sample.value for sample in found["mlops_collect_duration_seconds"].samples] == [0.25]


@pytest.mark.parametrize(
    "wrong",
    [
        Sample(names.CHAMPION_VERSION, 1),
        Sample(names.CHAMPION_VERSION, 1, ("fleet", "more")),
        Sample(names.CHAMPION_VERSION, 4, ("fleet",)),
        Sample(names.SERVING_REQUESTS, 1, ("fleet", "200")),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(wrong: Sample) -> None:
    """A label too few or too many, two values for one series, a counter that the records do not count."""
    with pytest.raises(ConfigError, match=wrong.metric.name):
        render([*SAMPLES, wrong])


def test_the_past_is_told_with_its_times() -> None:
    """Each value with when it was true, series by series, as OpenMetrics wants it; what does not fit is refused."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    first = datetime(2026, 3, 5, tzinfo=UTC)
    points = [(first, SAMPLES[:2]), (first + timedelta(days=1), SAMPLES[:1])]
    (family,) = text_string_to_metric_families(render_history(points))
    assert family.name == "mlops_champion_version"
    found = [(sample.labels["model"], float(str(sample.timestamp)), sample.value) for sample in family.samples]
    times = first.timestamp(), first.timestamp() + 86_400
    assert found == [("fleet", times[0], 3), ("fleet", times[1], 3), ('p"u\\m\np', times[0], 1)]
    with pytest.raises(ConfigError, match="mlops_serving_requests_total"):
        render_history([(first, [Sample(names.SERVING_REQUESTS, 1, ("fleet", "200"))])])


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    """It is replaced in one step; what cannot be written leaves nothing beside it."""
    file = tmp_path / "mlops.prom"
    write("old 1\n", file)
    write("new 1\n", file)
    assert [path.name for path in tmp_path.iterdir()] == ["mlops.prom"]
    assert file.read_text() == "new 1\n"
    (tmp_path / "folder.prom").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write("x", tmp_path / "folder.prom")
    assert {path.name for path in tmp_path.iterdir()} == {"mlops.prom", "folder.prom"}


def test_a_page_is_read_anew_when_it_is_old() -> None:
    """Two scrapes within `max_age_seconds` read the records once; an error is a 500 and no half page."""
    now, reads = [0.0], []

    def collect() -> list[Sample]:
        reads.append(now[0])
        return [Sample(names.COLLECT_DURATION, 1, ("too many",))] if len(reads) > 2 else SAMPLES

    page = Page(collect, max_age_seconds=10, clock=lambda: now[0])
    with server(page, "127.0.0.1", 0) as serving:
        threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{serving.server_port}"
        for moment in (0.0, 10.0, 11.0):
            now[0] = moment
            with urllib.request.urlopen(f"{url}/metrics?x=1", timeout=5) as answer:
                assert (answer.headers["Content-Type"], answer.read().decode()) == (CONTENT_TYPE, render(SAMPLES))
        assert reads == [0.0, 11.0]
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            assert answer.read() == b"well\n"
        for path, status in (("/metrics", 500), ("/other", 404)):
            now[0] = 99.0
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(f"{url}{path}", timeout=5)
            assert raised.value.code == status
        with pytest.raises(ConfigError, match="Choose another: --port"):
            server(page, "127.0.0.1", serving.server_port)
        serving.shutdown()
