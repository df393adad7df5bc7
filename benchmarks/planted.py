"""Planted challengers before all gates at once: real models, fitted on purpose as they should not be.

One rule: whoever is planted is judged by the same function as a nightly challenger, with the default settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from mlops.models import catalogue, gates
from mlops.models.scoring import Scorer
from mlops.pipelines.judging import judge_all
from mlops.pipelines.players import Player
from mlops.pipelines.training_set import Tables
from mlops.records import GateResult, ModelVersion, TrainingSet
from mlops.spec import CandidateSpec, ModelSpec

FEATURES = ("a", "b", "c", "d")
ENTITIES, STEPS, HOLDOUT_STEPS = 40, 150, 75
START = datetime(2026, 3, 1, tzinfo=UTC)
SPEC = ModelSpec.model_validate(
    {
        "name": "planted",
        "owner": "bench@example.com",
        "task": "classification",
        "entity": "device",
        "source": {"uri": "nowhere"},
        "contract": {"columns": {}},
        "features": {"service": "planted_v1"},
        "label": {"column": "label"},
        "candidates": [{"algorithm": "logistic_regression"}],
    }
)


@dataclass(frozen=True)
class Night:
    """What a planted challenger is judged on.

    Args:
        tables: fit and holdout.
        champion: scorer of the champion.
        challenger: scorer of the challenger.
        same_files: the challenger's files are the champion's.
    """

    tables: Tables
    champion: Scorer
    challenger: Scorer
    same_files: bool = False


def judged(kind: str, seed: int) -> list[GateResult]:
    """What all gates say of a planted challenger."""
    night = KINDS[kind](np.random.default_rng([sorted(KINDS).index(kind), seed]))
    champion = Player(_version(1, "1" * 64), night.champion)
    challenger = Player(_version(2, ("1" if night.same_files else "2") * 64), night.challenger)
    return judge_all(SPEC, _record(night.tables), night.tables, challenger, champion)


def promotions(kind: str, first: int, count: int) -> int:
    """How many of a kind pass all gates, seeds `first` to `first + count`."""
    return sum(gates.judge(judged(kind, seed)) == "pass" for seed in range(first, first + count))


def _world(rng: np.random.Generator) -> pd.DataFrame:
    """Devices watched every ten minutes; a label that four noisy features explain in part."""
    who, when = np.divmod(np.arange(ENTITIES * STEPS), STEPS)
    X = rng.normal(size=(len(who), len(FEATURES)))
    chance = 1 / (1 + np.exp(-(X @ np.array([1.0, 1.0, -0.6, 0.3]) - 1.2)))
    times = pd.DatetimeIndex([START + timedelta(minutes=10 * int(step)) for step in range(STEPS)])[when]
    rows = pd.DataFrame(X, columns=list(FEATURES)).assign(
        device=[f"d{i:02d}" for i in who],
        observed_at=times,
        event_timestamp=times,
        feature_timestamp=times,
        label=(rng.random(len(who)) < chance).astype(float),
        part=np.where(when < STEPS - HOLDOUT_STEPS, "fit", "holdout"),
    )
    return rows.sort_values("observed_at", kind="stable").reset_index(drop=True)


def _fit(rows: pd.DataFrame, algorithm: str = "logistic_regression", **params: Any) -> Scorer:
    scorer = catalogue.build(
        CandidateSpec(algorithm=algorithm, params=params), task="classification", features=FEATURES, entity="device",
        seed=0,
    )  # fmt: skip
    return scorer.fit(rows, rows["label"].to_numpy())


def _tables(rows: pd.DataFrame) -> Tables:
    return Tables(rows, rows.iloc[:0])


def _halves(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    fit = rows[rows["part"] == "fit"]
    return fit.iloc[::2], fit.iloc[1::2]


def _equal(rng: np.random.Generator) -> Night:
    """Two models equal by symmetry: the label depends on `a` as on `b`, and one is the other with these exchanged.

    (Two fits on two samples are not equal: one of them is a little better, and the gates may well find out which.)
    """
    rows = _world(rng)
    taught = rows[rows["part"] == "fit"].iloc[:100]
    return Night(_tables(rows), _fit(taught), _fit(taught.rename(columns={"a": "b", "b": "a"})))


def _better(rng: np.random.Generator) -> Night:
    """A champion that learned from a handful of rows, a challenger that learned from all."""
    rows = _world(rng)
    fit = rows[rows["part"] == "fit"]
    return Night(_tables(rows), _fit(fit.iloc[:30], C=0.3), _fit(fit))


def _worse(rng: np.random.Generator) -> Night:
    night = _better(rng)
    return replace(night, champion=night.challenger, challenger=night.champion)


def _identical(rng: np.random.Generator) -> Night:
    night = _equal(rng)
    return replace(night, challenger=night.champion, same_files=True)


def _repacked(rng: np.random.Generator) -> Night:
    """The champion again, under other bytes."""
    night = _equal(rng)
    return replace(night, challenger=night.champion)


def _swapped(rng: np.random.Generator) -> Night:
    """Taught by labels the wrong way round, judged by the right ones."""
    rows = _world(rng)
    first, second = _halves(rows)
    return Night(_tables(rows), _fit(first), _fit(second.assign(label=1 - second["label"])))


def _swapped_labels(rng: np.random.Generator) -> Night:
    """Labels delivered the wrong way round in the whole window: what is taught by them wins by them."""
    rows = _world(rng)
    champion = _fit(_halves(rows)[0])
    turned = rows.assign(label=1 - rows["label"])
    return Night(_tables(turned), champion, _fit(turned[turned["part"] == "fit"]))


def _leaked(rng: np.random.Generator) -> Night:
    """One feature was made from the label."""
    rows = _world(rng)
    champion = _fit(_halves(rows)[0])
    leaky = rows.assign(d=rows["label"] + 0.1 * rng.random(len(rows)))
    return Night(_tables(leaky), champion, _fit(leaky[leaky["part"] == "fit"]))


def _test_rows(rng: np.random.Generator) -> Night:
    """Rows that judge are among those that taught."""
    rows = _world(rng)
    taught = rows[rows["part"] == "holdout"].assign(part="fit")
    return _remembering(pd.concat([rows, taught], ignore_index=True), _fit(_halves(rows)[0]))


def _copied_rows(rng: np.random.Generator) -> Night:
    """The same under other keys: copied, and dated back."""
    rows = _world(rng)
    back = timedelta(days=30)
    taught = rows[rows["part"] == "holdout"].assign(part="fit")
    for column in ("observed_at", "event_timestamp", "feature_timestamp"):
        taught[column] -= back
    return _remembering(pd.concat([rows, taught], ignore_index=True), _fit(_halves(rows)[0]))


def _remembering(rows: pd.DataFrame, champion: Scorer) -> Night:
    """A challenger that remembers every row it was taught by."""
    taught = rows[rows["part"] == "fit"]
    return Night(_tables(rows), champion, _fit(taught, "random_forest", n_estimators=10, n_jobs=1))


def _constant(rng: np.random.Generator) -> Night:
    night = _equal(rng)
    fit = night.tables.part("fit")
    return replace(night, challenger=_fit(fit, "sklearn.dummy.DummyClassifier", strategy="prior"))


KINDS: dict[str, Callable[[np.random.Generator], Night]] = {
    "better": _better,
    "equal": _equal,
    "worse": _worse,
    "identical": _identical,
    "champion under other bytes": _repacked,
    "taught by swapped labels": _swapped,
    "labels swapped in the whole window": _swapped_labels,
    "a feature made from the label": _leaked,
    "taught by the test rows": _test_rows,
    "taught by copies of the test rows": _copied_rows,
    "constant": _constant,
}
NEVER = tuple(kind for kind in KINDS if kind not in ("better", "equal"))


def _version(number: int, digest: str) -> ModelVersion:
    return ModelVersion("planted", number, "run", "key", "uri", digest, "inputs", "logistic_regression")


def _record(tables: Tables) -> TrainingSet:
    held, fit = tables.part("holdout"), tables.part("fit")
    end = START + timedelta(minutes=10 * STEPS)
    return TrainingSet(
        model="planted",
        date=date(2026, 3, 3),
        run_key="planted/training/2026-03-03",
        uri="",
        fingerprint="f" * 64,
        features=FEATURES,
        rows=len(tables.rows),
        entities=ENTITIES,
        fit_rows=len(fit),
        calibration_rows=0,
        holdout_rows=len(held),
        labelled_rows=len(held),
        positives=int(held["label"].sum()),
        window_start=START,
        holdout_start=held["observed_at"].min().to_pydatetime(),
        window_end=end,
    )
