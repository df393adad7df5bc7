"""The label store on SQLite and on PostgreSQL: one history, read as it was at any time, changed by nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from mlops.data.label_store import GUARDS, TABLES, Label, LabelStore, Value
from mlops.errors import DataError, LedgerError
from mlops.governance.database import Database

EVENT = datetime(2026, 3, 5, 12, tzinfo=UTC)
ALL = ("hand", "import", "alarm")


def day(number: int) -> datetime:
    """Midnight of a day of March 2026."""
    return datetime(2026, 3, number, tzinfo=UTC)


@pytest.fixture
def store(url: str) -> LabelStore:
    """An empty store."""
    return LabelStore(Database(url, TABLES, GUARDS, what="label store", setting="MLOPS_LABELS_URL"))


def label(value: Value, source: str = "hand", event: datetime = EVENT) -> Label:
    """What ann says of pump a."""
    return Label("a", event, value, source, "ann")


def known(store: LabelStore, as_of: datetime, sources: tuple[str, ...] = ALL) -> list[Value]:
    """What was known of March 2026, in the order in which it arrived."""
    return list(store.known("m", start=day(1), end=day(31), as_of=as_of, sources=sources)["label"])


def test_a_revision_is_seen_from_its_arrival_on_and_never_before(store: LabelStore) -> None:
    """As of any instant the store says what had arrived by then, to the microsecond, whatever came later."""
    store.add("m", [label(1.0)], at=day(6))
    store.add("m", [label(0.0)], at=day(8))
    store.add("m", [label(None)], at=day(9))
    assert known(store, day(6) - timedelta(microseconds=1)) == []
    assert known(store, day(6)) == [1.0]
    assert known(store, day(8) - timedelta(microseconds=1)) == [1.0]
    assert known(store, day(8)) == [1.0, 0.0]
    assert known(store, day(30)) == [1.0, 0.0, None]


def test_what_was_said_before_is_not_said_again(store: LabelStore) -> None:
    """The same label of the same source is one label; of another source, or after another value, it is a new one."""
    assert store.add("m", [label(1.0)], at=day(6)) == 1
    assert store.add("m", [label(1.0)], at=day(7)) == 0
    assert store.add("m", [label(1.0, "import")], at=day(7)) == 1
    assert store.add("m", [label(0.0)], at=day(8)) == 1
    assert store.add("m", [label(1.0)], at=day(9)) == 1
    assert store.add("m", [label(None, event=EVENT + timedelta(hours=1))], at=day(9)) == 0


def test_labels_are_found_by_model_event_and_source(store: LabelStore) -> None:
    """Text and numbers come back as they were given, the end of the window is not part of it."""
    store.add("m", [label("worn"), label(2.5, event=day(20))], at=day(6))
    store.add("other", [label(1.0)], at=day(6))
    assert known(store, day(30)) == ["worn", 2.5]
    assert known(store, day(30), ("alarm",)) == []
    found = store.known("m", start=EVENT, end=day(20), as_of=day(30), sources=ALL)
    assert found["label"].tolist() == ["worn"]
    assert found["happened_at"].tolist() == [EVENT]
    assert found["arrived_at"].tolist() == [day(6)]


def test_the_history_keeps_all_that_was_said_and_by_whom(store: LabelStore) -> None:
    """Oldest first; the newest few on demand."""
    store.add("m", [label(1.0)], at=day(6))
    store.add("m", [Label("a", EVENT, 0.0, "hand", "bob", "the sensor was off")], at=day(8))
    assert [(one.value, one.actor, one.arrived_at) for one in store.history("m")] == [
        (1.0, "ann", day(6)),
        (0.0, "bob", day(8)),
    ]
    (newest,) = store.history("m", entity="a", last=1)
    assert newest.comment == "the sensor was off"
    assert store.history("m", entity="b") == []


@pytest.mark.parametrize("statement", ["UPDATE labels SET value = '0'", "DELETE FROM labels"])
def test_the_database_refuses_to_change_or_delete_a_label(store: LabelStore, url: str, statement: str) -> None:
    """Also for whoever goes behind the store's back."""
    store.add("m", [label(1.0)], at=day(6))
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert known(store, day(30)) == [1.0]


def test_one_wrong_label_keeps_all_from_being_added(store: LabelStore) -> None:
    """Infinity, and a time that nobody can place."""
    for wrong in (label(float("inf")), label(1.0, event=datetime(2026, 3, 5))):  # noqa: DTZ001
        with pytest.raises(DataError, match=r"number|time zone"):
            store.add("m", [label(1.0), wrong], at=day(6))
    assert known(store, day(30)) == []


def test_an_absent_database_is_an_error_that_names_the_store() -> None:
    """Its address and the setting that says it."""
    database = Database(
        "sqlite:////proc/none/labels.db", TABLES, GUARDS, what="label store", setting="MLOPS_LABELS_URL"
    )
    with pytest.raises(LedgerError, match=r"label store at .*MLOPS_LABELS_URL"):
        LabelStore(database).history("m")
