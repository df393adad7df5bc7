"""Columns that functions make: what they may look at, how they travel, what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from mlops.errors import FeatureError, SchemaError
from mlops.features.derived import Floats, add, bound, column, derivation_of, digest
from mlops.features.engineering import Recipe, engineer
from mlops.features.meaning import meanings
from mlops.features.repository import column_functions

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@column("pressure", "rotation", unit="bar·rpm")
def power(pressure: Floats, rotation: Floats) -> Floats:
    """Hydraulic power, up to a constant."""
    return pressure * rotation


def readings(n: int = 40) -> pd.DataFrame:
    """Readings of two pumps, every ten minutes, some null."""
    rng = np.random.default_rng(7)
    rows = pd.DataFrame({"pump": np.tile(["a", "b"], n // 2), "pressure": rng.normal(6, 1, n)})
    rows["rotation"] = rng.normal(1500, 20, n)
    rows.loc[5, "pressure"] = np.nan
    rows["at"] = pd.Timestamp(NOW) + pd.to_timedelta(np.arange(n) * 10, unit="min")
    return rows


def made(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """The features."""
    return engineer(rows, recipe, entity="pump", event="at", known_at="at")


def test_every_statistic_of_a_derived_column_is_that_of_the_column_delivered() -> None:
    """A function's column is a column like any other, nulls included."""
    statistics = ("value", "mean", "std", "slope", "count", "rate", "lag1")
    delivered = readings().assign(power=lambda rows: rows["pressure"] * rows["rotation"])
    expected = made(delivered, Recipe(("power",), ("1h",), statistics))
    pd.testing.assert_frame_equal(made(readings(), Recipe((power,), ("1h",), statistics)), expected)


def test_the_recipe_says_which_columns_of_the_data_set_it_needs() -> None:
    """Those that the functions read, each once, and not the names that they make."""
    assert Recipe(("pressure", power)).inputs == ("pressure", "rotation")
    assert Recipe(("pressure", power)).names == ("pressure", "power")


def test_a_recipe_without_functions_keeps_its_fingerprint() -> None:
    """What was stored before there were functions still counts: this is the fingerprint of then."""
    assert Recipe(("pressure",), ("1h",), ("mean",)).fingerprint == "9890bdd9c03d285b"


def test_a_changed_function_changes_the_fingerprint_and_changed_words_do_not(tmp_path: Path) -> None:
    """Features of the old function do not mix with those of the new one; a comment, docstring or unit is none."""

    def fingerprint(text: str, unit: str = "") -> str:
        path = tmp_path / "columns.py"
        path.write_text(
            f"from mlops.features.derived import column\n@column('a', unit='{unit}')\ndef twice(a):\n{text}\n"
        )
        (found,) = column_functions(tmp_path).values()
        return Recipe(("twice",), derived=(found,)).fingerprint

    assert fingerprint("    return 2 * a") == fingerprint("    'Twice.'\n    # two\n    return 2*a", unit="m")
    assert fingerprint("    return 2 * a") != fingerprint("    return 3 * a")


def test_a_recipe_travels_through_the_registry_and_finds_its_functions_again(tmp_path: Path) -> None:
    """As JSON it has no functions and says so when used; bound to the repository it makes the same features."""
    (tmp_path / "pumps.py").write_text(
        "from mlops.features.derived import column\n\n\n@column('pressure', 'rotation', unit='bar·rpm')\n"
        "def power(pressure, rotation):\n    '''Hydraulic power.'''\n    return pressure * rotation\n"
    )
    functions = column_functions(tmp_path)
    assert list(functions) == ["pumps:power"]
    read = Recipe.from_json(Recipe(("power",), derived=tuple(functions.values())).to_json())
    with pytest.raises(FeatureError, match="was not read from the feature repository"):
        made(readings(), read)
    again = replace(read, derived=bound(read.derived, functions))
    pd.testing.assert_frame_equal(made(readings(), again), made(readings(), Recipe((power,))))
    assert "pumps" not in sys.modules


def test_a_function_that_is_gone_or_changed_is_refused(tmp_path: Path) -> None:
    """Never another function under the old name."""
    found = derivation_of(power)
    assert found is not None
    with pytest.raises(FeatureError, match="no column function"):
        bound([found], {})
    with pytest.raises(FeatureError, match="has changed since it was registered"):
        bound([found], {found.path: replace(found, digest="other")})


