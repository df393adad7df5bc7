"""`make demo`, whole: eight nights through Airflow, and what a person finds afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops.config import MLOpsConfig
from mlops.data.fleet import CHANNELS
from mlops.governance.ledger import Ledger
from mlops.services import Services
from tests.programs import free_port, program, running, waited_for
from tests.prometheus import empty_panels, panels, prometheus

ROOT = Path(__file__).parents[2]
STEPS = ["ingestion", "features", "training", "validation", "promotion", "inference", "monitoring"]

pytestmark = [pytest.mark.slow, pytest.mark.dags, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Demo:
    """A demo that was run."""

    code: int
    shown: str
    folder: Path
    summary: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """All steps of all nights."""
        return [step for night in self.summary["nights"] for step in night["steps"]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo as `make demo` runs it, in a folder of its own, whatever the settings of the shell it starts from."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environ = os.environ | {"MLOPS_VAR": str(elsewhere), "MLOPS_LEDGER_URL": f"sqlite:///{elsewhere}/ledger.db"}
    environ.pop("COLUMNS", None)  # the width of that shell is not the width that README shows
    command = [sys.executable, "-m", "mlops.cli", "demo", "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    summary = folder / "summary.json"
    assert summary.exists(), f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert list(elsewhere.iterdir()) == [], "the demo wrote into another installation"
    return Demo(done.returncode, done.stdout, folder, json.loads(summary.read_text()))


def test_all_that_should_happen_does(demo: Demo) -> None:
    """Exit 0, and every expectation of the story holds."""
    broken = [e for e in demo.summary["expectations"] if not e["held"]]
    assert broken == []
    assert demo.code == 0, demo.shown


def test_the_steps_run_in_the_order_of_the_assets(demo: Demo) -> None:
    """In the first night every pipeline runs once, in order; what a clock does not start is started by an Asset."""
    first = demo.summary["nights"][0]["steps"]
    assert [step["step"] for step in first] == STEPS
    assert [step["started_by"] for step in first] == ["cron", "asset", "cron", "asset", "asset", "asset", "asset"]


def test_the_champion_goes_on_serving_beside_a_quarantine(demo: Demo) -> None:
    """On the corrupt night nothing is published or promoted; the night after, the same champion scores both dates."""
    corrupt, after = demo.summary["nights"][2:4]
    assert [step["step"] for step in corrupt["steps"]] == ["ingestion", "training"]
    assert corrupt["champion"] == demo.summary["nights"][1]["champion"]
    scored = [step for step in after["steps"] if step["step"] == "inference"]
    assert scored[0]["dates"] == [corrupt["date"], after["date"]]
    assert scored[0]["champion"] == corrupt["champion"]


def test_the_ledger_knows_who_was_champion_in_which_night(demo: Demo) -> None:
    """Records are stamped as of the nights they were made in, so `champion_at` answers for each of them."""
    ledger = Ledger(f"sqlite:///{demo.folder}/ledger/ledger.db")
    for night in demo.summary["nights"]:
        morning = datetime.fromisoformat(night["date"]).replace(tzinfo=UTC) + timedelta(days=1, hours=6)
        entry = ledger.champion_at("fleet_anomaly", morning)
        assert entry is not None
        assert entry.body["version"] == night["champion"]
    before = datetime.fromisoformat(demo.summary["nights"][0]["date"]).replace(tzinfo=UTC)
    assert ledger.champion_at("fleet_anomaly", before) is None


def test_a_drift_alarm_starts_a_training_of_its_own(demo: Demo) -> None:
    """An incident tells of it in the night it begins; its Asset starts one training when there is enough to learn."""
    nights = demo.summary["nights"]
    alarms = [s for night in nights for s in night["steps"] if s["step"] == "monitoring" and s["outcome"] == "no"]
    assert alarms[0] in nights[4]["steps"]
    assert "drift" in [incident["kind"] for incident in alarms[0]["incidents"]]
    trainings = [
        (night["number"], place)
        for night in nights
        for place, s in enumerate(night["steps"])
        if s["trained_because"] == "drift"
    ]
    assert [number for number, _ in trainings] == [7]
    number, place = trainings[0]
    steps = nights[number - 1]["steps"]
    assert steps[place]["events"] == ["fleet_anomaly/drift"]
    assert (steps[place - 1]["step"], steps[place - 1]["outcome"]) == ("monitoring", "no")
    assert [report["retrain"] for s in alarms for report in s["drift"]].count(True) == 1


def test_a_quiet_week_then_one_incident_one_alert_one_training(demo: Demo) -> None:
    """Nothing before the change; then all devices and what they measure are named, and one training is started."""
    quiet, loud = demo.summary["nights"][:4], demo.summary["nights"][4]
    looked = [step for night in quiet for step in night["steps"] if step["step"] == "monitoring"]
    verdicts = [report["verdict"] for step in looked for report in step["drift"]]
    assert verdicts == ["no_drift"] * 4  # four dates: the corrupt one is looked at when it is released
    (told,) = [r for s in loud["steps"] if s["step"] == "monitoring" for r in s["drift"]]
    assert (told["verdict"], told["degree"], told["since"]) == ("drift", "with_consequence", loud["date"])
    assert sorted(told["entities"]) == sorted(f"pump-{number:02d}" for number in range(1, demo.summary["devices"] + 1))
    named = {column["column"] for column in told["columns"] if column["verdict"] == "drift"}
    assert {channel for channel in CHANNELS if any(channel in column for column in named)} == set(CHANNELS)
    store = Services.open(MLOpsConfig.build({"home": ROOT, "var": str(demo.folder)})).alerts.store
    (incident,) = store.incidents("fleet_anomaly", "drift")
    assert incident.state == "resolved"
    acts = [act.what for act in store.history(incident.number)]
    assert [what for what in acts if what != "reminder"] == ["opened", "resolved"]
    assert [s["trained_because"] for s in demo.steps].count("drift") == 1


def test_every_judgement_has_its_gates_with_numbers_and_reasons(demo: Demo) -> None:
    """A validation names its gates; each has a verdict and a reason, and the comparison a number and a limit."""
    judged = [step for step in demo.steps if step["step"] == "validation" and step["outcome"] != "nothing_to_do"]
    assert judged
    for step in judged:
        assert all(gate["verdict"] in ("pass", "fail", "cannot_tell") and gate["reason"] for gate in step["gates"])
        names = {gate["name"]: gate for gate in step["gates"]}
        compared = names.get("better_than_champion") or names["reaches_floor_and_beats_dummy"]
        assert isinstance(compared["value"], float)
        assert isinstance(compared["limit"], float)


def test_the_terminal_tells_every_step_and_where_things_are(demo: Demo) -> None:
    """One line per step and no log lines of libraries; the addresses at the end are there."""
    lines = demo.shown.splitlines()
    told = [line for line in lines if re.match(rf"  ({'|'.join(STEPS)}) +[✓·!?✗] ", line)]
    assert len(told) == len(demo.steps)
    assert not [line for line in lines if "WARNING" in line or "Traceback" in line]
    for name in ("report.html", "summary.json", "demo.log"):
        assert any(str(demo.folder / name) in line for line in lines)
        assert (demo.folder / name).exists()


def test_the_page_is_whole(demo: Demo) -> None:
    """The page has a field for every step and leads to files that exist."""
    page = (demo.folder / "report.html").read_text()
    assert page.count('<button class="run ') == len(demo.steps)
    links = re.findall(r"<footer>.*?</footer>", page, flags=re.DOTALL)[0]
    addresses = re.findall(r'href="([^"]+)"', links)
    assert addresses
    assert all((demo.folder / address).exists() for address in addresses)


def test_no_panel_is_empty_of_what_the_demo_wrote(demo: Demo, tmp_path: Path) -> None:
    """All queries of all dashboards on its newest records; those of drift and performance on all its nights."""
    program("prometheus")
    first, last = (date.fromisoformat(demo.summary["nights"][place]["date"]) for place in (0, -1))
    environ = os.environ | {"MLOPS_VAR": str(demo.folder), "PYTHONPATH": str(ROOT)}
    mlops = [sys.executable, "-m", "mlops.cli", "metrics"]
    past = [*mlops, "history", str(tmp_path / "past.om"), "--from", str(first), "--to", str(last)]
    subprocess.run(past, cwd=ROOT, env=environ, check=True, timeout=300)
    blocks = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "past.om", "tsdb"]
    subprocess.run(blocks, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    port = free_port()
    serve = ["env", f"MLOPS_VAR={demo.folder}", f"PYTHONPATH={ROOT}", *mlops, "serve", "--port", str(port)]
    keep = "--storage.tsdb.retention.time=100y"  # nights of long ago are not swept out
    with running(serve, tmp_path / "serve.log"), prometheus(tmp_path, [f"127.0.0.1:{port}"], keep) as server:
        waited_for(lambda: server.ask("mlops_model_info"), "Prometheus scrapes the demo's records", 180)
        assert empty_panels(server) == []
        asked = [(where, expr) for where, panel, expr in panels() if panel.kind == "timeseries"]
        start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) for day in (first, last))
        nights = [entry["date"] for entry in demo.summary["nights"]]
        for where, expr in asked:
            if where.startswith(("mlops: model performance", "mlops: drift")):
                found = server.days(expr, start, end + timedelta(hours=23))
                assert found, where
                # The corrupt night has nothing of its own until it is released; all others have.
                assert max(len(days) for days in found) >= len(nights) - 1, where


def test_a_task_stays_within_its_memory(demo: Demo) -> None:
    """All tasks of all nights in one process stay below 1.5 GB, so each of them does."""
    assert demo.summary["peak_rss_mb"] < 1500


def test_readme_shows_what_the_demo_shows(demo: Demo) -> None:
    """The table in README has the outcomes of this run, night by night; only seconds may differ."""
    shown = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- demo output: begin -->")[1]
    assert nights(shown) == nights(demo.shown)
    assert len(nights(shown)) == 8


def nights(text: str) -> list[list[str]]:
    """The rows of the last table: number, date and outcomes, without the seconds."""
    rows = [line.split() for line in text.splitlines() if re.match(r"\d  \d\d [A-Z][a-z]{2}  ", line)]
    return [row[:-1] for row in rows]


def test_what_readme_asks_after_the_demo_is_answered_so(demo: Demo, tmp_path: Path) -> None:
    """The commands of README's chapter, run on the demo's folder, print what it shows; `…` is anything."""
    home = tmp_path / "home"
    (home / "var").mkdir(parents=True)
    (home / "var" / "demo").symlink_to(demo.folder)  # MLflow knows its artifacts by where they are: no copy
    for name in ("config", "feature_repo"):
        (home / name).symlink_to(ROOT / name)
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MLOPS_HOME": str(home)}
    environ |= {"MLOPS_VAR": "var/demo", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    environ.pop("COLUMNS", None)
    asked = 0
    for command, code, expected in examples():
        done = subprocess.run(
            ["bash", "-c", command], cwd=home, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{command}\n{said}"
        pattern = re.escape(expected).replace("…", "[^\n]*")
        assert re.fullmatch(pattern, squeezed(said)), f"{command}\n{said}\nREADME shows:\n{expected}"
        asked += 1
    assert asked >= 9


def examples() -> list[tuple[str, int, str]]:
    """Command, exit code (`# exit N`, else 0) and output of each example of the chapter."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    chapter = readme.split("<!-- after the demo: begin -->")[1].split("<!-- after the demo: end -->")[0]
    found = []
    for block in re.findall(r"```console\n(.*?)```", chapter, re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            code = re.search(r"# exit (\d)", command)
            found.append((command, int(code[1]) if code else 0, squeezed(output)))
    return found


def squeezed(text: str) -> str:
    """Text whose lines carry no trailing blanks."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
