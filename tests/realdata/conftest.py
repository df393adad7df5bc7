"""Nights over real data: the specs and feature views of this folder, all state in a temporary one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from mlops.config import MLOpsConfig
from mlops.pipelines.tasks import STEPS, execute
from mlops.records import StepReport
from mlops.services import Services
from mlops.spec import ModelSpec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Services:
    """An installation over the real data sets."""
    var = tmp_path_factory.mktemp("realdata") / "var"
    values = {
        "home": ROOT,
        "var": str(var),
        "models_dir": HERE / "models",
        "feature_repo": HERE / "feature_repo",
        "code_version": "test",
    }
    environ = {"ASD": str(real_data / "asd"), "BEIJING": str(real_data / "beijing_air")}
    return Services.open(MLOpsConfig.build(values, environ))


def live(
    services: Services, spec: ModelSpec, first: date, nights: int, steps: Sequence[str] = STEPS
) -> dict[date, dict[str, StepReport]]:
    """The steps of some nights, one after the other, as the DAGs chain them; by date and step."""
    told: dict[date, dict[str, StepReport]] = {}
    for day in (first + timedelta(days=i) for i in range(nights)):
        told[day] = {step: execute(step, services, spec, day) for step in steps}
    return told
