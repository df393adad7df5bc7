"""Retention never deletes what can be reached, whatever the history."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.governance.ledger import Entry
from mlops.governance.ledger_reasons import waiting_versions
from mlops.governance.retention import FolderFacts, Holdings, Item, RunFacts, VersionFacts, decide
from mlops.spec.retention import RetentionSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)
VERSIONS = st.integers(1, 8)


def entry(seq: int, kind: str, age: float, body: dict[str, Any], key: str | None = None) -> Entry:
    """A ledger entry of so many days ago."""
    return Entry(seq, "m", kind, key, "ann", NOW - timedelta(days=age), body, "", f"h{seq}")


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Promotions, rollbacks, intents (some closed), questions, holds, releases and experiments, in order of time."""
    kinds = ["promotion", "rollback", "promotion_intent", "approval_request", "hold", "release", "drift_alarm"]
    kinds += ["experiment_start", "experiment_stop"]
    made: list[Entry] = []
    ages = sorted(draw(st.lists(st.floats(0, 400), max_size=14)), reverse=True)
    for age in ages:
        kind, version = draw(st.sampled_from(kinds)), draw(VERSIONS)
        key = f"k{len(made)}"
        body: dict[str, Any] = {"version": version, "closes": f"{key}/done"}
        if kind.startswith("experiment"):
            body["experiment"] = draw(st.sampled_from(["colour", "size"]))
        if kind == "experiment_start":
            body["variants"] = [{"name": "a", "version": version}, {"name": "b", "version": draw(VERSIONS)}]
            body["date"] = (NOW - timedelta(days=age)).date().isoformat()
        made.append(entry(len(made) + 1, kind, age, body, key))
        if kind == "promotion_intent" and draw(st.booleans()):
            made.append(entry(len(made) + 1, "promotion_undone", age, {"version": version}, f"{key}/done"))
    return made


