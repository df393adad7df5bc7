"""Retention never deletes what can be reached, whatever the history."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.governance.ledger import Entry
from mlops.governance.retention import FolderFacts, Holdings, Item, RunFacts, VersionFacts, decide, waiting_versions
from mlops.spec.retention import RetentionSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VERSIONS = st.integers(1, 8)


def entry(seq: int, kind: str, age: float, body: dict[str, Any], key: str | None = None) -> Entry:
    """A ledger entry of so many days ago."""
    return Entry(seq, "m", kind, key, "ann", NOW - timedelta(days=age), body, "", f"h{seq}")


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Promotions, rollbacks, intents (some closed), questions, holds and releases, in the order of time."""
    kinds = ["promotion", "rollback", "promotion_intent", "approval_request", "hold", "release", "drift_alarm"]
    made: list[Entry] = []
    ages = sorted(draw(st.lists(st.floats(0, 400), max_size=14)), reverse=True)
    for age in ages:
        kind, version = draw(st.sampled_from(kinds)), draw(VERSIONS)
        key = f"k{len(made)}"
        made.append(entry(len(made) + 1, kind, age, {"version": version, "closes": f"{key}/done"}, key))
        if kind == "promotion_intent" and draw(st.booleans()):
            made.append(entry(len(made) + 1, "promotion_undone", age, {"version": version}, f"{key}/done"))
    return made


@st.composite
def worlds(draw: st.DrawFn) -> Holdings:
    """Versions with aliases, the runs they came from, and folders, of all ages."""
    numbers = draw(st.lists(VERSIONS, unique=True, max_size=8))
    aliased = draw(st.dictionaries(st.sampled_from(["champion", "challenger", "shadow"]), VERSIONS))
    ages = st.floats(0, 400)
    versions = tuple(
        VersionFacts(
            version=number,
            stage=draw(st.sampled_from(["development", "staging", "production", "archived"])),
            aliases=tuple(name for name, at in aliased.items() if at == number),
            registered_at=NOW - timedelta(days=draw(ages)),
            run_id=f"r{draw(st.integers(0, 5))}",
            training_set_uri=f"s{draw(st.integers(0, 5))}",
            ours=draw(st.booleans()),
        )
        for number in sorted(numbers)
    )
    runs = tuple(
        RunFacts(
            name=f"p{i}",
            run_key=f"m/training/{i}",
            members=(f"r{i}", f"r{i + 3}", f"p{i}"),
            open=draw(st.booleans()),
            touched_at=NOW - timedelta(days=draw(ages)),
            training_sets=(f"s{draw(st.integers(0, 5))}",),
            elsewhere=draw(st.booleans()),
        )
        for i in range(3)
    )
    sets = tuple(FolderFacts("training_set", f"s{i}", NOW - timedelta(days=draw(ages))) for i in range(6))
    nights = [date(2026, 5, 31) - timedelta(days=draw(st.integers(0, 400))) for _ in range(4)]
    reports = tuple(FolderFacts("reports", f"e{i}", NOW, nights[i], (draw(VERSIONS),)) for i in range(2))
    predictions = tuple(FolderFacts("predictions", f"d{i}", NOW, nights[i]) for i in (2, 3))
    return Holdings(versions, runs, sets + reports + predictions)


POLICIES = st.builds(
    RetentionSpec,
    keep_versions=st.integers(1, 4),
    keep_days=st.integers(1, 100),
    predictions_days=st.none() | st.integers(1, 300),
    reports_days=st.none() | st.integers(1, 300),
)


def gone(items: tuple[Item, ...], kind: str) -> set[str]:
    """Names of the things of a kind that may go."""
    return {item.name for item in items if item.kind == kind and not item.keep}


def in_use(entries: list[Entry], spec: RetentionSpec) -> set[int]:
    """Told anew, one entry after the other: versions that the ledger forbids to delete."""
    champions: list[tuple[int, datetime]] = []
    held: set[int] = set()
    for item in entries:
        version = int(item.body["version"])
        if item.kind in ("promotion", "rollback"):
            champions.append((version, item.at))
        elif item.kind == "hold":
            held.add(version)
        elif item.kind == "release":
            held.discard(version)
    keys = {item.key for item in entries}
    intents = {e.body["version"] for e in entries if e.kind == "promotion_intent" and e.body["closes"] not in keys}
    recent: list[int] = []
    for version, _ in reversed(champions):
        if version not in recent:
            recent.append(version)
    lately = {
        version
        for (version, _), (_, until) in itertools.pairwise(champions)
        if until >= NOW - timedelta(days=spec.keep_days)
    }
    return held | intents | set(recent[: spec.keep_versions + 1]) | lately


