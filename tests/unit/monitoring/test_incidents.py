"""The life of an incident: what is the same, when people are told, and how rarely."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import IncidentError
from mlops.monitoring import incidents as life
from mlops.records import Incident
from mlops.spec import AlertsSpec

START = datetime(2026, 3, 2, 1, tzinfo=UTC)
FINDING = Incident("fleet/drift", "fleet", "drift", START.date(), "normal", "Half moved.", "It scores on.", "Look.")
TERMS = AlertsSpec()


def at(hours: float) -> datetime:
    """So many hours after the start."""
    return START + timedelta(hours=hours)


def finding(hours: float = 0, **changes: Any) -> Incident:
    """What is found so many hours after the start."""
    return dataclasses.replace(FINDING, **({"date": at(hours).date()} | changes))


def lived(*hours_found: float, over_at: tuple[float, ...] = (), **changes: Any) -> tuple[Incident, list[str]]:
    """The incident after it was found at these hours, and over at those; and what people were told."""
    known, told = None, []
    for hour in sorted({*hours_found, *over_at}):
        if hour in over_at:
            assert known is not None
            known, event = life.over(known, at(hour))
        else:
            known, event = life.found(known, finding(hour, **changes), at(hour), TERMS)
        told += [f"{hour:g} {event}"] if event else []
    assert known is not None
    return known, told


def test_finding_the_same_again_tells_nobody() -> None:
    """A retry or a second process changes only when it was last seen; another date counts."""
    once, _ = lived(0)
    again, told = lived(0, 1)
    assert told == ["0 opened"]
    assert dataclasses.replace(again, last_seen_at=once.last_seen_at) == once
    assert (again.first_seen_at, again.last_seen_at, again.count) == (at(0), at(1), 1)
    other, told = lived(0, 23)
    assert (other.count, other.dates, told[1:]) == (2, (date(2026, 3, 2), date(2026, 3, 3)), ["23 reminder"])


def test_reminders_come_after_twice_as_long_each_time_up_to_a_week() -> None:
    """Found every night for two months, people are told in nights 1, 2, 4, 8, 15 and then once a week."""
    _, told = lived(*(24.0 * night for night in range(60)))
    assert [float(words.split()[0]) / 24 + 1 for words in told] == [1, 2, 4, 8, 15, 22, 29, 36, 43, 50, 57]


def test_who_looks_after_it_is_not_reminded_but_hears_when_it_becomes_worse() -> None:
    """Acknowledged, a month of findings is quiet; with more urgency it is open again."""
    known, _ = lived(0)
    known, event = life.acknowledged(known, by="ann", note="on it")
    assert (event, known.state, known.by) == ("acknowledged", "acknowledged", "ann")
    assert life.acknowledged(known, by="bob") == (known, None)
    for night in range(1, 30):
        known, event = life.found(known, finding(24 * night), at(24 * night), TERMS)
        assert (event, known.state) == (None, "acknowledged")
    known, event = life.found(known, finding(720, urgency="high"), at(720), TERMS)
    assert (event, known.state, known.urgency) == ("worse", "open", "high")
    known, event = life.found(known, finding(721, urgency="low"), at(721), TERMS)
    assert (event, known.urgency) == (None, "high")


def test_a_silence_is_kept_until_its_date_and_told_of_afterwards() -> None:
    """Nothing is told before, not even what is worse or back; what is still open then is told, what is over is not."""
    known, _ = lived(0)
    known, _ = life.silenced(known, now=at(1), until=date(2026, 3, 10), by="ann", note="pumps are replaced")
    known, event = life.found(known, finding(24, urgency="high"), at(24), TERMS)
    assert (event, known.state, known.urgency) == (None, "silenced", "high")
    over, event = life.over(known, at(30))
    assert (event, over.state) == ("resolved", "resolved")
    back, event = life.found(over, finding(48), at(48), TERMS)
    assert (event, back.state) == (None, "silenced")
    assert life.woken(back, at(180)) == (back, None)
    woken, event = life.woken(back, datetime(2026, 3, 10, tzinfo=UTC))
    assert (event, woken.state, woken.silenced_until) == ("reminder", "open", None)


@pytest.mark.parametrize(("until", "note"), [(date(2026, 3, 2), "why"), (date(2026, 3, 9), "  ")])
def test_a_silence_needs_a_later_date_and_a_reason(until: date, note: str) -> None:
    """Without an end or a reason nothing is silenced."""
    known, _ = lived(0)
    with pytest.raises(IncidentError):
        life.silenced(known, now=at(1), until=until, by="ann", note=note)


def test_what_is_over_can_neither_be_acknowledged_nor_silenced() -> None:
    """The error says since when it is over."""
    known, _ = lived(0, over_at=(5,))
    with pytest.raises(IncidentError, match="over since 2026-03-02 06:00 UTC"):
        life.acknowledged(known, by="ann")
    assert life.resolved(known, now=at(9), by="ann") == (known, None)


def test_it_is_over_date_by_date() -> None:
    """A good delivery ends its own date; the incident is over with the last one."""
    known, _ = lived(0, 24, 48)
    known, event = life.over(known, at(50), day=at(24).date())
    assert (event, known.state, known.dates) == (None, "open", (at(0).date(), at(48).date()))
    assert life.over(known, at(50), day=at(24).date()) == (known, None)
    known, event = life.over(known, at(51), until=at(40).date())
    assert (event, known.dates) == (None, (at(48).date(),))
    known, event = life.over(known, at(52), day=at(48).date())
    assert (event, known.state, known.resolved_at) == ("resolved", "resolved", at(52))


def test_what_comes_and_goes_is_damped() -> None:
    """Back for the second time it is called flapping, and from then on told of as rarely as a reminder."""
    hours = range(0, 20, 2)
    known, told = lived(*hours, over_at=tuple(hour + 1 for hour in hours))
    assert told[:5] == ["0 opened", "1 resolved", "2 reopened", "3 resolved", "4 flapping"]
    assert [words for words in told if not words.endswith("resolved")] == ["0 opened", "2 reopened", "4 flapping"]
    assert life.held_back(known, TERMS) == timedelta(hours=72)
    assert known.number == 0
    assert known.reopened == 9


def test_what_comes_back_long_after_is_another_incident() -> None:
    """After `reopen_hours` without it, it begins anew; what was silenced stays so."""
    _, told = lived(0, 100, over_at=(1,))
    assert told == ["0 opened", "1 resolved", "100 opened"]


def test_an_older_date_found_late_does_not_replace_newer_words() -> None:
    """A backfill of last week counts, but the newest finding is what people read."""
    known, _ = lived(48, summary="new")
    known, _ = life.found(known, finding(0, summary="old"), at(49), TERMS)
    assert (known.summary, known.date, known.count) == ("new", at(48).date(), 2)


def test_forty_features_are_one_incident() -> None:
    """Findings of one key gather their parts, each once; back again, only what is found now."""
    known, told = None, []
    for column in range(40):
        known, event = life.found(known, finding(parts=(f"f{column:02}",)), at(0), TERMS)
        told.append(event)
    assert known is not None
    assert (len(known.parts), told[0], set(told[1:]), known.count) == (40, "opened", {None}, 1)
    over, _ = life.over(known, at(1))
    back, _ = life.found(over, finding(parts=("f01",)), at(2), TERMS)
    assert back.parts == ("f01",)


@given(st.lists(st.tuples(st.floats(0.01, 30), st.booleans()), min_size=1, max_size=120))
def test_the_number_of_alerts_is_bounded_however_it_behaves(steps: list[tuple[float, bool]]) -> None:
    """Whatever is found or over and when: at most four alerts, and one more for each `repeat_hours`, per incident."""
    known, hour, alerts = None, 0.0, 0
    for pause, is_over in steps:
        hour += pause
        if is_over:
            known = life.over(known, at(hour))[0] if known else None
            continue
        before = known
        known, event = life.found(known, finding(hour), at(hour), TERMS)
        if event == "opened":
            alerts, opened = 0, hour
            assert before is None or at(hour) - (before.resolved_at or at(0)) > timedelta(hours=TERMS.reopen_hours)
        alerts += event is not None
        assert alerts <= 1 + TERMS.flaps + (hour - opened) / TERMS.repeat_hours
        assert life.found(known, finding(hour), at(hour), TERMS) == (known, None)
