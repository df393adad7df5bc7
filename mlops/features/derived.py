"""Columns that a function makes of the columns of a reading; every statistic of a recipe can then be taken of them.

A function gets the columns it reads as float64 arrays, one value per reading, and returns one value per reading. It
runs wherever features are made: nightly, on Spark, row by row from a stream.

One rule: a value is made of its own reading alone. A function that looks at other readings would know the future; it is
found out and refused.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.errors import FeatureError, SchemaError, did_you_mean

Floats = npt.NDArray[np.float64]
Made = Callable[..., Any]  # arrays of shape (n,) in, one of shape (n,) out

_LOOKED_AT = 8  # readings that are computed alone as well, to find out a function that looks at others
_MARK = "derivation"


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a column is made. All but the function itself rides in the registry with the recipe."""

    name: str  # of the column: the function's
    inputs: tuple[str, ...]  # columns of the data set, in the order of the function's arguments
    unit: str
    meaning: str  # first line of the function's docstring
    path: str  # module:function, within the feature repository
    digest: str  # sha256 of what the function says, comments and docstring left out
    function: Made | None = field(default=None, compare=False, repr=False)  # None: as read from a registry

    def facts(self) -> dict[str, Any]:
        """All that rides in the registry."""
        return {
            "name": self.name, "inputs": list(self.inputs), "unit": self.unit, "meaning": self.meaning,
            "path": self.path, "digest": self.digest,
        }  # fmt: skip


