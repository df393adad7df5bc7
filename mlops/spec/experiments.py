"""Experiment files, read and checked, each by itself and all together.

One rule: two experiments that could meet the same unit of a model must share a layer, so that each unit is in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

from mlops.errors import SpecError
from mlops.spec.experiment import ExperimentSpec
from mlops.spec.loading import file_of, read


def load_experiment(path: Path, variables: Mapping[str, str]) -> ExperimentSpec:
    """Read and check one.

    Raises:
        SpecError: not readable, not YAML, or not a valid experiment; the message names every wrong key.
    """
    spec = read(path, variables, ExperimentSpec, "experiment")
    if spec.name != path.stem:
        hint = f"Rename the file to {spec.name}.yaml, or the experiment."
        raise SpecError(f"{path} names the experiment {spec.name!r}.", hint=hint)
    return spec


def load_experiments(folder: Path, variables: Mapping[str, str]) -> dict[str, ExperimentSpec]:
    """All experiments of a folder by name, sorted; none if there is no folder. The first wrong one raises."""
    return {path.stem: load_experiment(path, variables) for path in sorted(folder.glob("*.yaml"))}


def find_experiment(folder: Path, name: str, variables: Mapping[str, str]) -> ExperimentSpec:
    """One experiment by its name.

    Raises:
        SpecError: there is none of that name, or it is wrong.
    """
    return load_experiment(file_of(folder, name, "experiment"), variables)


def conflicts(experiments: Iterable[ExperimentSpec]) -> list[str]:
    """What keeps experiments from running at the same time, in words.

    Args:
        experiments: those that are to run together.
    """
    found = []
    for one, other in combinations(experiments, 2):
        names = f"{one.name} and {other.name}"
        if one.layer_name == other.layer_name:
            if one.slice[0] < other.slice[1] and other.slice[0] < one.slice[1]:
                parts = f"{list(one.slice)} and {list(other.slice)}"
                found.append(f"{names} take the same units of layer {one.layer_name}: slices {parts} overlap.")
        elif one.model == other.model and "shadow" not in (one.kind, other.kind):
            found.append(
                f"{names} both decide which version of {one.model} answers, but are in the layers {one.layer_name} and "
                f"{other.layer_name}: put them into one layer, with slices apart."
            )
    return found
