"""What the units of a variant add up to: counts, means and covariances, enough for every test of this package.

Moments add up: those of Monday and of Tuesday make those of both, so a night need not read what earlier nights read.

One rule: the unit of analysis is the unit of randomisation. Rows of one unit are added up before they come here.

References:
    Chan, T., Golub, G. and LeVeque, R. (1983), Algorithms for computing the sample variance, The American Statistician.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops.errors import DataError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counts:
    """Successes among units."""

    successes: int
    n: int  # units

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        if not 0 <= self.successes <= self.n:
            raise DataError(
                f"{self.successes} successes of {self.n} units cannot be.", hint="Count units, each at most once."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Means and covariances of one or more columns over the units of a variant."""

    n: int  # units
    mean: Floats  # shape (n_columns,)
    cov: Floats  # shape (n_columns, n_columns), unbiased; 0 where n < 2

    @classmethod
    def of(cls, *columns: npt.ArrayLike) -> Moments:
        """The moments of columns, each of shape (n_units,).

        Raises:
            DataError: columns differ in length, or hold NaN or infinity: an outcome that is not known is no outcome.
        """
        arrays = [np.asarray(column, dtype=float) for column in columns]
        if not arrays or any(a.ndim != 1 or len(a) != len(arrays[0]) for a in arrays):
            shapes = ", ".join(str(a.shape) for a in arrays) or "none"
            raise DataError(f"Columns of one length are needed, given: {shapes}.", hint="One value a unit and column.")
        table = np.stack(arrays)
        if bad := int((~np.isfinite(table)).any(axis=0).sum()):
            raise DataError(
                f"{bad} of {table.shape[1]} units have an outcome that is NaN or infinite.",
                hint="Leave these units out, or say what their outcome is.",
            )
        n = table.shape[1]
        mean = table.mean(axis=1) if n else np.zeros(len(table))
        away = table - mean[:, None]
        return cls(n, mean, away @ away.T / max(n - 1, 1))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of units together."""
        n = self.n + other.n
        if n == 0:
            return self
        apart = other.mean - self.mean
        squares = self.cov * max(self.n - 1, 0) + other.cov * max(other.n - 1, 0)
        squares = squares + np.outer(apart, apart) * (self.n * other.n / n)
        return Moments(n, self.mean + apart * (other.n / n), squares / max(n - 1, 1))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A variant's metric, however it was made."""

    value: float
    var: float  # of one unit's pull on it, ≥ 0; the squared standard error is var / n
    n: int  # units
