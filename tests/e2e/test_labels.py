"""Labels that people give, in whole nights: they see what was known then, and count on what is mature."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from mlops.pipelines import labelling, monitoring, training_set
from mlops.pipelines.night import as_of
from mlops.records import TrainingSet
from mlops.services import Services
from tests.e2e.conftest import Team


def at_night(team: Team, moment: datetime) -> Team:
    """The team at that time."""
    return replace(team, services=Services(team.services.config, clock=lambda: moment))


def made(team: Team, night: date) -> tuple[TrainingSet, pd.DataFrame]:
    """The training set of a night and its rows by press and time."""
    record = training_set.make(team.services, team.services.spec("presses"), night, "schedule")
    rows = training_set.read(team.services, record).rows
    return record, rows.set_index(["press_id", "observed_at"])


def test_a_training_set_made_again_years_later_is_the_same(team: Team) -> None:
    """What people corrected after the night is not in it; the next night's has the correction, and says whose it is."""
    team.write_spec(label={"column": "failing", "store": ["hand"]})
    night = team.history()
    spec, event = team.services.spec("presses"), datetime(2026, 1, 9, 12, tzinfo=UTC)
    early = at_night(team, as_of(night) - timedelta(hours=2))
    labelling.add(early.services, spec, "press-1", event, 1.0)
    first, rows = made(team, night)
    assert rows.loc[("press-1", event), ["label", "label_source"]].tolist() == [1.0, "hand"]
    assert rows["label_source"].value_counts()["delivered"] == len(rows) - 1
    years_later = at_night(team, datetime(2031, 5, 1, tzinfo=UTC))
    labelling.add(years_later.services, spec, "press-1", event, 0.0)
    again, _ = made(team, night)
    assert again.fingerprint == first.fingerprint
    corrected = at_night(team, as_of(night) + timedelta(minutes=1))
    labelling.add(corrected.services, spec, "press-2", event, 1.0 - rows.loc[("press-2", event), "label"])
    assert made(team, night)[0].fingerprint == first.fingerprint


def test_a_revision_is_in_the_first_night_after_its_arrival(team: Team) -> None:
    """A minute after midnight is too late for the night before, and in time for the next."""
    team.write_spec(label={"column": "failing", "store": ["hand"]})
    night = team.history()
    spec, event = team.services.spec("presses"), datetime(2026, 1, 9, 12, tzinfo=UTC)
    before = made(team, night)[1].loc[("press-1", event), "label"]
    labelling.add(at_night(team, as_of(night) + timedelta(minutes=1)).services, spec, "press-1", event, 1.0 - before)
    assert made(team, night)[1].loc[("press-1", event), "label"] == before
    team.deliver(night + timedelta(days=1))
    for step in ("ingestion", "features"):
        assert team.run(step, night + timedelta(days=1)).outcome == "done"
    later = made(team, night + timedelta(days=1))[1].loc[("press-1", event)]
    assert later[["label", "label_source"]].tolist() == [1.0 - before, "hand"]


@pytest.mark.parametrize(("share", "labelled"), [(0.5, True), (1.0, False)])
def test_immature_labels_judge_nobody(team: Team, share: float, labelled: bool) -> None:
    """A detector's holdout with a day of which too little is labelled has no labelled rows: cannot tell, not zero."""
    for day in (date(2026, 1, 5) + timedelta(days=i) for i in range(9)):
        frame = team.readings(day)
        team.deliver(day, frame.assign(failing=frame["failing"].astype(float).where(frame.index % 4 != 0)))
    team.write_spec(
        task="anomaly", label={"column": "failing", "maturity_share": share}, candidates=[{"algorithm": "hbos"}]
    )
    for day in (date(2026, 1, 5) + timedelta(days=i) for i in range(9)):
        for step in ("ingestion", "features"):
            assert team.run(step, day).outcome == "done"
    record, rows = made(team, date(2026, 1, 13))
    assert (record.labelled_rows > 0) is labelled
    assert bool(rows["label"].notna().any()) is labelled
    spec = team.services.spec("presses")
    predictions = rows.reset_index()[["press_id", "observed_at"]].assign(score=0.5, flag=False)
    import pyarrow as pa

    uri = team.services.storage.uri("predictions", "presses", "date=2026-01-13")
    team.services.storage.write_table(uri, pa.Table.from_pandas(predictions, preserve_index=False))
    metrics = monitoring._realised(team.services, spec, date(2026, 1, 13), _Scorer())  # type: ignore[arg-type]
    assert bool(metrics) is labelled


class _Scorer:
    """What the measures ask of a scorer."""

    classes = None
