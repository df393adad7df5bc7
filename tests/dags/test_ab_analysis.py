"""The analysis of experiments through Airflow: which models have the DAG, and a winner that becomes champion by it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mlops.pipelines import experiments, promotion
from mlops.services import Services
from mlops.serving.routing import assign
from mlops.spec.experiments import find_experiment
from tests.contenders import Contenders, logged_runs

pytestmark = pytest.mark.dags
NIGHT = date(2026, 3, 10)


@pytest.fixture
def write_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes an experiment on a model, with keys changed."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    monkeypatch.setenv("MLOPS_EXPERIMENTS_DIR", str(folder))

    def write(name: str, model: str, **changes: Any) -> Path:
        plain = {
            "name": name, "model": model, "owner": "ann",
            "variants": [{"name": "old", "version": "champion"}, {"name": "new", "version": "challenger"}],
            "metric": {"column": "gain", "minimum_effect": 0.1},
            "outcomes": {"source": {"kind": "csv", "uri": f"{tmp_path}/{{date}}.csv"}},
            "decision": {"days": 1, "on_win": "promote"},
        }  # fmt: skip
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(plain | changes), encoding="utf-8")
        return path

    return write


def test_only_models_with_an_experiment_have_the_dag(
    write_spec: Callable[..., Path], write_experiment: Callable[..., Path], parse: Callable[[], Any]
) -> None:
    """It looks nightly, keeps the policy of all DAGs, answers the four questions, and announces a champion."""
    write_spec("plain")
    write_spec("tried")
    write_experiment("trial", "tried")
    bag = parse()
    assert bag.import_errors == {}
    assert {name for name in bag.dags if name.startswith("ab_analysis")} == {"ab_analysis__tried"}
    dag = bag.dags["ab_analysis__tried"]
    assert (dag.catchup, dag.max_active_runs, dag.tags) == (False, 1, {"tried", "anomaly", "ab_analysis"})
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "day": {"analyse"}, "analyse": {"announce"}, "announce": set(),
    }  # fmt: skip
    assert {outlet.name for outlet in dag.task_dict["announce"].outlets} == {"tried/champion"}
    for question in ("**Reads**", "**Writes**", "**If it fails**", "**Re-running**"):
        assert dag.doc_md.count(question) == 1


def test_only_models_with_a_canary_are_watched(
    write_spec: Callable[..., Path], write_experiment: Callable[..., Path], parse: Callable[[], Any]
) -> None:
    """Every quarter of an hour, one run at a time; a run where no canary was started has nothing to do."""
    name = "careful"
    write_spec("tried")
    write_spec(name)
    write_experiment("trial", "tried")
    write_experiment("step", name, kind="canary", metric=None, decision={})
    bag = parse()
    assert bag.import_errors == {}
    assert {dag for dag in bag.dags if dag.startswith("ab_watch")} == {f"ab_watch__{name}"}
    dag = bag.dags[f"ab_watch__{name}"]
    assert (dag.catchup, dag.max_active_runs, list(dag.task_dict)) == (False, 1, ["watch"])
    assert dag.timetable.expression == "*/15 * * * *"
    for question in ("**Reads**", "**Writes**", "**If it fails**", "**Re-running**"):
        assert dag.doc_md.count(question) == 1
    result = dag.test()
    assert str(result.state) == "success"
    (done,) = result.get_task_instances()
    assert done.xcom_pull(task_ids="watch")["outcome"] == "nothing_to_do"


def test_a_wrong_experiment_is_an_import_error_and_takes_no_dag_down(
    write_spec: Callable[..., Path], write_experiment: Callable[..., Path], parse: Callable[[], Any]
) -> None:
    """Named with its key in one place; the other experiment's DAG is there."""
    write_spec("tried")
    write_experiment("trial", "tried")
    write_experiment("wrong", "tried", metirc={})
    bag = parse()
    assert "ab_analysis__tried" in bag.dags
    assert "wrong.yaml" in bag.import_errors["check_specs.py"]
    assert "Did you mean 'metric'?" in bag.import_errors["check_specs.py"]


def test_a_winner_becomes_champion_through_airflow_and_others_are_told(
    request: pytest.FixtureRequest, write_spec: Callable[..., Path], write_experiment: Callable[..., Path],
    installation: SimpleNamespace, tmp_path: Path, parse: Callable[[], Any], events: Callable[[str], list[Any]],
) -> None:  # fmt: skip
    """The night's run promotes; the Asset `champion` is announced once, and not by a night without a winner."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    write_spec(name)
    write_experiment("trial", name)
    services = Services.open()
    contenders = Contenders(services, services.spec(name), logged_runs(services.tracker, 2))
    contenders.contender()
    promotion.run(services, contenders.spec, contenders.day(1), 1)
    contenders.contender()
    dag = parse().dags[f"ab_analysis__{name}"]
    idle = dag.test(run_conf={"date": NIGHT.isoformat()})
    assert {ti.task_id: str(ti.state) for ti in idle.get_task_instances()}["announce"] == "skipped"
    spec = find_experiment(services.config.experiments_dir, "trial", services.config.variables)
    route = experiments.start(services, spec, NIGHT).route
    rng, rows = np.random.default_rng(1), []
    for unit in (f"u{i}" for i in range(600)):
        met = assign(route, unit).variant
        rows.append((unit, f"{NIGHT}T08:00:00Z", f"{NIGHT}T09:00:00Z", met, rng.normal(met == "new", 1)))
    columns = ["device_id", "event_timestamp", "arrived_at", "variant", "gain"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / f"{NIGHT}.csv", index=False)
    result = dag.test(run_conf={"date": NIGHT.isoformat()})
    assert str(result.state) == "success"
    assert services.registry.aliases(name)["champion"] == 2
    assert [event["version"] for event in events(f"{name}/champion")] == [2]
