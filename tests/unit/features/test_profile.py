"""What a feature view looks like over its days: numbers and page."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops.errors import FeatureError
from mlops.features.engineering import EVENT, Recipe
from mlops.features.meaning import meaning, meanings
from mlops.features.profile import LEVELS, FeatureDay, profile
from mlops.features.profile_page import page, picture
from mlops.storage import Storage

FIRST = date(2026, 3, 1)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Where the tables lie."""
    return Storage(str(tmp_path))


def deliver(storage: Storage, day: date, **columns: list[float | None]) -> None:
    """A stored day of the view `levels`: one row per pump."""
    rows = len(next(iter(columns.values())))
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    frame = {"pump_id": [f"p{i}" for i in range(rows)], EVENT: [at + timedelta(minutes=i) for i in range(rows)]}
    typed = {name: pa.array(values, pa.float64()) for name, values in columns.items()}
    storage.write_table(storage.uri("features", "levels", f"date={day}"), pa.table(frame | typed))


def test_the_statistics_of_a_day_are_those_of_its_values(storage: Storage) -> None:
    """Nulls count as missing, and neither they nor infinities count in the statistics."""
    values = [4.0, None, 1.0, float("inf"), 3.0, 2.0]
    deliver(storage, FIRST, level=values)
    [day] = profile(storage, "levels", "pump_id", ["level"], 5).features["level"]
    known = pd.Series([4.0, 1.0, 3.0, 2.0])
    assert (day.rows, day.null_share) == (6, pytest.approx(1 / 6))
    assert (day.mean, day.std) == (pytest.approx(known.mean()), pytest.approx(known.std()))
    assert (day.minimum, day.maximum) == (1.0, 4.0)
    assert day.quantiles == pytest.approx([known.quantile(level) for level in LEVELS])


def test_a_day_without_values_has_no_statistics(storage: Storage) -> None:
    """All missing is not zero: there is no median to show."""
    deliver(storage, FIRST, level=[None, None])
    [day] = profile(storage, "levels", "pump_id", ["level"], 5).features["level"]
    assert day == FeatureDay(FIRST, 2, 1.0, None, None, None, None, ())


def test_only_the_newest_days_are_looked_at_and_all_are_counted(storage: Storage) -> None:
    """The last days by date; the newest reading is theirs."""
    for i in range(4):
        deliver(storage, FIRST + timedelta(i), level=[float(i), float(i)])
    seen = profile(storage, "levels", "pump_id", ["level"], 2)
    assert (seen.days, seen.stored_days, seen.rows, seen.entities) == (
        (FIRST + timedelta(2), FIRST + timedelta(3)), 4, 4, 2,
    )  # fmt: skip
    assert seen.newest_at == datetime(2026, 3, 4, 12, 1, tzinfo=UTC)


def test_a_feature_that_an_older_day_did_not_have_is_missing_there(storage: Storage) -> None:
    """A recipe that grew leaves a gap in the past, not an error."""
    deliver(storage, FIRST, level=[1.0])
    deliver(storage, FIRST + timedelta(1), level=[1.0], height=[2.0])
    before, after = profile(storage, "levels", "pump_id", ["height"], 5).features["height"]
    assert (before.null_share, before.quantiles) == (1.0, ())
    assert after.null_share == 0.0


def test_a_view_of_which_nothing_is_stored_has_no_days(storage: Storage) -> None:
    """Nothing is told of what is not there."""
    seen = profile(storage, "levels", "pump_id", ["level"], 5)
    assert (seen.days, seen.rows, seen.newest_at, seen.features) == ((), 0, None, {"level": ()})


def test_the_page_needs_no_network_and_shows_every_feature(storage: Storage) -> None:
    """No script, no address, a card per feature with its meaning."""
    deliver(storage, FIRST, level=[1.0, 2.0], height=[None, None])
    seen = profile(storage, "levels", "pump_id", ["level", "height"], 5)
    html = page(seen, {"level": "as <read> [bar]"}, {"owner": "ann"}).decode()
    assert re.findall(r"<h2>(.*?)</h2>", html) == ["level", "height"]
    assert "as &lt;read&gt; [bar]" in html
    assert "no value on any day" in html
    assert not re.search(r"https?:|<script|@import|url\(", html)


def test_a_day_without_values_is_a_gap_in_the_bands() -> None:
    """Bands are not drawn across a day of which nothing is known."""
    rng = np.random.default_rng(7)
    known = [FeatureDay(FIRST + timedelta(i), 9, 0.0, 0.0, 1.0, -2.0, 2.0, tuple(sorted(rng.normal(size=5))))
             for i in range(4)]  # fmt: skip
    gap = FeatureDay(FIRST + timedelta(2), 9, 1.0, None, None, None, None, ())
    assert picture("level", known).count("<polyline") == 1
    assert picture("level", [*known[:2], gap, known[3]]).count("<polyline") == 2


def test_every_feature_of_every_statistic_has_a_meaning() -> None:
    """Whatever a recipe can make is explained, with its unit."""
    statistics = ("value", "mean", "std", "min", "max", "slope", "deviation", "count", "rate", "lag1", "lag12")
    recipe = Recipe(("a", "b"), ("1h", "6h"), statistics, ("hour", "weekday", "season"))
    told = meanings(recipe, {"a": "bar"})
    assert tuple(told) == recipe.feature_names
    assert all(told.values())
    assert told["a_slope_6h"] == "trend of a over the last 6h [bar/h]"
    assert told["a_lag12"] == "a, 12 reading(s) earlier [bar]"
    assert "[" not in told["b_mean_1h"]


def test_a_feature_that_the_recipe_does_not_make_is_refused() -> None:
    """With the name that was probably meant."""
    with pytest.raises(FeatureError, match="Did you mean 'a_mean_1h'"):
        meaning(Recipe(("a",), ("1h",), ("mean",)), "a_men_1h")
