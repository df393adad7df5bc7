"""What other tools say of the same nights: Evidently from this environment, NannyML and alibi-detect from their own.

Both install on Python 3.11, but not beside mlops' lock (NannyML wants rich below 13, alibi-detect numpy below 2), so
each is pointed at by a variable, and left out in words where it is not set. NannyML does not name all that it imports:

    python -m venv var/nannyml; var/nannyml/bin/pip install nannyml==0.13.1 statsmodels "pandas<3"
    python -m venv var/alibi; var/alibi/bin/pip install alibi-detect==0.13.0
    BENCH_NANNYML=var/nannyml BENCH_ALIBI_DETECT=var/alibi python -m benchmarks drift

`python -m benchmarks.drift_others <tool> <job> …` answers jobs, a line of JSON each.

One rule: each tool has its defaults; what it calls drift, and one number that grows with it, is all that is taken.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import drift_worlds

TOOLS = {"Evidently": "", "NannyML": "BENCH_NANNYML", "alibi-detect": "BENCH_ALIBI_DETECT"}
Found = list[tuple[bool, float, float]]  # by night: drift by its own rule, share of columns drifted, how far


def there(tool: str) -> str:
    """The Python that has a tool; nothing, and why in words, where there is none."""
    if not (variable := TOOLS[tool]):
        return sys.executable
    python = Path(os.environ.get(variable, "")) / "bin" / "python"
    if os.environ.get(variable) and python.exists():
        return str(python.absolute())
    print(f"{tool} is left out: {variable} names no virtual environment with it (benchmarks/drift_others.py)")
    return ""


def ask(tool: str, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Found]]:
    """What a tool says of nights, as it comes."""
    return run(tool, "benchmarks.drift_others", jobs, tool)


def run(tool: str, module: str, jobs: Sequence[tuple[Any, ...]], *first: str) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The answers of a module in a tool's environment, as they come, from as many processes as there are cores.

    Args:
        tool: one of `TOOLS`.
        module: takes jobs as arguments, and prints a line for each.
        jobs: what is asked.
        first: arguments before them.
    """
    crew = os.cpu_count() or 1
    lines = [json.dumps(job) for job in jobs]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    command = ["xargs", "-d", "\n", "-P", str(crew), "-n", "8", there(tool), "-m", module, *first]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as asked:
        assert asked.stdin is not None
        assert asked.stdout is not None
        asked.stdin.write("\n".join(lines))
        asked.stdin.close()
        for line in asked.stdout:
            if not line.startswith('{"job"'):  # NannyML's LightGBM talks
                continue
            told = json.loads(line)
            yield tuple(told["job"]), told["answer"]
    if asked.returncode:
        raise RuntimeError(f"{tool} failed; what it said stands above.")


def evidently(reference: pd.DataFrame, nights: Sequence[pd.DataFrame], columns: Sequence[str]) -> Found:
    """Its default test of each column; drift of the table is half of the columns, `any` is what the caller counts."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    found: Found = []
    for night in nights:
        drifted, scores = [], []
        for name in columns:
            number = pd.api.types.is_numeric_dtype(reference[name])
            kind = ColumnType.Numerical if number else ColumnType.Categorical
            sides = reference[name].dropna(), night[name].dropna()
            test = get_stattest(*sides, kind, None)
            told = test(*sides, kind, None)
            drifted.append(bool(told.drifted))
            scores.append(float(told.drift_score))  # a distance: references have more than 1,000 rows
        share = float(np.mean(drifted))
        found.append((share >= 0.5, share, max(scores)))
    return found


def nannyml(reference: pd.DataFrame, nights: Sequence[pd.DataFrame], columns: Sequence[str]) -> Found:
    """Chunks of a day; univariate drift, missing values and, from two numbers on, reconstruction.

    A night is drift where any of them alerts (beyond three standard deviations of the reference's days); how far is the
    largest distance from the mean of those days, in their standard deviations.
    """
    import nannyml as nml

    rows = pd.concat(nights, ignore_index=True)
    sides = [side.assign(day=side["at"].dt.strftime("%Y-%m-%d")) for side in (reference, rows)]
    for side in sides:
        side["at"] = side["at"].dt.tz_localize(None)
    numbers = [name for name in columns if pd.api.types.is_numeric_dtype(reference[name])]
    chunks: dict[str, Any] = {"timestamp_column_name": "at", "chunk_period": "D"}
    asked = [
        nml.UnivariateDriftCalculator(column_names=list(columns), **chunks),
        nml.MissingValuesCalculator(column_names=list(columns), **chunks),
    ]
    if len(numbers) > 1:
        asked.append(nml.DataReconstructionDriftCalculator(column_names=list(columns), **chunks))
    alerts, far = [], []
    for calculator in asked:
        table = calculator.fit(sides[0]).calculate(sides[1]).to_df()
        period = table["chunk"]["period"] if "period" in table["chunk"] else table["chunk"]["chunk"]["period"]
        before = (period == "reference").to_numpy()
        flat = {"/".join(map(str, name)): values for name, values in table.items()}
        for name in (name for name in flat if name.endswith("/value")):
            values = flat[name].to_numpy(dtype=float)
            usual = values[before]
            far.append(np.abs(values[~before] - usual.mean()) / max(float(usual.std()), 1e-9))
            alerts.append(flat[name.removesuffix("value") + "alert"].fillna(False).to_numpy(dtype=bool)[~before])
    drifted, farthest = np.array(alerts), np.array(far).max(axis=0)
    share = drifted[: len(columns)].mean(axis=0)
    return [(bool(drifted[:, i].any()), float(share[i]), float(farthest[i])) for i in range(len(nights))]


def alibi_detect(reference: pd.DataFrame, nights: Sequence[pd.DataFrame], columns: Sequence[str]) -> Found:
    """Its detector of tables: Kolmogorov–Smirnov or χ² by column at .05, corrected by Bonferroni.

    What is missing is filled with the reference's median, because a test with a NaN in it has no answer. How far is the
    power of ten of the smallest p-value.
    """
    from alibi_detect.cd import TabularDrift

    kinds = {name: sorted(reference[name].unique()) for name in columns if reference[name].dtype == object}
    middle = reference[[name for name in columns if name not in kinds]].median()

    def matrix(frame: pd.DataFrame) -> Any:
        coded = {name: frame[name].map(values.index) for name, values in kinds.items()}
        return frame[list(columns)].fillna(middle).assign(**coded).to_numpy(dtype=np.float64)

    places: dict[int, Any] = {list(columns).index(name): None for name in kinds}
    detector = TabularDrift(matrix(reference), p_val=0.05, categories_per_feature=places or None)
    found: Found = []
    for night in nights:
        told = detector.predict(matrix(night), drift_type="batch")["data"]
        pvalues = np.asarray(told["p_val"], dtype=float)
        share = float(np.mean(pvalues < 0.05))
        found.append((bool(told["is_drift"]), share, float(-np.log10(max(pvalues.min(), 1e-300)))))
    return found


JUDGES: dict[str, Callable[..., Found]] = {"Evidently": evidently, "NannyML": nannyml, "alibi-detect": alibi_detect}


def main(tool: str, lines: Sequence[str]) -> None:
    """Answer jobs, a line each."""
    warnings.simplefilter("ignore")
    for line in lines:
        job = tuple(json.loads(line))
        reference, nights, columns = drift_worlds.scene(job)
        answer = JUDGES[tool](reference, drift_worlds.looked_at(job, nights), columns)
        print(json.dumps({"job": job, "answer": answer}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
