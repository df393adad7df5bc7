"""The stand-in for Airflow's scheduler, on small DAGs of its own in a process and database of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.dags, pytest.mark.timeout(300)]

DAGS = """
    from datetime import UTC, datetime
    from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, task
    from airflow.sdk.exceptions import AirflowSkipException

    DATA, FEATURES, MODEL, SCORES, DRIFT, NEVER = (
        Asset(f"tiny/{name}") for name in ("data", "features", "model", "scores", "drift", "never"))
    FORM = {"date": Param(None, type=["null", "string"])}
    COMMON = {"start_date": datetime(2026, 1, 1, tzinfo=UTC), "catchup": False}
    DAILY = CronTriggerTimetable("0 1 * * *", timezone="UTC")

    def dates(events):
        return sorted({event.extra["date"] for found in events.values() for event in found})

    @dag("ingestion__tiny", schedule=DAILY, **COMMON)
    def ingestion():
        @task(outlets=[DATA])
        def ingest(*, dag_run, outlet_events):
            if dag_run.conf.get("bad"):
                raise AirflowSkipException
            outlet_events[DATA].extra = {"date": dag_run.conf["date"]}
            return dag_run.conf["date"]
        ingest()

    @dag("features__tiny", schedule=[DATA], **COMMON)
    def features():
        @task
        def which(*, triggering_asset_events):
            return dates(triggering_asset_events)

        @task(outlets=[FEATURES])
        def build(days, *, outlet_events):
            outlet_events[FEATURES].extra = {"date": days[-1]}
            return days
        build(which())

    @dag("training__tiny", schedule=AssetOrTimeSchedule(timetable=DAILY, assets=DRIFT), params=FORM, **COMMON)
    def training():
        @task(outlets=[MODEL])
        def train(*, dag_run, params, triggering_asset_events, outlet_events):
            outlet_events[MODEL].extra = {"date": "model"}
            if told := dates(triggering_asset_events):
                return ["drift", params["date"], *told]
            return ["cron", params["date"]]
        train()

    @dag("inference__tiny", schedule=FEATURES | MODEL, **COMMON)
    def inference():
        @task(outlets=[SCORES])
        def score(*, triggering_asset_events, outlet_events):
            told = dates(triggering_asset_events)
            outlet_events[SCORES].extra = {"date": told[0]}
            return told
        score()

    @dag("monitoring__tiny", schedule=[SCORES], **COMMON)
    def monitoring():
        @task(outlets=[DRIFT])
        def watch(*, triggering_asset_events, outlet_events):
            told = dates(triggering_asset_events)
            if told == ["model"]:
                raise AirflowSkipException
            outlet_events[DRIFT].extra = {"date": told[0]}
        watch()

    @dag("both__tiny", schedule=[DATA, NEVER], **COMMON)
    def both():
        @task
        def wait_for_both(): ...
        wait_for_both()

    @dag("broken__tiny", schedule=None, **COMMON)
    def broken():
        @task
        def fail():
            raise ValueError("boom")
        @task
        def after(value): ...
        @task(trigger_rule="all_done")
        def tidy(value): ...
        value = fail()
        tidy(value)
        after(value)

    for make in (ingestion, features, training, inference, monitoring, both, broken):
        make()
"""

PROGRAM = """
    import json, sys
    from dataclasses import asdict
    from pathlib import Path
    from demo.scheduler import Scheduler, Start

    heard = []
    order = ("ingestion", "features", "training", "inference", "monitoring")
    scheduler = Scheduler(Path(sys.argv[1]), order, lambda dag_id, task_id: heard.append(f"{dag_id}/{task_id}"))
    day, night = {"date": "2026-03-01"}, {"date": "2026-03-02"}
    lives = {
        "night": [Start("training__tiny", "cron", night), Start("ingestion__tiny", "form", day),
                  Start("ingestion__tiny", "cron", night)],
        "bad": [Start("ingestion__tiny", "cron", {"bad": True})],
        "broken": [Start("broken__tiny", "form")],
        "again": [Start("ingestion__tiny", "cron", {"date": "2026-03-03"})],
    }
    told = {name: [asdict(run) for run in scheduler.live(starts)] for name, starts in lives.items()}
    print("TOLD" + json.dumps(told | {"heard": heard}))
