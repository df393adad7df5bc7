"""A night lived on both engines: the same tables, training set, predictions, verdicts and drift."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from mlops import spark_order
from mlops.config import MLOpsConfig
from mlops.data import fleet, partitions, quarantine
from mlops.errors import IntegrityError
from mlops.models import shipping
from mlops.pipelines import drift_nights, features, inference, ingestion, monitoring, training, training_set
from mlops.pipelines import quarantine as decisions
from mlops.records import StepReport, TrainingSet
from mlops.services import Services
from mlops.spec import CandidateSpec, ModelSpec, SplitSpec
from tests.conftest import ROOT
from tests.spark.conftest import on_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PUMPS = fleet.FleetConfig(devices=8)
DAYS = [PUMPS.first_day + timedelta(days=i) for i in range(6)]
NIGHT, BAD = DAYS[4], DAYS[5]
ENGINES = ("duckdb", "spark")


@dataclass(frozen=True)
class Lived:
    """What an engine has made of a night."""

    services: Services
    spec: ModelSpec
    reports: dict[str, StepReport]
    learned: TrainingSet

    def table(self, *place: str) -> pd.DataFrame:
        """A table that it has published, in the order in which it is read."""
        frame: pd.DataFrame = self.services.storage.read_table(self.services.storage.uri(*place)).to_pandas()
        return frame

    def record(self, step: str, *without: str) -> dict[str, Any]:
        """What a step has recorded, but for what names this installation."""
        record = self.reports[step].record
        return {key: value for key, value in record.items() if key not in without}


def spec_of(services: Services) -> ModelSpec:
    """The sample fleet's model, with a past of three days and one quick candidate."""
    split = SplitSpec(window_days=3, holdout_days=1, calibration_days=1, folds=2, gap_hours=2)
    forest = CandidateSpec(algorithm="isolation_forest", params={"n_estimators": 20})
    spec = services.spec("fleet_anomaly")
    changes = {"split": split, "candidates": (forest,), "contract": spec.contract.model_copy(update={"min_rows": 50})}
    return spec.model_copy(update=changes)


def live(services: Services) -> Lived:
    """The steps of a night, and the ingestion of a delivery that breaks its contract.

    Both engines make their training set; what was learned from the first one is the champion of both.
    """
    spec, reports = spec_of(services), {}
    for name, step in (("ingestion", ingestion), ("features", features)):
        reports[name] = step.run(services, spec, NIGHT)
    learned = training_set.make(services, spec, NIGHT, "schedule")
    if services.registry.find(spec.name, 1) is None:
        training.run(services, spec, NIGHT)
        services.registry.set_alias(spec.name, "champion", 1)
    for name, later in (("inference", inference), ("monitoring", monitoring)):
        reports[name] = later.run(services, spec, NIGHT)
    reports["bad"] = ingestion.run(services, spec, BAD)
    return Lived(services, spec, reports, learned)