def column(*inputs: str, unit: str = "") -> Callable[[Made], Made]:
    """Declare a function of a feature repository as a column of readings, named after it.

    Args:
        inputs: columns of the data set that it reads, in the order of its arguments.
        unit: of what it returns.

    Raises:
        FeatureError: it reads nothing, or takes another number of arguments.

    >>> @column("pressure", "rotation", unit="bar·rpm")
    ... def power(pressure, rotation):
    ...     '''Hydraulic power, up to a constant.'''
    ...     return pressure * rotation
    >>> power(2.0, 3.0)
    6.0
    """

    def declare(function: Made) -> Made:
        name = function.__name__
        if not name.isidentifier():
            raise FeatureError("A column needs a name, a lambda has none.", hint="Write it as def <name>(…).")
        if not inputs:
            raise FeatureError(f"Column {name!r} reads nothing.", hint=f'Write @column("pressure") above def {name}.')
        try:
            inspect.signature(function).bind(*inputs)
        except TypeError as error:
            raise FeatureError(
                f"Function {name!r} does not take the {len(inputs)} columns it reads ({', '.join(inputs)}): {error}.",
                hint="Give it one argument per column.",
            ) from error
        told = (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")
        path = f"{function.__module__}:{function.__qualname__}"
        made = Derivation(name, inputs, unit, told, path, digest(function), function)
        setattr(function, _MARK, made)
        return function

    return declare


def derivation_of(thing: object) -> Derivation | None:
    """How a declared function makes its column; None for anything else."""
    found = getattr(thing, _MARK, None)
    return found if isinstance(found, Derivation) else None


def split(columns: Sequence[str | Made]) -> tuple[tuple[str, ...], tuple[Derivation, ...]]:
    """The names of a recipe's columns, and how those are made that are functions.

    Raises:
        FeatureError: a function that was not declared with `column`.
    """
    names, derived = [], []
    for each in columns:
        if isinstance(each, str):
            names.append(each)
            continue
        if (made := derivation_of(each)) is None:
            called = getattr(each, "__name__", repr(each))
            raise FeatureError(
                f"Recipe.columns holds {called!r}, which is neither a name nor a declared column.",
                hint=f'Write @column("…") above def {called}.',
            )
        names.append(made.name)
        derived.append(made)
    return tuple(names), tuple(derived)


def bound(derived: Sequence[Derivation], functions: Mapping[str, Derivation]) -> tuple[Derivation, ...]:
    """Derivations as read from a registry, with the functions that the repository's files hold.

    Args:
        derived: what the recipe needs.
        functions: what the repository declares, by path.

    Raises:
        FeatureError: a function is gone, or says something else than what was registered.
    """
    found = []
    for each in derived:
        held = functions.get(each.path)
        if held is None:
            hint = f"{did_you_mean(each.path, functions)} Put it back, or register the repository anew."
            raise FeatureError(f"The feature repository has no column function {each.path!r}.", hint=hint)
        if held.digest != each.digest or held.inputs != each.inputs:
            raise FeatureError(
                f"Column function {each.path!r} has changed since it was registered.",
                hint="Run the features step, which registers the repository, for the dates you need.",
            )
        found.append(replace(each, function=held.function))
    return tuple(found)


def add(rows: pd.DataFrame, derived: Sequence[Derivation]) -> pd.DataFrame:
    """The readings with the derived columns beside them.

    Args:
        rows: readings, shape (n, ≥ 1). Nulls reach the functions as NaN.
        derived: how the columns are made.

    Returns:
        `rows` itself if nothing is derived.

    Raises:
        SchemaError: a column that a function reads is missing, or a name is taken.
        FeatureError: a function fails, returns something else than one number per reading, or looks at other readings.
    """
    if not derived:
        return rows
    made: dict[str, Floats] = {}
    for each in derived:
        if each.name in rows.columns:
            raise SchemaError(
                f"Column {each.name!r} is delivered, and made by the function {each.path!r} as well.",
                hint="Rename the function.",
            )
        for name in each.inputs:
            if name not in rows.columns:
                hint = f"{did_you_mean(name, map(str, rows.columns))} Correct the function's @column(…)."
                raise SchemaError(f"Column {name!r} is missing, which {each.path!r} reads.", hint=hint)
        inputs = [np.asarray(rows[name].to_numpy(dtype=np.float64, na_value=np.nan)) for name in each.inputs]
        made[each.name] = _values(each, inputs)
    return rows.assign(**made)


def digest(function: Made) -> str:
    """sha256 of what a function says: its code without decorators, docstring and comments."""
    try:
        linecache.checkcache(inspect.getsourcefile(function) or "")
        (parsed,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError):  # typed into a prompt
        return hashlib.sha256(function.__code__.co_code + repr(function.__code__.co_consts).encode()).hexdigest()
    assert isinstance(parsed, ast.FunctionDef)
    if ast.get_docstring(parsed) is not None:
        parsed.body = parsed.body[1:] or [ast.Pass()]
    parsed.decorator_list = []
    return hashlib.sha256(ast.unparse(parsed).encode()).hexdigest()


def _values(made: Derivation, inputs: list[Floats]) -> Floats:
    rows = len(inputs[0])
    whole = _computed(made, [values.copy() for values in inputs])
    sample = np.unique(np.linspace(0, max(rows - 1, 0), min(rows, _LOOKED_AT)).astype(np.int64))
    for i in sample:
        alone = _computed(made, [values[i : i + 1].copy() for values in inputs])[0]
        if not np.isclose(alone, whole[i], rtol=1e-9, atol=0.0, equal_nan=True):
            raise FeatureError(
                f"Column function {made.path!r} looks at other readings: of reading {i} alone it makes {alone}, among "
                f"{rows:,} readings {whole[i]}.",
                hint="Compute with the values of one reading; for several, take a statistic over a window.",
            )
    return whole


def _computed(made: Derivation, inputs: list[Floats]) -> Floats:
    if made.function is None:
        raise FeatureError(
            f"The function {made.path!r} of column {made.name!r} was not read from the feature repository.",
            hint="Take the recipe from `FeatureStore.views_of`.",
        )
    try:
        with np.errstate(all="ignore"):
            values = np.asarray(made.function(*inputs), dtype=np.float64)
    except Exception as error:
        raise FeatureError(f"Column function {made.path!r} failed: {type(error).__name__}: {error}") from error
    if values.shape != inputs[0].shape:
        raise FeatureError(
            f"Column function {made.path!r} returned the shape {values.shape}, expected {inputs[0].shape}.",
            hint="Return one number per reading.",
        )
    return np.where(np.isfinite(values), values, np.nan)
