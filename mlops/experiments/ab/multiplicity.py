"""Several comparisons at once: p-values adjusted so that they may be held against alpha as if each stood alone.

One rule: Holm where a single false finding hurts (guardrails, several treatments), Benjamini-Hochberg where a stated
share of the findings may be false (exploring many metrics).

References:
    Holm, S. (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    Benjamini, Y. and Hochberg, Y. (1995), Controlling the false discovery rate, JRSS B 57.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from mlops.errors import DataError
from mlops.experiments.ab.samples import Floats

Adjustment = Literal["holm", "bh"]


def adjusted_pvalues(pvalues: npt.ArrayLike, method: Adjustment = "holm") -> Floats:
    """Adjusted p-values in the order given, shape (n_tests,).

    Args:
        pvalues: shape (n_tests,), in [0, 1].
        method: holm (family-wise error rate) or bh (false discovery rate).

    Raises:
        DataError: one is NaN or outside [0, 1].

    >>> adjusted_pvalues([0.01, 0.04, 0.03], "holm").round(3).tolist()
    [0.03, 0.06, 0.06]
    >>> adjusted_pvalues([0.01, 0.04, 0.03], "bh").round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    given = np.asarray(pvalues, dtype=float)
    if given.ndim != 1 or not bool(((given >= 0) & (given <= 1)).all()):
        raise DataError("p-values must be a list of numbers in [0, 1].", hint="Leave out tests that cannot tell.")
    order = np.argsort(given, kind="stable")
    rank = np.arange(1, len(given) + 1)
    if method == "holm":
        stepped = np.maximum.accumulate(given[order] * (len(given) - rank + 1))
    else:
        stepped = np.minimum.accumulate((given[order] * len(given) / rank)[::-1])[::-1]
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
