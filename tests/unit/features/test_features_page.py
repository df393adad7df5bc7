"""docs/features.md, "Adding a feature", is done as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.features.derived import column
from mlops.features.engineering import engineer
from mlops.features.store import FeatureStore
from mlops.storage import Storage

HOME = Path(__file__).parents[3]
PAGE = (HOME / "docs" / "features.md").read_text(encoding="utf-8")
FUNCTION, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
((OLD, NEW),) = re.findall(r"```diff\n-(.*?)\n\+(.*?)\n```", PAGE, re.DOTALL)


def test_one_function_one_line_and_one_test_make_a_feature(tmp_path: Path) -> None:
    """The three blocks, pasted where the page says, give features through the registry that are right."""
    shutil.copytree(HOME / "feature_repo", tmp_path / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "feature_repo" / "fleet.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(OLD) == 1
    path.write_text(text.replace(OLD, NEW).replace("\nfleet_telemetry =", f"\n{FUNCTION}\n\nfleet_telemetry ="))
    config = MLOpsConfig.build({"home": str(tmp_path), "var": str(tmp_path / "var")})
    store = FeatureStore.open(config, Storage(config.var))
    assert store.apply()
    (view,) = store.views_of("fleet_anomaly_v1")
    assert "power_slope_6h" in view.features
    assert view.recipe is not None
    times = pd.date_range("2026-03-01", periods=6, freq="10min", tz="UTC")
    rows = pd.DataFrame({"device_id": "a", "at": times, "temperature": 1.0, "vibration": 2.0})
    rows = rows.assign(pressure=np.arange(6.0), rotation=3.0)
    made = engineer(rows, view.recipe, entity="device_id", event="at", known_at="at")
    assert made["power"].tolist() == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]
    assert made["power_slope_1h"].iloc[-1] == pytest.approx(18.0)  # 3 more every ten minutes


def test_the_test_on_the_page_passes_and_can_fail() -> None:
    """It passes for the function on the page, and fails for another."""
    scope: dict[str, Any] = {"column": column}
    exec(FUNCTION + TEST, scope)
    scope["test_power_grows_with_both"]()
    scope["power"] = lambda pressure, rotation: pressure + rotation
    try:
        scope["test_power_grows_with_both"]()
    except AssertionError:
        return
    raise AssertionError("the page's test passed for a wrong function")
