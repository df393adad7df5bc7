"""What a DAG run becomes in the summary."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

from demo.summary import Summary, step_of, to_json
from mlops.records import DataSlice
from tests.unit.demo.by_hand import dag_run, featured, ingested, judged, promoted, scored, told, trained, watched

DAY = date(2026, 3, 13)
NEXT = date(2026, 3, 14)


def test_of_several_dates_the_gravest_outcome_counts() -> None:
    """A run over a good and a quarantined date is a "no", told by the reason of the quarantined one."""
    step = step_of(dag_run("ingestion", ingested(NEXT), ingested(DAY, good=False)))
    assert step.outcome == "no"
    assert step.reason.startswith("Quarantined: temperature")
    assert step.dates == (DAY, NEXT)


def test_done_outweighs_nothing_to_do() -> None:
    """A run that did something for one of its dates is done."""
    nothing = told(
        "ingestion", NEXT, "nothing_to_do", "Nothing was delivered.", DataSlice("fleet", NEXT, "nothing_to_do")
    )
    assert step_of(dag_run("ingestion", ingested(DAY), nothing)).outcome == "done"


def test_a_failed_run_is_failed_whatever_its_tasks_returned() -> None:
    """A failed task makes the step failed, with the error as its reason."""
    run = replace(dag_run("ingestion", ingested(DAY)), status="failed", error="ingest: disk full")
    step = step_of(run)
    assert (step.outcome, step.reason) == ("failed", "ingest: disk full")


def test_a_run_without_a_report_is_failed() -> None:
    """No report is never read as "fine"."""
    assert step_of(dag_run("features", "2026-03-13")).outcome == "failed"


def test_a_training_is_told_by_what_was_selected() -> None:
    """Of a training's reports the selection's counts; candidates, cause and work of all its tasks are kept."""
    step = step_of(trained(DAY, 4, "drift"))
    assert step.challenger == 4
    assert step.trained_because == "drift"
    assert [candidate.candidate for candidate in step.candidates] == ["isolation_forest", "ecod"]
    assert step.work_seconds == 0.8 + 2 * 1.2 + 0.4
    assert len(step.reports) == 1
    assert step.reason == "Version 4 (isolation_forest) is new."


def test_a_training_without_a_delivery_is_told_by_its_preparation() -> None:
    """Where nothing was trained, the preparation's report is the step's."""
    nothing = told("training", DAY, "nothing_to_do", "In quarantine; the champion stays.", None)
    step = step_of(dag_run("training", {"report": nothing, "training_set": None, "candidates": [], "labels": []}))
    assert (step.outcome, step.reason, step.trained_because) == (
        "nothing_to_do",
        "In quarantine; the champion stays.",
        "",
    )


def test_a_judgement_names_both_sides_and_its_gates() -> None:
    """A validation step knows challenger, champion and every gate."""
    step = step_of(judged(DAY, 5, 2, -0.02))
    assert (step.challenger, step.champion, step.outcome) == (5, 2, "no")
    assert [gate.name for gate in step.gates if gate.verdict == "fail"] == ["better_than_champion"]


def test_a_promotion_names_the_new_champion() -> None:
    """After a promotion the champion is the version that was promoted."""
    step = step_of(promoted(DAY, 5, 2))
    assert step.promoted
    assert step.champion == 5


def test_predictions_and_drift_keep_their_version_and_findings() -> None:
    """Inference and monitoring name the champion they used; monitoring keeps a report per date."""
    assert step_of(scored([DAY], 3)).champion == 3
    step = step_of(watched([DAY, NEXT], 3, moved=True))
    assert [(report.date, report.verdict) for report in step.drift] == [(DAY, "drift"), (NEXT, "drift")]
    assert step.outcome == "no"


def test_who_started_a_run_is_kept() -> None:
    """An Asset's event is told by its name."""
    step = step_of(featured([DAY]))
    assert (step.started_by, step.events) == ("asset", ("fleet_anomaly/validated_data",))


def test_the_summary_is_plain_json(summary: Summary) -> None:
    """Dates are ISO 8601, and a number that is not finite is null, for JSON has none."""
    text = to_json(replace(summary, peak_rss_mb=float("nan")))
    back = json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    assert back["peak_rss_mb"] is None
    assert back["nights"][0]["date"] == summary.nights[0].date.isoformat()
    assert back["started_at"] == "2026-11-21T05:30:00+00:00"
    assert back["nights"][2]["steps"][0]["reports"][0]["record"]["status"] == "quarantined"
    assert set(back) >= {
        "schema",
        "model",
        "seconds",
        "seconds_by_part",
        "peak_rss_mb",
        "history",
        "nights",
        "champions",
    }


def test_what_runs_beside_a_step_is_not_its_outcome() -> None:
    """Monitoring that found drift is a "no", whether performance was measured before or after it; both are work."""
    found = told("monitoring", DAY, "no", "3 of 10 columns moved.", None)
    beside = told("performance", DAY, "done", "roc_auc 0.9 on 100 labelled rows.", None)
    for returned in ((found, beside), (beside, found)):
        step = step_of(dag_run("monitoring", *returned))
        assert (step.outcome, step.reason) == ("no", "3 of 10 columns moved.")
        assert step.work_seconds == found["seconds"] + beside["seconds"]
