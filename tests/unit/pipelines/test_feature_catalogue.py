"""The features of an installation, for people."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.errors import FeatureError
from mlops.features.engineering import EVENT
from mlops.pipelines import feature_catalogue
from mlops.services import Services

HOME = Path(__file__).parents[3]
NEWEST = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)
UNUSED = """
from datetime import timedelta
from feast import ValueType, Entity
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

site = Entity(name="site", join_keys=["site_id"], value_type=ValueType.STRING)
unused = telemetry_view(name="unused", entity=site, dataset="sites", recipe=Recipe(("height",)), ttl=timedelta(0))
"""


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """The sample fleet's repository and model, another view that nobody uses, an hour after the last reading."""
    shutil.copytree(HOME / "feature_repo", tmp_path / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HOME / "config", tmp_path / "config")
    (tmp_path / "feature_repo" / "unused.py").write_text(UNUSED)
    config = MLOpsConfig.build({"home": str(tmp_path), "var": str(tmp_path / "var"), "code_version": "test"})
    return Services(config, lambda: NEWEST + timedelta(hours=1))


def deliver(services: Services, view: str, key: str, feature: str) -> None:
    """One stored day with one reading."""
    table = pa.table({key: ["a"], EVENT: [NEWEST], feature: pa.array([1.0])})
    services.storage.write_table(services.storage.uri("features", view, f"date={date(2026, 3, 1)}"), table)


def test_every_declared_view_is_listed_with_its_users(services: Services) -> None:
    """Nothing has to be registered or stored for a view to be listed."""
    fleet, unused = feature_catalogue.catalogue(services)
    assert (fleet.name, fleet.entity, fleet.dataset, fleet.services) == (
        "fleet_telemetry", "device_id", "fleet", ("fleet_anomaly_v1",),
    )  # fmt: skip
    assert [(use.model, len(use.features), use.champion) for use in fleet.used_by] == [
        ("fleet_anomaly", len(fleet.features), None)
    ]
    assert fleet.features["temperature_slope_1h"] == "trend of temperature over the last 1h [°C/h]"
    assert (unused.name, unused.used_by, unused.services) == ("unused", (), ())
    assert not (Path(services.config.var) / "feast").exists()


def test_freshness_is_the_age_of_the_newest_reading_against_the_time_to_live(services: Services) -> None:
    """Fresh up to the limit, stale past it, without limit when none is set, and unknown while nothing is stored."""
    assert feature_catalogue.view(services, "fleet_telemetry", 1).freshness == "cannot tell"
    deliver(services, "fleet_telemetry", "device_id", "temperature")
    deliver(services, "unused", "site_id", "height")
    fleet = feature_catalogue.view(services, "fleet_telemetry", 1)
    assert (fleet.freshness, fleet.age_hours) == ("fresh", 1.0)
    at_limit = Services(services.config, lambda: NEWEST + timedelta(hours=2))
    assert feature_catalogue.view(at_limit, "fleet_telemetry", 1).freshness == "fresh"
    later = Services(services.config, lambda: NEWEST + timedelta(hours=2, seconds=1))
    assert feature_catalogue.view(later, "fleet_telemetry", 1).freshness == "stale"
    assert feature_catalogue.view(later, "unused", 1).freshness == "no limit"


def test_the_champion_of_a_user_is_the_ledgers(services: Services) -> None:
    """Lineage ends at the version that serves with these features now."""
    body = {"version": 3, "reason": "better", "date": "2026-03-01", "evidence_hash": "", "evidence_uri": ""}
    services.ledger.append("promotion", "fleet_anomaly", body, actor="ann", at=NEWEST)
    [use] = feature_catalogue.view(services, "fleet_telemetry", 1).used_by
    assert use.champion == 3


def test_a_service_that_takes_a_part_of_a_view_uses_that_part(services: Services) -> None:
    """A model sees the features of its service, not all of the view."""
    path = services.config.feature_repo / "fleet.py"
    path.write_text(path.read_text().replace("features=[fleet_telemetry]", 'features=[fleet_telemetry[["pressure"]]]'))
    [use] = feature_catalogue.view(services, "fleet_telemetry", 1).used_by
    assert use.features == ("pressure",)


def test_an_unknown_view_is_refused_with_the_one_meant(services: Services) -> None:
    """Did you mean."""
    with pytest.raises(FeatureError, match="Did you mean 'fleet_telemetry'"):
        feature_catalogue.view(services, "fleet_telemetri", 1)


def test_a_model_on_another_service_does_not_use_the_view(services: Services) -> None:
    """Use is by service, not by data set."""
    path = services.config.models_dir / "fleet_anomaly.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(spec | {"features": {"service": "elsewhere_v1"}}), encoding="utf-8")
    assert feature_catalogue.view(services, "fleet_telemetry", 1).used_by == ()