@pytest.fixture(scope="module")
def lived(session: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lived, Lived]:
    """The same past, then a night on each engine; on Spark each table is cut into several files."""
    root = tmp_path_factory.mktemp("both")
    folders = {engine: root / engine / "var" for engine in ENGINES}
    made = {
        engine: MLOpsConfig.build({"home": ROOT, "var": str(var), "code_version": "test", "actor": "ann"})
        for engine, var in folders.items()
    }
    shared = {name: getattr(made["duckdb"], name) for name in ("tracking_uri", "keys_dir", "signing_key_file")}
    made["spark"] = on_spark(made["spark"], root).model_copy(update=shared)
    first = Services.open(made["duckdb"])
    for day in DAYS:
        fleet.write_delivery(PUMPS, day, f"{folders['duckdb']}/inbox")
    path = folders["duckdb"] / "inbox" / "fleet" / f"{BAD}.parquet"
    bad = pd.read_parquet(path)
    bad.loc[bad.index[5:200], "temperature"] = 999.0
    bad.to_parquet(path, index=False)
    for day in DAYS[:4]:
        for step in (ingestion, features):
            assert step.run(first, spec_of(first), day).outcome == "done"
    shutil.copytree(folders["duckdb"], folders["spark"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark_order, "ROWS_PER_FILE", 400)
        one, other = (live(Services.open(made[engine])) for engine in ENGINES)
    return one, other


def test_the_validated_partition_is_the_same_row_for_row(lived: tuple[Lived, Lived]) -> None:
    """Checked and written by Spark in several files: rows, order, types, counts and words are those of one machine."""
    here, there = lived
    assert here.reports["ingestion"].outcome == "done"
    assert there.reports["ingestion"].reason == here.reports["ingestion"].reason
    told = ("uri", "content_hash", "report_uri")
    assert there.record("ingestion", *told) == here.record("ingestion", *told)
    one, other = (
        side.services.storage.manifest(partitions.partition_uri(side.services.storage, side.spec.dataset, NIGHT))
        for side in lived
    )
    assert one is not None
    assert other is not None
    assert (len(other.shards), len(one.shards)) == (3, 0)
    assert (other.schema, other.facts, other.rows) == (one.schema, one.facts, one.rows)
    place = ("data", "fleet", f"date={NIGHT}")
    pd.testing.assert_frame_equal(there.table(*place), here.table(*place), check_exact=True)


def test_features_are_the_same(lived: tuple[Lived, Lived]) -> None:
    """Every value; and the gates on what went online."""
    here, there = lived
    told = ("uris", "content_hash", "checks_uri")
    assert there.record("features", *told) == here.record("features", *told)
    for uri in here.record("features")["uris"]:
        place = uri.removeprefix(here.services.storage.root).strip("/")
        keys = ["device_id", "event_timestamp", "created_timestamp"]
        one, other = (side.table(place).sort_values(keys, ignore_index=True) for side in lived)
        pd.testing.assert_frame_equal(other, one, check_exact=True)


def test_the_training_set_is_the_same(lived: tuple[Lived, Lived]) -> None:
    """Its fingerprint is over every value in order, split and features."""
    here, there = lived
    assert here.learned.fit_rows > 900
    assert there.learned.fingerprint == here.learned.fingerprint
    assert there.learned.gates == here.learned.gates


def test_predictions_are_the_same_to_the_last_bit(lived: tuple[Lived, Lived]) -> None:
    """In the same order, with the same counts of alarms and the same gates on the join."""
    here, there = lived
    assert here.reports["inference"].record["scored_rows"] > 1_000
    assert there.reports["inference"].reason == here.reports["inference"].reason
    told = ("uri", "content_hash")
    assert there.record("inference", *told) == here.record("inference", *told)
    uris = [inference.predictions_uri(side.services, side.spec, NIGHT) for side in lived]
    one, other = (side.services.storage.manifest(uri) for side, uri in zip(lived, uris, strict=True))
    assert one is not None
    assert other is not None
    assert len(other.shards) == 3
    assert other.schema == one.schema
    assert other.facts == one.facts
    place = ("predictions", here.spec.name, f"date={NIGHT}")
    pd.testing.assert_frame_equal(there.table(*place), here.table(*place), check_exact=True)


def test_drift_is_judged_alike(lived: tuple[Lived, Lived]) -> None:
    """By profiles of all rows: the verdict on each column, and each distance as near as a profile tells it."""
    reports = [side.record("monitoring") for side in lived]
    assert reports[1]["verdict"] == reports[0]["verdict"]
    assert [c["verdict"] for c in reports[1]["columns"]] == [c["verdict"] for c in reports[0]["columns"]]
    for name in ("current_rows", "reference_rows", "entities_seen", "gates"):
        assert reports[1][name] == reports[0][name], name
    kept = []
    for side in lived:
        nights = drift_nights.before(side.services, side.spec, NIGHT + timedelta(days=1), _reference(side))
        kept.append(nights[-1].distances)
    assert len(kept[0]) > 10
    assert kept[1] == pytest.approx(kept[0], rel=1e-3, abs=1e-6)


def _reference(side: Lived) -> str:
    name = f"{NIGHT}.json"
    found = side.services.storage.read_json(side.services.storage.uri("drift", side.spec.name, name))
    return str(found["reference"])


def test_a_bad_delivery_waits_with_the_same_reasons_and_can_be_released(lived: tuple[Lived, Lived]) -> None:
    """The rows as they came, what was found, and what becomes of them when people release them."""
    here, there = lived
    assert here.reports["bad"].outcome == "no"
    assert there.reports["bad"].reason == here.reports["bad"].reason
    one, other = (quarantine.read(side.services.storage, side.spec.dataset, BAD) for side in lived)
    pd.testing.assert_frame_equal(other, one, check_exact=True)
    told = [decisions.explain(side.services, side.spec.dataset, BAD) for side in lived]
    for left, right in zip(told[1].broken, told[0].broken, strict=True):
        pd.testing.assert_frame_equal(left.examples, right.examples)
        assert replace(left, examples=None) == replace(right, examples=None)  # type: ignore[arg-type]
    for side in lived:
        assert decisions.release(side.services, side.spec, BAD, "a known sensor fault").outcome == "done"
    place = ("data", "fleet", f"date={BAD}")
    pd.testing.assert_frame_equal(there.table(*place), here.table(*place), check_exact=True)


def test_an_executor_refuses_files_that_were_changed_on_the_way(lived: tuple[Lived, Lived]) -> None:
    """A model is verified where it arrives: a changed file, another signature, or another version is not loaded."""
    services, spec = lived[1].services, lived[1].spec
    good = shipping.ship(services.registry, services.registry.get(spec.name, 1))
    assert good.scorer() is good.scorer()
    name = next(path for path in good.files if path.endswith((".skops", ".pkl")))
    changed = replace(good, files={**good.files, name: good.files[name] + b"\0"})
    renamed = replace(good, version=replace(good.version, version=2))
    unsigned = replace(good, signature=b"{}")
    for bad in (changed, renamed, unsigned):
        with pytest.raises(IntegrityError, match=r"not loaded|not what was signed"):
            bad.scorer()