@st.composite
def worlds(draw: st.DrawFn) -> Holdings:
    """Versions with aliases, the runs they came from, and folders, of all ages."""
    numbers = draw(st.lists(VERSIONS, unique=True, min_size=4, max_size=8))
    aliased = draw(st.dictionaries(st.sampled_from(["champion", "challenger", "shadow"]), VERSIONS))
    ages = st.floats(0, 400) | st.just(400.0)  # old ones are what the rule is about
    versions = tuple(
        VersionFacts(
            version=number,
            stage=draw(st.sampled_from(["archived", "development", "staging", "production"])),
            aliases=tuple(name for name, at in aliased.items() if at == number),
            registered_at=NOW - timedelta(days=draw(ages)),
            run_id=f"r{draw(st.integers(0, 5))}",
            training_set_uri=f"s{draw(st.integers(0, 5))}",
            ours=draw(st.sampled_from([True, True, False])),
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
    nights = [date(2026, 5, 31) - timedelta(days=draw(st.integers(0, 400))) for _ in range(6)]
    reports = tuple(FolderFacts("reports", f"e{i}", NOW, nights[i], (draw(VERSIONS),)) for i in range(2))
    predictions = tuple(FolderFacts("predictions", f"d{i}", NOW, nights[i], (draw(VERSIONS),)) for i in (2, 3))
    logs = tuple(FolderFacts("prediction_log", f"l{i}", NOW, nights[i]) for i in (4, 5))
    tests = tuple(FolderFacts("backtest", f"b{i}", NOW - timedelta(days=draw(ages))) for i in range(2))
    return Holdings(versions, runs, sets + reports + predictions + logs + tests)


POLICIES = st.builds(
    RetentionSpec,
    keep_versions=st.integers(1, 4),
    keep_days=st.integers(1, 100),
    predictions_days=st.none() | st.integers(1, 300),
    reports_days=st.none() | st.integers(1, 300),
    prediction_log_days=st.none() | st.integers(1, 300),
    backtests_days=st.none() | st.integers(1, 300),
)
JUDGED = st.none() | st.dates(date(2026, 1, 1), date(2026, 6, 1))


def gone(items: tuple[Item, ...], kind: str) -> set[str]:
    """Names of the things of a kind that may go."""
    return {item.name for item in items if item.kind == kind and not item.keep}


def in_use(entries: list[Entry], spec: RetentionSpec) -> set[int]:
    """Told anew, one entry after the other: versions that the ledger forbids to delete."""
    champions: list[tuple[int, datetime]] = []
    held: set[int] = set()
    answering: dict[str, set[int]] = {}
    for item in entries:
        version = int(item.body["version"])
        if item.kind == "experiment_start":
            answering[item.body["experiment"]] = {variant["version"] for variant in item.body["variants"]}
        elif item.kind == "experiment_stop":
            answering.pop(item.body["experiment"], None)
        elif item.kind in ("promotion", "rollback"):
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
    return held | intents | set(recent[: spec.keep_versions + 1]) | lately | set().union(*answering.values())


def looked_at_since(entries: list[Entry]) -> date:
    """Told anew: the first date of any experiment that was not stopped after its last start."""
    starts: list[date] = [NOW.date()]
    for number, item in enumerate(entries):
        name = item.body.get("experiment")
        if item.kind == "experiment_start":
            later = [other.kind for other in entries[number + 1 :] if other.body.get("experiment") == name]
            if not later:
                starts.append(date.fromisoformat(item.body["date"]))
    return min(starts)


def dated_folders_stay(
    held: Holdings, items: tuple[Item, ...], entries: list[Entry], spec: RetentionSpec, judged_from: date | None
) -> None:
    """What lies by date stays as long as the spec says, as labels may come, and as an experiment looks at it."""
    limits = {"reports": spec.reports_days, "prediction_log": spec.prediction_log_days}
    for kind, days in (limits | {"predictions": spec.predictions_days, "backtest": spec.backtests_days}).items():
        for folder in held.folders:
            if folder.kind == kind and folder.uri in gone(items, kind):
                assert days is not None
                made_on = folder.touched_at.date() if folder.night is None else folder.night
                assert made_on <= (NOW - timedelta(days=days)).date()
    for folder in held.folders:
        if folder.kind == "predictions" and judged_from and folder.night and folder.night >= judged_from:
            assert folder.uri not in gone(items, "predictions")
        if folder.kind == "prediction_log" and folder.night and folder.night >= looked_at_since(entries):
            assert folder.uri not in gone(items, "prediction_log")


@settings(max_examples=400, deadline=None)
@given(held=worlds(), entries=histories(), spec=POLICIES, judged_from=JUDGED)
def test_what_can_be_reached_is_never_deleted(
    held: Holdings, entries: list[Entry], spec: RetentionSpec, judged_from: date | None
) -> None:
    """No version in use, aliased, held, awaited, answering, judged or young goes; nor what one that stays needs.

    Its runs, training sets and evidence, that is; nor what is still to be judged, or looked at by an experiment.
    """
    items = decide(held, entries, spec, NOW, judged_from=judged_from)
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
    dated_folders_stay(held, items, entries, spec, judged_from)
    for folder in held.folders:
        if folder.kind == "predictions" and judged_from and folder.night and folder.night >= judged_from:
            assert not deleted & set(folder.versions)


@settings(max_examples=150, deadline=None)
@given(held=worlds(), entries=histories(), spec=POLICIES, judged_from=JUDGED, cut=st.integers(0, 30))
def test_half_done_and_done_again_ends_where_one_run_ends(
    held: Holdings, entries: list[Entry], spec: RetentionSpec, judged_from: date | None, cut: int
) -> None:
    """Deleting in the given order, cut short anywhere and decided anew, keeps exactly what one whole run keeps."""
    first = decide(held, entries, spec, NOW, judged_from=judged_from)
    done = {item.name for item in [item for item in first if not item.keep][:cut]}
    rest = Holdings(
        tuple(v for v in held.versions if str(v.version) not in done),
        tuple(r for r in held.runs if r.name not in done),
        tuple(f for f in held.folders if f.uri not in done),
    )
    again = decide(rest, entries, spec, NOW, judged_from=judged_from)
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


def test_old_logs_and_backtests_go_when_the_spec_says_so() -> None:
    """By default both stay; with a limit what is older goes, but for the dates and versions of a running experiment."""
    old, start = NOW - timedelta(days=90), NOW - timedelta(days=40)
    nights = {"before": start.date() - timedelta(days=1), "since": start.date()}
    logs = tuple(FolderFacts("prediction_log", name, NOW, night) for name, night in nights.items())
    versions = tuple(VersionFacts(number, "archived", (), old, f"r{number}", "") for number in (1, 2, 3))
    held = Holdings(versions, (), (*logs, FolderFacts("backtest", "b", old), FolderFacts("backtest", "new", NOW)))
    body = {"experiment": "e", "variants": [{"name": "a", "version": 1}, {"name": "b", "version": 2}]}
    running = [entry(1, "experiment_start", 40, body | {"date": str(start.date())})]
    stopped = [*running, entry(2, "experiment_stop", 1, {"experiment": "e"})]
    limits = RetentionSpec(prediction_log_days=30, backtests_days=30)
    for spec, entries, expected in (
        (RetentionSpec(), running, {"3"}),
        (limits, running, {"3", "before", "b"}),
        (limits, stopped, {"1", "2", "3", "before", "since", "b"}),
    ):
        assert {item.name for item in decide(held, entries, spec, NOW) if not item.keep} == expected