def test_a_bound_function_reaches_a_process_that_cannot_import_its_file(tmp_path: Path) -> None:
    """As Spark's workers get it: by value."""
    (tmp_path / "elsewhere.py").write_text(
        "import numpy as np\nfrom mlops.features.derived import column\n\n\n@column('pressure')\n"
        "def root(pressure):\n    return np.sqrt(pressure)\n"
    )
    functions = column_functions(tmp_path)
    (derived,) = bound(tuple(functions.values()), functions)
    body = cloudpickle.dumps(Recipe(("root",), derived=(derived,)))
    program = (
        "import pickle, sys, numpy as np; recipe = pickle.load(sys.stdin.buffer); "
        "print(recipe.derived[0].function(np.array([9.0]))[0])"
    )
    answer = subprocess.run([sys.executable, "-c", program], input=body, capture_output=True, check=True)
    assert answer.stdout.decode().strip() == "3.0"


def test_a_function_that_looks_at_other_readings_is_found_out() -> None:
    """The mean over the delivery knows the future; so does a difference to the reading after."""

    @column("pressure")
    def against_mean(pressure: Floats) -> Floats:
        return pressure - np.nanmean(pressure)

    @column("pressure")
    def step(pressure: Floats) -> Floats:
        return np.append(np.diff(pressure), 0.0)

    for function in (against_mean, step):
        with pytest.raises(FeatureError, match="looks at other readings"):
            made(readings(), Recipe((function,)))


def test_what_a_function_may_not_return_is_refused() -> None:
    """Another shape, words, or an error of its own: each says which function."""

    @column("pressure")
    def short(pressure: Floats) -> Floats:
        return pressure[:-1]

    @column("pressure")
    def words(pressure: Floats) -> list[str]:
        return ["high" for _ in pressure]

    @column("pressure")
    def failing(pressure: Floats) -> Floats:
        raise ZeroDivisionError("no")

    with pytest.raises(FeatureError, match=r"short' returned the shape \(39,\), expected \(40,\)"):
        made(readings(), Recipe((short,)))
    with pytest.raises(FeatureError, match="words' failed: ValueError"):
        made(readings(), Recipe((words,)))
    with pytest.raises(FeatureError, match="failing' failed: ZeroDivisionError: no"):
        made(readings(), Recipe((failing,)))


def test_infinity_counts_as_missing() -> None:
    """A division by zero is no number for a model."""

    @column("pressure")
    def inverse(pressure: Floats) -> Floats:
        return 1.0 / pressure

    rows = readings().iloc[:2].assign(pressure=[0.0, 2.0])
    none, half = made(rows, Recipe((inverse,)))["inverse"]
    assert np.isnan(none)
    assert half == 0.5


def test_a_declaration_that_cannot_work_is_refused_where_it_stands() -> None:
    """No columns, another number of arguments, a function that was not declared, a column that is not delivered."""
    with pytest.raises(FeatureError, match="reads nothing"):
        column()(power)
    with pytest.raises(FeatureError, match="does not take the 3 columns"):
        column("a", "b", "c")(power)
    with pytest.raises(FeatureError, match="neither a name nor a declared column"):
        Recipe((np.sqrt,))
    with pytest.raises(FeatureError, match="a lambda has none"):
        column("a")(lambda a: a)

    @column("presure")
    def mistyped(presure: Floats) -> Floats:
        return presure

    with pytest.raises(SchemaError, match="Did you mean 'pressure'"):
        made(readings(), Recipe((mistyped,)))
    with pytest.raises(SchemaError, match="delivered, and made by the function"):
        add(readings().assign(power=1.0), Recipe((power,)).derived)


def test_the_meaning_of_a_derived_feature_is_its_docstring() -> None:
    """With its unit, and what it is made of; its statistics are told like any other's."""
    told = meanings(Recipe((power,), ("1h",), ("value", "slope")))
    assert told["power"] == "hydraulic power, up to a constant [bar·rpm], made of pressure and rotation"
    assert told["power_slope_1h"] == "trend of power over the last 1h [bar·rpm/h]"


def test_the_digest_of_a_function_without_a_file_is_that_of_its_code() -> None:
    """Typed into a prompt, it can still be told from another."""
    scope: dict[str, object] = {}
    exec("def f(a):\n    return a\ndef g(a):\n    return -a", scope)
    f, g = scope["f"], scope["g"]
    assert callable(f)
    assert callable(g)
    assert digest(f) == digest(f) != digest(g)