@settings(max_examples=400, deadline=None)
@given(held=worlds(), entries=histories(), spec=POLICIES)
def test_what_can_be_reached_is_never_deleted(held: Holdings, entries: list[Entry], spec: RetentionSpec) -> None:
    """No version in use, aliased, held, awaited or young goes; nor do runs, sets and evidence of one that stays."""
    items = decide(held, entries, spec, NOW)
    young = NOW - timedelta(days=spec.keep_days)
    deleted = {int(name) for name in gone(items, "version")}
    assert not deleted & in_use(entries, spec)
    stay = [version for version in held.versions if version.version not in deleted]
    for version in held.versions:
        if version.version in deleted:
            assert version.ours
            assert not version.aliases
            assert version.stage not in ("production", "staging")
            assert version.registered_at < young
    for runs in held.runs:
        if runs.name in gone(items, "runs"):
            assert not runs.open
            assert not runs.elsewhere
            assert runs.touched_at < young
            assert not {version.run_id for version in stay} & set(runs.members)
    needed = {version.training_set_uri for version in stay}
    needed |= {uri for runs in held.runs if runs.name not in gone(items, "runs") for uri in runs.training_sets}
    assert not gone(items, "training_set") & needed
    for folder in held.folders:
        if folder.uri in gone(items, "training_set"):
            assert folder.touched_at < young
        if folder.uri in gone(items, "reports"):
            assert not {version.version for version in stay} & set(folder.versions)
    if spec.predictions_days is None:
        assert not gone(items, "predictions")
    if spec.reports_days is None:
        assert not gone(items, "reports")


@settings(max_examples=150, deadline=None)
@given(held=worlds(), entries=histories(), spec=POLICIES, cut=st.integers(0, 30))
def test_half_done_and_done_again_ends_where_one_run_ends(
    held: Holdings, entries: list[Entry], spec: RetentionSpec, cut: int
) -> None:
    """Deleting in the given order, cut short anywhere and decided anew, keeps exactly what one whole run keeps."""
    first = decide(held, entries, spec, NOW)
    done = {item.name for item in [item for item in first if not item.keep][:cut]}
    rest = Holdings(
        tuple(v for v in held.versions if str(v.version) not in done),
        tuple(r for r in held.runs if r.name not in done),
        tuple(f for f in held.folders if f.uri not in done),
    )
    again = decide(rest, entries, spec, NOW)
    assert {item.name for item in again if item.keep} == {item.name for item in first if item.keep}


def test_old_things_nobody_needs_go_in_an_order_that_leads_nowhere_wrong() -> None:
    """An old refused version, its runs and its training set are all named, version first; every line has a reason."""
    old = NOW - timedelta(days=90)
    held = Holdings(
        (
            VersionFacts(1, "archived", (), old, "r1", "s1"),
            VersionFacts(2, "production", ("champion",), old, "r2", "s2"),
        ),
        (RunFacts("p1", "m/training/1", ("r1", "p1"), False, old, ("s1",)),),
        (FolderFacts("training_set", "s1", old), FolderFacts("training_set", "s2", old)),
    )
    items = decide(held, [entry(1, "promotion", 90, {"version": 2})], RetentionSpec(), NOW)
    assert [(i.kind, i.name) for i in items if not i.keep] == [("version", "1"), ("runs", "p1"), ("training_set", "s1")]
    assert all(item.reasons for item in items)
    kept = next(item for item in items if item.kind == "version" and item.keep)
    assert {"is champion", "is in production", "is champion by the ledger"} <= set(kept.reasons)


def test_a_question_waits_until_it_is_answered() -> None:
    """A version somebody was asked about stays; a rejection or a finished promotion ends that."""
    asked = [entry(1, "approval_request", 80, {"version": 4}, "q")]
    assert waiting_versions(asked) == {4: "entry 1 asks for approval"}
    assert waiting_versions([*asked, entry(2, "approval", 79, {"version": 4, "answer": "approve"})])
    for kind, body in (("approval", {"answer": "reject"}), ("promotion", {}), ("promotion_refused", {})):
        assert not waiting_versions([*asked, entry(2, kind, 79, {"version": 4, **body})])


def test_whoever_was_champion_lately_stays_however_many_came_after() -> None:
    """Four champions within the kept days all stay, though only one way back is asked for; an older one goes."""
    old = NOW - timedelta(days=200)
    versions = tuple(VersionFacts(number, "archived", (), old, f"r{number}", "") for number in range(1, 7))
    ages = {1: 190, 2: 100, 3: 20, 4: 15, 5: 10, 6: 5}
    entries = [entry(number, "promotion", age, {"version": number}) for number, age in ages.items()]
    items = decide(Holdings(versions), entries, RetentionSpec(keep_versions=1, keep_days=30), NOW)
    assert gone(items, "version") == {"1"}
