"""The evidence bundle: sealed, the same for the same numbers, and readable without a network."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, date, datetime

import pytest

from mlops.models.evidence import bundle, evidence_hash
from mlops.models.evidence_page import figures
from mlops.models.intervals import Bar, picture
from mlops.records import GateDecision, GatePart, GateResult, ModelVersion, TrainingSet, Verdict, to_dict

GATES = (
    GateResult("better_than_champion", "fail", "average precision .412 <against> .395", -0.004, 0.0),
    GateResult("latency", "cannot_tell", "No call was timed.", None, 1000.0),
)
DECISION = GateDecision("fleet", 7, 5, "fail", GATES, date(2026, 3, 2), "d" * 64)
CHALLENGER = ModelVersion(
    "fleet", 7, "run", "key", "uri", "d" * 64, "i" * 64, "ecod", metrics={"roc_auc": 0.9, "r2": float("nan")}
)
TRAINING_SET = TrainingSet(
    model="fleet",
    date=date(2026, 3, 2),
    run_key="k",
    uri="u",
    fingerprint="f" * 64,
    features=("a", "b"),
    rows=10_000,
    entities=24,
    fit_rows=6_000,
    calibration_rows=2_000,
    holdout_rows=2_000,
    labelled_rows=1_900,
    positives=88,
    window_start=datetime(2026, 2, 20, tzinfo=UTC),
    holdout_start=datetime(2026, 3, 1, tzinfo=UTC),
    window_end=datetime(2026, 3, 3, tzinfo=UTC),
)


def test_the_hash_covers_every_number_and_survives_storage() -> None:
    """What was written as JSON and read back has the hash; any other gate value, digest or data set has another."""
    sealed = bundle(DECISION, challenger=CHALLENGER, training_set=TRAINING_SET)
    assert evidence_hash(json.loads(json.dumps(sealed.facts, indent=2))) == sealed.hash
    others = [
        bundle(dataclasses.replace(DECISION, gates=GATES[:1]), challenger=CHALLENGER, training_set=TRAINING_SET),
        bundle(DECISION, challenger=dataclasses.replace(CHALLENGER, digest="e" * 64), training_set=TRAINING_SET),
        bundle(DECISION, challenger=CHALLENGER, training_set=dataclasses.replace(TRAINING_SET, positives=89)),
    ]
    assert sealed.hash not in {other.hash for other in others}


def test_sealing_again_gives_the_same_evidence() -> None:
    """Hash and address written into the decision, and the version's later stage, do not change the evidence."""
    sealed = bundle(DECISION, challenger=CHALLENGER, training_set=TRAINING_SET)
    decision = dataclasses.replace(DECISION, evidence_hash=sealed.hash, evidence_uri="somewhere")
    challenger = dataclasses.replace(CHALLENGER, stage="staging", reused=True)
    assert bundle(decision, challenger=challenger, training_set=TRAINING_SET) == sealed
    assert sealed.facts["decision"] == to_dict(DECISION)


@pytest.mark.parametrize(
    ("verdict", "headline"),
    [("pass", "may be promoted"), ("fail", "is refused"), ("cannot_tell", "the evidence does not suffice")],
)
def test_the_page_says_verdict_gates_and_numbers(verdict: Verdict, headline: str) -> None:
    """A person reads the verdict first, then every gate with value, limit and reason, then what it stands on."""
    decision = dataclasses.replace(DECISION, verdict=verdict)
    sealed = bundle(decision, challenger=CHALLENGER, training_set=TRAINING_SET)
    page = sealed.html.decode()
    assert f"fleet version 7 <em>{headline}" in re.sub(r"is not promoted: ", "", page)
    for text in ("better than champion", "−.004", "cannot tell", "against champion version 5", "2,000 to judge",
                 "1,900 rows of the holdout, 88 positive", ".900", sealed.hash):  # fmt: skip
        assert text in page


