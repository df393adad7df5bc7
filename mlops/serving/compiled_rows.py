"""What every compiled scorer does first: impute, scale, and tell rows of which nothing is known.

One rule: the arithmetic is that of the plain scorer, operation by operation, so that results agree to the last bit
wherever the libraries' own sums can be followed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from mlops.serving.compiled_form import Floats

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Machine code that runs beside other threads and never contracts sums, kept on disk for the next process.

    What is kept is made anew when the function's own file changes, not when that of a function that it calls does:
    after an edit here, remove the `__pycache__` of this folder. (A stale kernel would not be proven equal, nor serve.)
    """
    try:
        kept: F = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder that can be written: every process compiles for itself
        fresh: F = numba.njit(nogil=True, error_model="numpy")(function)
        return fresh
    return kept


@jit
def prepared(rows: Floats, medians: Floats, center: Floats, spread: Floats) -> Floats:
    """Rows imputed and scaled, shape (n, features); NaN throughout where nothing is known of a row."""
    n, d = rows.shape
    out = np.empty((n, d))
    for i in range(n):
        known = False
        for j in range(d):
            x = rows[i, j]
            if np.isnan(x):
                x = medians[j]
            else:
                known = True
            out[i, j] = (x - center[j]) / spread[j]
        if not known:
            out[i, :] = np.nan
    return out
