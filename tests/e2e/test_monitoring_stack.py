"""From a drifting model to a webhook and back, through the real Prometheus and Alertmanager; and no panel is empty."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops import metric_names as names
from mlops.errors import NoDataError
from mlops.monitoring.exposition import Page, server
from mlops.pipelines import drift_workspace
from mlops.pipelines.metrics import collect
from mlops.pipelines.night import report_uri
from mlops.pipelines.tasks import execute_alone
from tests.e2e.conftest import Team
from tests.programs import free_port, program, running, waited_for
from tests.prometheus import Prometheus, empty_panels, prometheus
from tests.receivers import HttpReceiver, http_receiver

ROOT = Path(__file__).parents[2]
NIGHTLY = ("ingestion", "features", "inference", "monitoring")

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@dataclass(frozen=True)
class Stack:
    """Prometheus with the shipped rules, scraping an installation, and Alertmanager with the shipped routes."""

    prometheus: Prometheus
    receiver: HttpReceiver

    def told(self, status: str, alertname: str) -> list[dict[str, Any]]:
        """The alerts of a name that the receiver was told of in this state."""
        sent = [json.loads(request.body) for request in self.receiver.requests]
        alerts = [alert for message in sent for alert in message["alerts"]]
        return [a for a in alerts if (a["status"], a["labels"]["alertname"]) == (status, alertname)]


def alertmanager_config(receiver: str) -> dict[str, Any]:
    """The shipped routes without their patience, every receiver a webhook."""
    shipped: dict[str, Any] = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text("utf-8"))
    for route in (shipped["route"], *shipped["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    for each in shipped["receivers"]:
        each["webhook_configs"] = [{"url": f"{receiver}/{each['name']}", "send_resolved": True}]
    return shipped


@pytest.fixture
def stack(team: Team, tmp_path: Path) -> Iterator[Stack]:
    """Both servers on free ports, and a page of the team's records to scrape."""
    alertmanager, port = program("prometheus-alertmanager"), free_port()
    page = Page(lambda: collect(team.services), max_age_seconds=0.2)
    with http_receiver() as receiver, server(page, "127.0.0.1", 0) as serving:
        threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
        (tmp_path / "am.yml").write_text(yaml.safe_dump(alertmanager_config(receiver.url)))
        am = [alertmanager, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/am"]
        am += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
        shipped = {
            "rule_files": [str(ROOT / "deploy/prometheus/rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]},
        }
        scraped = [f"127.0.0.1:{serving.server_port}"]
        watching = prometheus(tmp_path, scraped, "--rules.alert.resend-delay=1s", **shipped)
        with running(am, tmp_path / "am.log"), watching as watch:
            waited_for(lambda: watch.ask("mlops_model_info"), "Prometheus scrapes")
            yield Stack(watch, receiver)
        serving.shutdown()


def test_nights_are_put_into_evidentlys_workspace_once_with_what_was_decided(team: Team, tmp_path: Path) -> None:
    """One run a night, with its date, verdict, values and thresholds; a second call adds nothing; no night is told."""
    day = team.history()
    for step in ("training", "validation", "promotion", "inference", "monitoring"):
        team.run(step, day)
    spec, folder = team.services.spec("presses"), tmp_path / "workspace"
    assert drift_workspace.fill(team.services, spec, folder, day - timedelta(days=1), day) == [day]
    assert drift_workspace.fill(team.services, spec, folder, day, day) == []
    with pytest.raises(NoDataError, match="no night from"):
        drift_workspace.fill(team.services, spec, folder, day + timedelta(days=1), day + timedelta(days=2))
    from evidently.ui.workspace import Workspace

    workspace = Workspace(str(folder))
    (project,) = workspace.search_project("presses")
    (run,) = (workspace.get_run(project.id, number) for number in workspace.list_runs(project.id))
    kept = team.services.storage.read_json(report_uri(team.services, spec, day, "drift.json"))
    assert (run.metadata["night"], run.metadata["verdict"]) == (str(day), kept["verdict"])
    shown = {result.display_name: result for result in run.metric_results.values()}
    assert shown
    decided = {column["value"] for column in kept["columns"] if column["value"] is not None}
    assert {result.value for result in shown.values()} <= decided


def night(team: Team, day: Any, heat: float = 0.0) -> str:
    """One night in which all presses are hotter by so much; what monitoring says."""
    frame = team.readings(day)
    team.deliver(day, frame.assign(heat=(frame["heat"] + heat).clip(-40, 190)))
    said = [team.run(step, day).outcome for step in NIGHTLY][-1]
    execute_alone("performance", team.services, team.services.spec("presses"), day, tonight=True)
    return said


def test_drift_fires_reaches_the_webhook_and_is_resolved_and_no_panel_is_empty(team: Team, stack: Stack) -> None:
    """A champion, a night in which the world has moved, and two in which it is back: one alert, with all it says."""
    day = team.history()
    outcomes = [team.run(step, day).outcome for step in ("training", "validation", "promotion")]
    assert outcomes == ["done"] * 3
    assert night(team, day + timedelta(days=1), heat=80) == "no"
    (alert,) = waited_for(lambda: stack.told("firing", "MlopsDrift"), "the webhook hears of drift")
    assert alert["labels"]["model"] == "presses"
    assert alert["annotations"]["goes_on"].startswith("The champion goes on scoring")
    assert waited_for(lambda: stack.prometheus.ask('ALERTS{alertname="MlopsDrift",alertstate="firing"}'), "it fires")
    assert night(team, day + timedelta(days=2)) == "done"
    (over,) = waited_for(lambda: stack.told("resolved", "MlopsDrift"), "the webhook hears that it is over")
    assert over["labels"] == alert["labels"]
    assert len(stack.told("firing", "MlopsDrift")) == 1
    assert night(team, day + timedelta(days=3)) == "done"  # windows of features reach back into the day before
    # Of the night that had moved nothing could be estimated; of this one all is there, and no panel may be empty.
    waited_for(lambda: stack.prometheus.ask(names.PERFORMANCE_ESTIMATE.name), "estimates are scraped")
    assert empty_panels(stack.prometheus) == []
    assert [one.state for one in team.services.alerts.list_incidents("presses")] == ["resolved"]
