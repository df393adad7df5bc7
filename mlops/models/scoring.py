"""A scorer: algorithm, imputation, scaling and threshold in one value that is pickled, logged and served as a whole.

Training, batch scoring, gates, serving and a plain `mlflow.pyfunc.load_model(uri).predict(frame)` all ask the same
object, so that a row gets the same answer everywhere.

One rule: everything is learned from the fit rows; a row that cannot be judged scores NaN and is not flagged.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops import log
from mlops.errors import MLOpsError, TrainingError
from mlops.models.detectors import strip
from mlops.models.model_input import Scale, center_and_spread, checked_labels, matrix
from mlops.models.trusted_types import TRUSTED_TYPES
from mlops.spec import Task

Floats = NDArray[np.float64]
How = Literal["decision_function", "score_samples", "predict_proba", "predict"]

MIN_ROWS_PER_ENTITY = 30  # an entity with fewer fit rows gets no model of its own: its rows score NaN
_USE_ANOTHER = "Use a detector that can judge a new row, such as isolation_forest, ecod, hbos, knn or lof."
_logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Unit:
    """What was learned from one group of rows: all of them, or those of one entity."""

    medians: Floats  # shape (n_features,), stand in for missing values
    center: Floats  # shape (n_features,)
    spread: Floats  # shape (n_features,), > 0
    estimator: Any

    def prepared(self, X: Floats) -> Floats:
        """Imputed and scaled rows."""
        return (np.where(np.isnan(X), self.medians, X) - self.center) / self.spread


@dataclass(frozen=True)
class Scorer:
    """An algorithm with all that it needs to answer for a row, built by `catalogue.build`; a change is a new scorer.

    Args:
        algorithm: its name in the catalogue, or a dotted path.
        task: what is predicted.
        features: column names; found by name, whatever their order in a frame.
        entity: name of the entity column; needed in frames only if `per_entity`.
        make: class of the estimator.
        params: its arguments.
        how: its method that a score is made from.
        scale: standard (mean, standard deviation), robust (median, interquartile range) or none.
        per_entity: one model per entity.
        packages: distributions needed to load it.
        proven: the estimator is known to score rows one by one; others are tried on it when fitted.
        threshold: a row is flagged if its score is above; None: rows are not flagged.
        classes: labels of a classifier, sorted.
        fitted_rows: number of rows it learned from; 0: not fitted.
        units: what was learned, by entity, or under None.
    """

    algorithm: str
    task: Task
    features: tuple[str, ...]
    entity: str
    make: Callable[..., Any]
    params: Mapping[str, Any]
    how: How
    scale: Scale = "standard"
    per_entity: bool = False
    packages: tuple[str, ...] = ()
    proven: bool = True
    threshold: float | None = None
    classes: tuple[Any, ...] = ()
    fitted_rows: int = 0
    units: Mapping[Any, Unit] = field(default_factory=dict, repr=False)

    def fit(self, frame: pd.DataFrame, y: NDArray[Any] | None = None) -> Scorer:
        """Learn from rows.

        Args:
            frame: entity (if `per_entity`) and features, numeric; missing values take the median of the fit rows.
            y: shape (n_rows,), labels without nulls; None for anomaly.

        Returns:
            A new, fitted scorer.

        Raises:
            SchemaError: a column is missing or not numeric.
            TrainingError: too few rows, a feature null throughout, labels missing or of one class, or the algorithm
                refused.
        """
        X = self._matrix(frame)
        labels = None if self.task == "anomaly" else checked_labels(y, len(X), self.algorithm, self.task)
        if len(X) < 2:
            raise TrainingError(f"{self.algorithm} cannot be fitted on {len(X)} rows; at least 2 are needed.")
        if dead := [name for j, name in enumerate(self.features) if np.isnan(X[:, j]).all()]:
            verb = "is" if len(dead) == 1 else "are"
            raise TrainingError(
                f"{self.algorithm}: {', '.join(dead)} {verb} null in all {len(X):,} fit rows.",
                hint="Mend the source, or take the feature out of the feature service.",
            )
        units = self._units(frame, X, labels, np.nanmedian(X, axis=0))
        classes = tuple(np.unique(labels).tolist()) if self._classifies and labels is not None else ()
        return replace(self, units=units, fitted_rows=len(X), classes=classes)

    def score(self, frame: pd.DataFrame) -> Floats:
        """One number per row.

        Args:
            frame: as for `fit`; further columns are ignored.

        Returns:
            shape (n_rows,): anomaly: higher = more anomalous; classification: probability of the second class of two,
            or of the predicted class of several; regression: the value. NaN: all features null, or an entity without a
            model of its own.

        Raises:
            SchemaError: a column is missing or not numeric.
            TrainingError: the scorer was never fitted.
        """
        answers = self._answers(frame)
        if self.task != "classification":
            return answers[:, 0]
        scores: Floats = answers[:, 1] if len(self.classes) == 2 else answers.max(axis=1)
        return scores

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Scores and what follows from them, row by row.

        Returns:
            `score`; `flag` (nullable boolean: null where the score is NaN) if there is a threshold; for classification
            also `label` (null where the score is NaN) and `proba_<class>` per class. The index is that of `frame`.
        """
        answers = self._answers(frame)
        if self.task != "classification":
            return self._flagged(pd.DataFrame({"score": answers[:, 0]}, index=frame.index))
        unknown = np.asarray(np.isnan(answers).any(axis=1))
        binary = len(self.classes) == 2
        table = pd.DataFrame({"score": answers[:, 1] if binary else answers.max(axis=1)}, index=frame.index)
        table = self._flagged(table) if binary else table
        best = np.where(unknown, 0, np.nan_to_num(answers).argmax(axis=1))
        if binary and self.threshold is not None:
            best = (table["score"] > self.threshold).to_numpy().astype(int)
        table["label"] = pd.Series(np.asarray(self.classes)[best], index=frame.index).mask(unknown)
        for position, name in enumerate(self.classes):
            table[f"proba_{name:g}" if isinstance(name, float) else f"proba_{name}"] = answers[:, position]
        return table

    def __getstate__(self) -> dict[str, Any]:
        """Units as two lists, for skops keeps no dict with a key None; no class that can be had from an estimator."""
        state = {name: value for name, value in vars(self).items() if name != "units"}
        learned = list(self.units.values())
        if learned and self.make is type(learned[0].estimator):
            del state["make"]
        return state | {"names": list(self.units), "learned": learned}

    def __setstate__(self, state: dict[str, Any]) -> None:
        learned = state["learned"]
        fields = {"make": type(learned[0].estimator)} if learned else {}
        fields |= state | {"units": dict(zip(state["names"], learned, strict=True))}
        vars(self).update({name: value for name, value in fields.items() if name not in ("names", "learned")})

    @property
    def trusted_types(self) -> tuple[str, ...]:
        """What the file of a scorer may hold anywhere, see `mlops.models.trusted_types`."""
        return TRUSTED_TYPES

    def to_skops(self, trusted_types: Sequence[str]) -> bytes:
        """As skops keeps it; a TrainingError if it holds types that are on neither list, or cannot be held."""
        from mlops.models import serialization

        return serialization.dumps(self, trusted_types)

    def with_threshold(self, threshold: float) -> Scorer:
        """The same scorer, flagging rows whose score is above `threshold`."""
        return replace(self, threshold=float(threshold))

    @property
    def _classifies(self) -> bool:
        return self.task == "classification"

    def _flagged(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.threshold is not None:
            table["flag"] = (table["score"] > self.threshold).astype("boolean").mask(table["score"].isna())
        return table

    def _answers(self, frame: pd.DataFrame) -> Floats:
        """shape (n_rows, n_classes or 1); NaN where there is no answer."""
        if not self.fitted_rows:
            raise TrainingError(
                f"{self.algorithm} has not been fitted.", hint="Call `fit` first and use what it returns."
            )
        X = self._matrix(frame)
        answers = np.full((len(X), max(1, len(self.classes))), np.nan)
        known = np.asarray(~np.isnan(X).all(axis=1))
        if not self.per_entity:
            groups: Mapping[Any, Any] = {None: np.flatnonzero(known)}
        else:
            groups = frame.groupby(self.entity, sort=False, observed=True).indices
        for name, rows in groups.items():
            if name in self.units and len(rows := rows[known[rows]]):
                answers[rows] = self._ask(self.units[name].estimator, self.units[name].prepared(X[rows]))
        return answers

    def _matrix(self, frame: pd.DataFrame) -> Floats:
        return matrix(frame, self.features, self.algorithm, also=(self.entity,) if self.per_entity else ())

    def _ask(self, estimator: Any, X: Floats) -> Floats:
        found = np.asarray(getattr(estimator, self.how)(X), dtype=np.float64)
        if self.how == "score_samples":  # scikit-learn's detectors: higher = more normal
            found = -found
        if self.how != "predict_proba":
            return found.reshape(len(X), -1)[:, :1]
        if len(estimator.classes_) == len(self.classes) or not self.classes:
            return found
        spread = np.zeros((len(X), len(self.classes)))  # this entity has not seen every class
        spread[:, np.searchsorted(np.asarray(self.classes), estimator.classes_)] = found
        return spread

    def _units(self, frame: pd.DataFrame, X: Floats, y: NDArray[Any] | None, medians: Floats) -> dict[Any, Unit]:
        """One unit for all rows, or one per entity that has enough rows (and both classes)."""
        if not self.per_entity:
            return {None: self._unit(X, y, medians, "rows")}
        units: dict[Any, Unit] = {}
        for name, rows in frame.groupby(self.entity, sort=True, observed=True).indices.items():
            labels = None if y is None else y[rows]
            one_class = self._classifies and labels is not None and len(np.unique(labels)) < 2
            if len(rows) >= MIN_ROWS_PER_ENTITY and not one_class:
                units[name] = self._unit(X[rows], labels, medians, f"rows of {self.entity} {name!r}")
        if not units:
            needs = f"{MIN_ROWS_PER_ENTITY} fit rows" + (" of two classes" if self._classifies else "")
            raise TrainingError(
                f"{self.algorithm}: no {self.entity} has the {needs} that a model of its own needs.",
                hint="Lengthen split.window_days, or set per_entity: false.",
            )
        return units

    def _unit(self, X: Floats, y: NDArray[Any] | None, fallback: Floats, whose: str) -> Unit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nanmedian of a column that is null for this entity
            medians = np.nanmedian(X, axis=0)
        medians = np.where(np.isnan(medians), fallback, medians)
        filled = np.where(np.isnan(X), medians, X)
        center, spread = center_and_spread(filled, self.scale)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                unit = Unit(medians, center, spread, self.make(**self.params))
                prepared = unit.prepared(X)
                if y is None:
                    unit.estimator.fit(prepared)
                else:
                    unit.estimator.fit(prepared, y)
                self._check_fitted(unit, prepared)
            except MLOpsError:
                raise
            except Exception as error:
                raise TrainingError(
                    f"{self.algorithm} could not be fitted on {len(X):,} {whose}: {error}",
                    hint=f"Params: {dict(self.params)}.",
                ) from error
        for message in sorted({str(item.message) for item in caught}):
            _logger.debug("%s on %s: %s", self.algorithm, whose, message)
        return unit

    def _check_fitted(self, unit: Unit, X: Floats) -> None:
        """Strip what scoring does not need, and make sure that rows are judged one by one."""
        if self.task != "anomaly":
            return
        if self.proven:
            strip(unit.estimator)
            return
        probe = X[:4]
        try:
            together = self._ask(unit.estimator, probe)
            strip(unit.estimator)
            alone = np.concatenate([self._ask(unit.estimator, row[None, :]) for row in probe])
            steady = np.allclose(together, alone, rtol=1e-6, atol=1e-9)
        except (ValueError, IndexError) as error:
            raise TrainingError(f"{self.algorithm} cannot score a few rows: {error}", hint=_USE_ANOTHER) from error
        if not steady:
            raise TrainingError(
                f"{self.algorithm} gives a row another score when other rows are scored with it "
                f"({together[0, 0]:.6g} and {alone[0, 0]:.6g}); a nightly score would depend on the batch.",
                hint=_USE_ANOTHER,
            )
