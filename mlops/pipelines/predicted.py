"""The table of predictions: what it says of each row, and what is counted of it.

One rule: the alarms of an entity are counted where all its rows are, so tables of several entities add up.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops.models import thresholds
from mlops.models.scoring import Scorer
from mlops.pipelines.night import instants
from mlops.records import ModelVersion
from mlops.spec import ModelSpec

UNSURE_BELOW = 0.6  # probability of the class answered


def predictions(joined: pd.DataFrame, scorer: Scorer, champion: ModelVersion, spec: ModelSpec) -> pd.DataFrame:
    """One row per entity row: score and flag, and what they were made of."""
    head = joined[[spec.entity, "observed_at", "event_timestamp", "feature_timestamp"]]
    head = head.rename(columns={"event_timestamp": "known_at"}).reset_index(drop=True)
    predicted = scorer.predict(joined).reset_index(drop=True)
    made_by = pd.DataFrame({"threshold": scorer.threshold, "model_version": champion.version}, index=head.index)
    made_of = joined[list(scorer.features)].reset_index(drop=True)
    return pd.concat([head, predicted, made_by.astype({"threshold": float}), made_of], axis=1)


def threshold_of(table: pd.DataFrame) -> float | None:
    """The threshold that predictions were flagged by; None if there was none."""
    made_by = table["threshold"].dropna()
    return float(made_by.iloc[0]) if len(made_by) else None


def numbers_of(table: pd.DataFrame, spec: ModelSpec) -> dict[str, int]:
    """How many rows there are, were scored and flagged, and how many alarms that makes."""
    threshold, sure = threshold_of(table), sureness(table)
    alarms = 0
    if spec.task == "anomaly" and threshold is not None:
        alarms = thresholds.onsets(
            table["score"].to_numpy(), table[spec.entity].to_numpy(), instants(table["observed_at"]), threshold
        )
    return {
        "rows": len(table),
        "scored_rows": int(table["score"].notna().sum()),
        "flagged_rows": int(table["flag"].fillna(value=False).astype(bool).sum()) if "flag" in table else 0,
        "alarms": alarms,
        "sure_rows": len(sure),
        "unsure_rows": int((sure < UNSURE_BELOW).sum()),
    }


def sureness(table: pd.DataFrame) -> pd.Series:
    """Of a classifier, how probable each answer was; without rows that got none, and empty for other models."""
    return _probability_of_the_answer(table).dropna()


def _probability_of_the_answer(table: pd.DataFrame) -> pd.Series:
    """Of a classifier, by row; NaN where it gave no answer, and of other models."""
    found = pd.Series(np.nan, index=table.index)
    for label, rows in table.groupby("label").groups.items() if "label" in table else ():
        name = f"proba_{label:g}" if isinstance(label, float) else f"proba_{label}"
        if name in table:
            found[rows] = table.loc[rows, name]
    return found