def test_the_page_needs_no_network_and_escapes_what_it_shows() -> None:
    """Nothing is loaded from anywhere, no script runs, and text from a gate cannot become markup."""
    page = bundle(DECISION, challenger=CHALLENGER, training_set=TRAINING_SET).html.decode()
    assert not re.search(r"https?://|<script|@import|url\(|src=", page)
    assert "&lt;against&gt;" in page


def test_a_first_champion_is_called_one() -> None:
    """Without a champion the page says so."""
    page = bundle(
        dataclasses.replace(DECISION, champion_version=None), challenger=CHALLENGER, training_set=TRAINING_SET
    )
    assert "no champion yet" in page.html.decode()


def test_the_page_draws_the_difference_the_slices_and_the_stretches() -> None:
    """One picture each: the band from bound to bound, the limit, and the part that is harmed in another colour."""
    numbers = {"difference": 0.01, "low": -0.004, "high": 0.024, "challenger": 0.9, "champion": 0.89}
    parts = (
        GatePart("site a", 0.02, 0.01, 0.03, -0.01, 500, False),
        GatePart("site b", -0.05, -0.07, -0.03, -0.01, 400, True),
        GatePart("site c", 0.0, -0.02, 0.02, -0.01, 90, False),
    )
    drawn = (
        GateResult("better_than_champion", "fail", "why", -0.004, 0.0, numbers),
        GateResult("no_slice_harmed", "fail", "one pays", 0.01, 0.05, parts=parts),
        GateResult("stable_over_time", "pass", "calm", 0.5, 0.05, parts=parts[:1]),
    )
    shown = figures(dataclasses.replace(DECISION, gates=drawn))
    assert [figure.title for figure in shown] == ["The difference from the champion", "Slices", "Over time"]
    wide, narrow = shown[1].svg.split("</svg>", 1)  # one for screens, one for phones; the worst first
    assert [re.findall(r'<g class="(\w+)"', svg) for svg in (wide, narrow)] == [["fail", "cannot_tell", "pass"]] * 2
    assert "site b: −.050 against the champion (−.070 to −.030), limit −.010, 400 rows" in shown[1].svg
    page = bundle(dataclasses.replace(DECISION, gates=drawn), challenger=CHALLENGER, training_set=TRAINING_SET)
    assert page.html.count(b'<svg class="wide"') == page.html.count(b'<svg class="narrow"') == 3


def test_a_picture_puts_values_where_the_axis_says() -> None:
    """Twice as far from 0 is twice as many pixels, and the limit lies left of a bound above it."""
    bars = [Bar("x", 0.0, 0.01, 0.02, -0.01, "pass")]
    svg = picture(bars, "x")
    zero, dot = (float(re.findall(pattern, svg)[0]) for pattern in (r'class="zero" x1="([\d.]+)"', r'cx="([\d.]+)"'))
    limit = float(re.findall(r'class="limit" x1="([\d.]+)"', svg)[0])
    end = float(re.findall(r'x2="([\d.]+)" y2="13.0"/><circle', svg)[0])
    assert dot - zero == pytest.approx(zero - limit, abs=0.2)
    assert end - zero == pytest.approx(2 * (dot - zero), abs=0.2)


def test_settings_code_and_champion_are_part_of_the_evidence() -> None:
    """Other settings, other code or another champion are other evidence, and the page shows them."""
    plain = {"challenger": CHALLENGER, "training_set": TRAINING_SET}
    full = bundle(DECISION, **plain, champion=CHALLENGER, settings={"alpha": 0.05}, code={"version": "c0ffee"})
    assert "c0ffee" in full.html.decode()
    assert "alpha" in full.html.decode()
    others = [
        bundle(DECISION, **plain, champion=CHALLENGER, settings={"alpha": 0.01}, code={"version": "c0ffee"}),
        bundle(DECISION, **plain, champion=CHALLENGER, settings={"alpha": 0.05}, code={"version": "decaf"}),
        bundle(DECISION, **plain, settings={"alpha": 0.05}, code={"version": "c0ffee"}),
    ]
    assert full.hash not in {other.hash for other in others}
