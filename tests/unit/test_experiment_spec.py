"""Experiment files: what is wrong with one is told in words, and what cannot run together as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.errors import SpecError
from mlops.spec import reference
from mlops.spec.experiment import ExperimentSpec
from mlops.spec.experiments import conflicts, find_experiment, load_experiment, load_experiments

ROOT = Path(__file__).parents[2]
PLAIN: dict[str, Any] = {
    "name": "trial",
    "model": "fleet",
    "owner": "ann",
    "variants": [{"name": "a", "version": 1}, {"name": "b", "version": 2}],
    "metric": {"column": "gain", "minimum_effect": 0.1},
}


THREE = [*PLAIN["variants"], {"name": "c", "version": 3}]


def written(folder: Path, plain: dict[str, Any]) -> Path:
    """A file of an experiment."""
    path = folder / f"{plain['name']}.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metirc": {}}, "metirc: unknown key. Did you mean 'metric'?"),
        ({"metric": {"colum": "gain", "minimum_effect": 1}}, "metric.colum: unknown key. Did you mean 'column'?"),
        ({"metric": {"column": "gain"}}, "metric.minimum_effect: missing"),
        ({"metric": None}, "needs a metric"),
        ({"metric": {"kind": "ratio", "column": "x", "minimum_effect": 1}}, "ratio needs a denominator"),
        ({"metric": {"column": "x", "denominator": "y", "minimum_effect": 1}}, "only ratio takes one"),
        ({"variants": PLAIN["variants"][:1]}, "variants: "),
        ({"variants": [{"name": "a", "version": 1}, {"name": "a", "version": 2}]}, "each its own"),
        ({"variants": [{"name": "a", "version": "chmpion"}, {"name": "b", "version": 2}]}, "version"),
        ({"variants": [{"name": "a", "version": 1, "weight": 0}, {"name": "b", "version": 2}]}, "weight above 0"),
        ({"slice": [0.6, 0.2]}, "within [0, 1]"),
        ({"overrides": {"u": "c"}}, "no variant 'c'"),
        ({"kind": "canary", "canary": {"steps": [0.5, 0.1]}}, "must grow"),
        ({"kind": "canary", "canary": {"steps": [0.5, 1.0]}}, "no control left"),
        ({"kind": "bandit", "bandit": {"floor": 0.5}, "variants": THREE}, "all traffic"),
        ({"decision": {"alpha": 0.7}}, "decision.alpha"),
        ({"guardrails": [{"name": "x", "column": "c"}] * 2}, "share a name"),
        ({"name": "Trial"}, "lower case"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_in_words(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """Unknown keys with the one that was meant, missing ones, and what contradicts itself."""
    with pytest.raises(SpecError) as error:
        load_experiment(written(tmp_path, PLAIN | changes), {})
    assert said in str(error.value)


def test_files_are_found_by_name(tmp_path: Path) -> None:
    """Under another name than its own a file is refused; an unknown name is told with the one that was meant."""
    path = written(tmp_path, PLAIN)
    assert load_experiments(tmp_path, {})["trial"] == load_experiment(path, {})
    with pytest.raises(SpecError, match="Did you mean 'trial'"):
        find_experiment(tmp_path, "trail", {})
    path.rename(tmp_path / "other.yaml")
    with pytest.raises(SpecError, match="names the experiment 'trial'"):
        load_experiments(tmp_path, {})


def test_what_cannot_run_together_is_told() -> None:
    """Slices that overlap in a layer, and two layers that would both decide for one model; a shadow decides nothing."""

    def spec(name: str, **changes: Any) -> ExperimentSpec:
        return ExperimentSpec.model_validate(PLAIN | {"name": name} | changes)

    low, high = spec("low", slice=(0.0, 0.5)), spec("high", slice=(0.5, 1.0))
    assert conflicts([low, high]) == []
    assert "overlap" in conflicts([low, spec("all")])[0]
    assert "put them into one layer" in conflicts([low, spec("else", layer="another")])[0]
    assert conflicts([low, spec("unseen", layer="another", kind="shadow")]) == []
    assert conflicts([low, spec("elsewhere", model="other")]) == []


def test_the_experiments_of_the_repository_are_right() -> None:
    """Each loads, and names a model of the repository."""
    config = MLOpsConfig.build({"home": ROOT, "var": "var"})
    found = load_experiments(config.experiments_dir, config.variables)
    assert found
    assert {spec.model for spec in found.values()} <= {path.stem for path in config.models_dir.glob("*.yaml")}


def test_the_reference_is_up_to_date() -> None:
    """docs/experiment-spec.md is what `mlops ab reference` prints."""
    assert (ROOT / "docs" / "experiment-spec.md").read_text(encoding="utf-8") == reference.experiments()
