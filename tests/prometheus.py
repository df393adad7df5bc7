"""A Prometheus on a port of its own, and the panels of the dashboards asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from mlops.monitoring.dashboards import RECORDS
from mlops.monitoring.grafana import Dashboard, Panel
from tests.programs import free_port, get_json, program, running


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """What it answers now."""
        found: list[dict[str, Any]] = get_json(f"{self.url}/api/v1/query?query={quote(expr)}")["data"]["result"]
        return found

    def days(self, expr: str, start: datetime, end: datetime) -> list[set[str]]:
        """On which days each series of an answer has values, looked at every hour from `start` to `end`."""
        asked = urlencode({"query": expr, "start": start.timestamp(), "end": end.timestamp(), "step": 3600})
        series = get_json(f"{self.url}/api/v1/query_range?{asked}")["data"]["result"]
        return [{datetime.fromtimestamp(at, UTC).date().isoformat() for at, _ in one["values"]} for one in series]


@contextmanager
def prometheus(folder: Path, targets: Sequence[str], *options: str, **config: Any) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these addresses every second, for as long as the block lasts.

    Args:
        folder: its settings, log and, below `tsdb`, its data.
        targets: `host:port` of what it scrapes.
        options: of its command line.
        config: of its settings, beside what is scraped.
    """
    port = free_port()
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "mlops", "static_configs": [{"targets": list(targets)}]}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings | config))
    command = [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with running([*command, f"--web.listen-address=127.0.0.1:{port}", *options], folder / "prometheus.log"):
        yield Prometheus(f"http://127.0.0.1:{port}")


def panels(dashboards: Sequence[Dashboard] = RECORDS) -> list[tuple[str, Panel, str]]:
    """Every query of every panel of the dashboards, for all models: where it stands, its panel, the expression."""
    return [
        (f"{dashboard.title} / {panel.title}", panel, query.expr.replace("$model", ".*"))
        for dashboard in dashboards
        for panel in dashboard.panels
        for query in panel.queries
    ]


def empty_panels(server: Prometheus) -> list[str]:
    """The panels of the records' dashboards with a query that Prometheus answers with nothing, or with an error."""
    asked = panels()
    assert len(asked) > 20
    return [f"{where}: {expr}" for where, _, expr in asked if not server.ask(expr)]
