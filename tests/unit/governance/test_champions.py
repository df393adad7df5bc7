"""Reigns: read off the ledger without gaps or overlaps, whatever the clocks said."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mlops.governance.champions import (
    champion_after,
    champion_at,
    open_intents,
    reigns,
    rolled_away,
    way_back,
)
from mlops.governance.ledger import Entry

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


def entry(seq: int, kind: str, at: datetime = NOW, key: str | None = None, **body: object) -> Entry:
    """An entry of the ledger."""
    return Entry(seq, "m", kind, key, "ann", at, body, "", f"hash{seq}")


def told(*moves: tuple[str, int]) -> list[Entry]:
    """A history of promotions ("p") and rollbacks ("r"), an hour apart."""
    kinds = {"p": "promotion", "r": "rollback"}
    return [
        entry(i, kinds[kind], NOW + timedelta(hours=i), version=version) for i, (kind, version) in enumerate(moves, 1)
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["promotion", "rollback", "repair", "promotion_refused", "promotion_intent", "approval"]),
            st.integers(1, 5),
            st.integers(-100, 100),
            st.booleans(),
        )
    )
)
def test_reigns_have_neither_gaps_nor_overlaps(made: list[tuple[str, int, int, bool]]) -> None:
    """Each begins where the one before ends, the last lasts, and every moment after the first has one champion."""
    entries = [
        entry(i, kind, NOW + timedelta(minutes=minutes), version=version, promoted=promoted, closes="x")
        for i, (kind, version, minutes, promoted) in enumerate(made, 1)
    ]
    found = reigns(reversed(entries))
    assert [r.entry_seq for r in found] == [
        e.seq for e in entries if e.kind in ("promotion", "rollback", "repair") and e.body["promoted"]
    ]
    for before, after in itertools.pairwise(found):
        assert before.until_at == after.from_at >= before.from_at
    assert not found or found[-1].until_at is None
    for minutes in range(-110, 110, 7):
        time = NOW + timedelta(minutes=minutes)
        holding = [r for r in found if r.from_at <= time and (r.until_at is None or time < r.until_at)]
        assert ([champion_at(found, time)] if found and time >= found[0].from_at else []) == holding


def test_a_repair_is_a_reign_only_if_it_says_so() -> None:
    """Putting an alias back changes nothing about who is champion."""
    entries = [entry(i, kind, version=1) for i, kind in enumerate(("promotion", "repair", "promotion_refused"), 1)]
    assert [r.version for r in reigns(entries)] == [1]


def test_the_way_back_is_a_stack() -> None:
    """Promotions add to it, rollbacks take from it, and what was rolled away from is not on it."""

    def way(*moves: tuple[str, int]) -> list[int]:
        return [r.version for r in way_back(reigns(told(*moves)))]

    assert way() == way(("p", 1)) == []
    assert way(("p", 1), ("p", 2), ("p", 3)) == [2, 1]
    assert way(("p", 1), ("p", 2), ("p", 3), ("r", 2)) == [1]
    assert way(("p", 1), ("p", 2), ("p", 3), ("r", 1)) == []
    assert way(("p", 1), ("p", 2), ("r", 1), ("p", 4)) == [1]
    assert way(("p", 1), ("p", 2), ("r", 1), ("r", 2)) == [1]
    assert way(("p", 1), ("p", 2), ("p", 1)) == [2]


def test_rolled_away_is_what_a_rollback_ended_last() -> None:
    """Coming back clears it; being displaced by a promotion never sets it."""
    assert rolled_away(reigns(told(("p", 1), ("p", 2)))) == frozenset()
    assert rolled_away(reigns(told(("p", 1), ("p", 2), ("r", 1)))) == {2}
    assert rolled_away(reigns(told(("p", 1), ("p", 2), ("r", 1), ("r", 2)))) == {1}


def test_the_champion_after_a_night_does_not_depend_on_when_that_was() -> None:
    """Nights that were lived through in one afternoon are asked for by their own dates."""
    nights = [date(2026, 3, 1), date(2026, 3, 4)]
    entries = [entry(i, "promotion", version=i, date=str(night)) for i, night in enumerate(nights, 1)]
    found = reigns(entries)
    asked = {day: champion_after(found, date(2026, 3, day) if day else date(2026, 2, 28)) for day in (0, 1, 3, 4, 9)}
    assert {day: r.version if r else None for day, r in asked.items()} == {0: None, 1: 1, 3: 1, 4: 2, 9: 2}


def test_an_intent_is_open_until_something_closes_it() -> None:
    """A completion closes it, an undoing as well; each has the key that the intent names."""
    intent = entry(1, "promotion_intent", key="k/intent", closes="k", version=1)
    other = entry(2, "rollback_intent", key="j/intent", closes="j", version=1)
    assert open_intents([intent, other]) == [intent, other]
    assert open_intents([intent, other, entry(3, "promotion", key="k", version=1)]) == [other]
    assert open_intents([intent, other, entry(3, "promotion_undone", key="k", version=1)]) == [other]