"""


ENDED = """
    import sys
    from pathlib import Path
    from demo import environment
    from demo.life import watcher
    from demo.scheduler import Scheduler, Start
    from demo.terminal import Screen

    folder = Path(sys.argv[1]).parent / "demo"
    environment.fresh_folder(folder)
    on_task = watcher(folder, sys.stdout, Screen(sys.stdout))
    list(Scheduler(Path(sys.argv[1]), (), on_task).live([Start("ended__tiny", "form")]))
    print("lived on")
"""


def run(home: Path, dags: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, with an Airflow of its own below `home`, whose DAGs are `dags`."""
    folder = home / "dags"
    folder.mkdir()
    (folder / "tiny.py").write_text(textwrap.dedent(dags))
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "MLOPS_"))}
    environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    command = [sys.executable, "-c", textwrap.dedent(program), str(folder)]
    root = Path(__file__).parents[3]
    return subprocess.run(command, env=environ, cwd=root, capture_output=True, text=True, check=False, timeout=200)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the runs of the small DAGs told, by occasion."""
    done = run(tmp_path_factory.mktemp("airflow"), DAGS, PROGRAM)
    lines = [line for line in done.stdout.splitlines() if line.startswith("TOLD")]
    assert lines, done.stdout[-2000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("TOLD"))
    return found


def test_dags_follow_one_another_as_their_assets_say(told: dict[str, Any]) -> None:
    """Of what is ready the earliest step runs first, and what waits at the same DAG is one run, as with Airflow."""
    runs = [(run["dag_id"].split("__")[0], run["by"], run["events"]) for run in told["night"]]
    assert runs == [
        ("ingestion", "form", []),
        ("ingestion", "cron", []),
        ("features", "asset", ["tiny/data"]),
        ("training", "cron", []),
        ("inference", "asset", ["tiny/features", "tiny/model"]),
        ("monitoring", "asset", ["tiny/scores"]),
        ("training", "asset", ["tiny/drift"]),
        ("inference", "asset", ["tiny/model"]),
        ("monitoring", "asset", ["tiny/scores"]),
    ]


def test_tasks_see_the_events_that_started_them(told: dict[str, Any]) -> None:
    """A run finds in `triggering_asset_events` all events that waited, none that it had before, and no earlier form."""
    returned = [run["returned"] for run in told["night"]]
    assert returned[2][-1] == ["2026-03-01", "2026-03-02"]
    assert returned[3] == [["cron", "2026-03-02"]]
    assert returned[6] == [["drift", None, "2026-03-02"]]
    assert told["again"][1]["returned"][-1] == ["2026-03-03"]


def test_a_dag_that_waits_for_two_assets_is_not_started_by_one(told: dict[str, Any]) -> None:
    """A schedule of several Assets needs an event of each."""
    assert not [run for runs in told.values() for run in runs if "both__tiny" in str(run)]


def test_a_task_that_is_skipped_starts_nothing(told: dict[str, Any]) -> None:
    """Without an event no DAG follows, and the run is no failure."""
    (run,) = told["bad"]
    assert run["status"] == "success"
    assert [task["state"] for task in run["tasks"]] == ["skipped"]


def test_a_failed_task_fails_its_run_with_its_error(told: dict[str, Any]) -> None:
    """The first error is told; a leaf that runs whatever happens does not hide it, and other DAGs run on."""
    (run,) = told["broken"]
    assert run["status"] == "failed"
    assert run["error"] == "fail: boom"
    assert told["again"][0]["status"] == "success"


def test_tasks_are_told_of_as_they_start(told: dict[str, Any]) -> None:
    """Who watches hears of each task, in order."""
    assert told["heard"][:3] == ["ingestion__tiny/ingest", "ingestion__tiny/ingest", "features__tiny/which"]


def test_a_signal_ends_the_demo_even_inside_a_task(tmp_path: Path) -> None:
    """SIGTERM ends the process at once with 128 + 15, though Airflow's task runner takes the signal for itself."""
    dags = """
        import os, signal
        from airflow.sdk import dag, task

        @dag("ended__tiny", schedule=None)
        def ended():
            @task
            def wait():
                os.kill(os.getpid(), signal.SIGTERM)
            wait()

        ended()
    """
    done = run(tmp_path, dags, ENDED)
    assert done.returncode == 143, done.stdout + done.stderr
    assert "Ended by hand." in done.stdout
    assert "lived on" not in done.stdout
    assert (tmp_path / "demo" / ".mlops-demo").read_text() == ""
