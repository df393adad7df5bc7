"""Reading a feature repository: afresh, by itself, with errors that name the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, FeatureError
from mlops.features.repository import declared, feast_settings, fingerprint
from mlops.features.store import FeatureStore
from mlops.storage import Storage

HOME = Path(__file__).parents[3]

VIEW = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view
from shared import pump
levels = telemetry_view(name="levels", entity=pump, dataset="pumps", recipe=Recipe(("level",)), ttl=timedelta({ttl}))
service = FeatureService(name="pumps_v1", features=[levels])
"""
ENTITY = """
from feast import Entity, ValueType
pump = Entity(name="pump", join_keys=["pump_id"], value_type=ValueType.{kind})
"""


def repository(folder: Path, ttl: int = 1, kind: str = "STRING") -> Path:
    """A repository of two files, one importing the other."""
    folder.mkdir(exist_ok=True)
    (folder / "shared.py").write_text(ENTITY.format(kind=kind))
    (folder / "pumps.py").write_text(VIEW.format(ttl=ttl))
    return folder


def config(tmp_path: Path) -> MLOpsConfig:
    """Settings over a repository in `tmp_path`."""
    (tmp_path / "repo").mkdir(exist_ok=True)
    yaml = tmp_path / "repo" / "feature_store.yaml"
    yaml.write_text((HOME / "feature_repo" / "feature_store.yaml").read_text())
    return MLOpsConfig.build({"home": HOME, "var": tmp_path / "var", "feature_repo": tmp_path / "repo"})


def test_files_may_import_one_another_and_each_object_counts_once(tmp_path: Path) -> None:
    """A shared entity is found once, whatever imports it, and sources come along with their views."""
    found = declared(repository(tmp_path), "/data")
    assert sorted((type(each).__name__, each.name) for each in found) == [
        ("Entity", "pump"),
        ("FeatureService", "pumps_v1"),
        ("FeatureView", "levels"),
    ]


def test_tables_lie_below_the_given_root(tmp_path: Path) -> None:
    """Two installations in one process do not share tables."""
    repository(tmp_path)
    paths = [
        next(each for each in declared(tmp_path, root) if each.name == "levels").batch_source.path
        for root in ("/one", "s3://two/var")
    ]
    assert paths == ["/one/features/levels/date=*/part.parquet", "s3://two/var/features/levels/date=*/part.parquet"]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Nothing is remembered from an earlier reading, and no module or path entry stays behind."""
    before = (list(sys.path), set(sys.modules) & {"pumps", "shared"})
    first = declared(repository(tmp_path, ttl=1), "/data")
    second = declared(repository(tmp_path, ttl=2), "/data")
    ttls = [next(each for each in found if each.name == "levels").ttl.days for found in (first, second)]
    assert ttls == [1, 2]
    assert before == (list(sys.path), set(sys.modules) & {"pumps", "shared"})


def test_a_service_with_an_unknown_feature_is_answered_with_the_one_meant(tmp_path: Path) -> None:
    """A feature mistyped in a service is refused when the repository is read, and the right name is told."""
    repository(tmp_path)
    (tmp_path / "services.py").write_text(
        "from feast import FeatureService\nfrom pumps import levels\n"
        "mistyped = FeatureService(name='mistyped', features=[levels[['levl']]])\n"
    )
    with pytest.raises(FeatureError, match=r"services\.py cannot be imported: .*levl.* Did you mean 'level'\?"):
        declared(tmp_path, "/data")


def test_a_view_without_timestamps_is_refused(tmp_path: Path) -> None:
    """A source that names no column of times, and has none: nothing is registered, and the source is named."""
    settings = config(tmp_path)
    pd.DataFrame({"pump_id": ["p1"], "level": [1.0]}).to_parquet(tmp_path / "levels.parquet")
    (tmp_path / "repo" / "timeless.py").write_text(
        ENTITY.format(kind="STRING")
        + "from feast import FeatureView, Field, FileSource\nfrom feast.types import Float64\n"
        + f"levels = FileSource(name='levels', path='{tmp_path}/levels.parquet')\n"
        + "view = FeatureView(name='levels', entities=[pump], schema=[Field(name='level', dtype=Float64)], "
        + "source=levels)\n"
    )
    with pytest.raises(FeatureError, match=r"no columns of timestamp type.* Source levels names no timestamp_field"):
        FeatureStore.open(settings, Storage(str(settings.var))).apply()


def test_a_file_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    """A mistake in one file says which file and what."""
    repository(tmp_path)
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    with pytest.raises(FeatureError, match=r"broken\.py cannot be imported: ModuleNotFoundError"):
        declared(tmp_path, "/data")


def test_an_entity_of_a_type_that_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    """A view over an entity that is neither text nor integer says which types there are."""
    with pytest.raises(FeatureError, match="value type DOUBLE, expected STRING or INT64"):
        declared(repository(tmp_path, kind="DOUBLE"), "/data")


def test_one_name_for_two_things_is_refused(tmp_path: Path) -> None:
    """Two different entities of one name would overwrite each other in the registry."""
    repository(tmp_path)
    (tmp_path / "other.py").write_text(ENTITY.format(kind="INT64"))
    with pytest.raises(FeatureError, match="another Entity named 'pump'"):
        declared(tmp_path, "/data")


def test_the_fingerprint_follows_files_settings_and_root(tmp_path: Path) -> None:
    """What is registered depends on the Python files, the configuration and the root; each changes the fingerprint."""
    settings = config(tmp_path)
    repository(settings.feature_repo)
    first = fingerprint(settings, "/data")
    assert fingerprint(settings, "/data") == first
    prints = {first, fingerprint(settings, "/other")}
    repository(settings.feature_repo, ttl=3)
    prints.add(fingerprint(settings, "/data"))
    yaml = settings.feature_repo / "feature_store.yaml"
    yaml.write_text(yaml.read_text().replace("project: mlops", "project: other"))
    prints.add(fingerprint(settings, "/data"))
    assert len(prints) == 4


def test_the_configuration_is_filled_in_from_the_settings(tmp_path: Path) -> None:
    """`${MLOPS_STATE_DIR}` is this installation's, whatever the environment says."""
    found = feast_settings(config(tmp_path))
    assert found["online_store"]["path"] == f"{tmp_path}/var/feast/online.db"


def test_a_missing_configuration_says_which_there_are(tmp_path: Path) -> None:
    """A mistyped file name gets the one that was meant."""
    settings = config(tmp_path).model_copy(update={"feature_store_yaml": "feature_stor.yaml"})
    with pytest.raises(ConfigError, match=r"Did you mean 'feature_store\.yaml'"):
        feast_settings(settings)


def test_the_shipped_repository_declares_the_fleet() -> None:
    """The default use case has one view of 30 features and the service that its spec names."""
    found = {each.name: each for each in declared(HOME / "feature_repo", "/data")}
    assert set(found) == {"device", "fleet_telemetry", "fleet_anomaly_v1"}
    names = [field.name for field in found["fleet_telemetry"].features]
    assert len(names) == 32  # 30 features and the two times of their reading
