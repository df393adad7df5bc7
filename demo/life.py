"""The demo from beginning to end: setup, history, nights, summary, expectations, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from demo import report, series, story
from demo.environment import MODEL, end_on_signal
from demo.nights import World, live_history, live_night, peak_rss_mb, summarise
from demo.plan import FIRST_DAY, HISTORY_DAYS, Plan
from demo.scheduler import Scheduler
from demo.summary import Summary, to_json
from demo.terminal import Screen
from demo.wording import STEPS
from mlops.services import Services


def run(home: Path, folder: Path, terminal: IO[str], plan: Plan, began: float, started_at: datetime) -> int:
    """Live through the plan and write what came of it; the answer is the exit code.

    Args:
        home: the repository.
        folder: the demo's folder, fresh, with its settings in the environment.
        terminal: where to tell of it.
        plan: what is delivered when.
        began: `time.perf_counter()` at the start of the demo.
        started_at: the same moment, UTC.
    """
    screen = Screen(terminal)
    screen.title(plan, MODEL)
    with screen.working("Airflow: database and DAGs"):
        world = _world(home, plan, screen, watcher(folder, terminal, screen))
    parts = {"setup": time.perf_counter() - began}
    history = live_history(world)
    nights, champion = [], None
    for night in plan.nights:
        lived = live_night(world, night, champion)
        champion = lived.champion
        nights.append(lived)
    parts |= {"history": history.seconds, "nights": sum(night.seconds for night in nights)}
    screen.console.print()
    with screen.working("report"):
        summary = _told(world, folder, summarise(world, history, nights, started_at), parts, began)
    screen.table(summary)
    screen.expectations(summary)
    screen.end(summary, _files(world, folder), _commands(folder))
    return 0 if all(expectation.held for expectation in summary.expectations) else 1


def watcher(folder: Path, terminal: IO[str], screen: Screen) -> Callable[[str, str], None]:
    """What to do when a task starts: show it, and take back the signals that its runner has just taken for itself."""

    def started(dag_id: str, task_id: str) -> None:
        end_on_signal(folder, terminal)
        screen.task(dag_id, task_id)

    return started


def _world(home: Path, plan: Plan, screen: Screen, on_task: Callable[[str, str], None]) -> World:
    os.environ["MLOPS_CODE_VERSION"] = Services.open().code_version  # asked of git once, not by every task
    services = Services.open()
    return World(plan, Scheduler(home / "dags", STEPS, on_task), services, services.spec(MODEL), screen)


def _told(world: World, folder: Path, summary: Summary, parts: dict[str, float], began: float) -> Summary:
    """Hold the nights against what was expected, and keep report and summary.

    The summary is made again after the report is drawn, so that it knows what the report has cost.
    """
    summary = replace(summary, expectations=story.check(summary, world.services.ledger.verify()))
    at = time.perf_counter()
    drawn = series.read(world.plan, world.services, world.spec)
    page = report.render(_measured(summary, parts, began), drawn, _links(world, folder))
    (folder / "report.html").write_text(page, encoding="utf-8")
    summary = _measured(summary, parts | {"report": time.perf_counter() - at}, began)
    (folder / "summary.json").write_text(to_json(summary), encoding="utf-8")
    return summary


def _measured(summary: Summary, parts: dict[str, float], began: float) -> Summary:
    return replace(
        summary,
        seconds=round(time.perf_counter() - began, 1),
        seconds_by_part={name: round(seconds, 1) for name, seconds in parts.items()},
        peak_rss_mb=peak_rss_mb(),
    )


def _pages(world: World, folder: Path) -> dict[str, Path]:
    """Pages that the pipelines have written in the last night, as far as they are there."""
    reports = folder / "reports" / world.spec.name
    newest = max((path for path in reports.glob("*") if path.is_dir()), default=reports)
    return {f"{page.stem.replace('_', ' ')} page of {newest.name}": page for page in sorted(newest.glob("*.html"))}


def _links(world: World, folder: Path) -> dict[str, str]:
    """What the report points to, relative to it."""
    pages = {text: path.relative_to(folder).as_posix() for text, path in _pages(world, folder).items()}
    return {"summary.json": "summary.json", "log": "demo.log"} | pages


def _files(world: World, folder: Path) -> dict[str, str]:
    chosen = {"the nights as pictures": folder / "report.html", "the nights as numbers": folder / "summary.json"}
    chosen |= _pages(world, folder)
    return {
        what: _short(path)
        for what, path in (chosen | {"what Airflow and the libraries said": folder / "demo.log"}).items()
    }


def _commands(folder: Path) -> dict[str, str]:
    inside = f"MLOPS_VAR={_short(folder)}"
    second = FIRST_DAY + timedelta(days=HISTORY_DAYS + 1)
    return {
        "where the model stands": f"{inside} .venv/bin/mlops status {MODEL}",
        "who was champion after the second night": f"{inside} .venv/bin/mlops champion {MODEL} --night {second}",
        "every run and version in MLflow": f".venv/bin/mlflow ui --backend-store-uri sqlite:///{_short(folder)}/mlflow/mlflow.db",
        "Airflow and MLflow with a UI, for your own nights": "make up",
        "your own data: one YAML file like this one": f"config/models/{MODEL}.yaml",
    }


def _short(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
