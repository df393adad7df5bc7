"""Accidents on a real Airflow: an API server that is away, supervisors and the scheduler killed, people who are silent.

Each step of each pipeline is met in the middle of its work by each of them, with the settings as they are shipped.
`MLOPS_FAULTS_AIRFLOW=defaults` takes Airflow's own instead: then the tests of the outage fail, as they should.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.live import ACCIDENTS, CASES, ENDING, OUTAGE_SECONDS, REAPED, STARTER, Night, model_of, night
from tests.faults.world import FIRST, SECOND

MET = list(dict.fromkeys(step for step, _ in CASES))
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live"), pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Night:
    """The night of accidents, lived through once."""
    return night(tmp_path_factory.mktemp("accidents"), postgres_server)


@pytest.mark.parametrize(("step", "accident"), CASES)
def test_a_task_that_met_an_accident_leaves_what_an_undisturbed_one_leaves(
    lived: Night, step: str, accident: str, tell: Callable[..., None]
) -> None:
    """For each step and accident: the run is green, and its model's whole state is that of a quiet night."""
    tell(step, ACCIDENTS[accident], "DIFFERS")
    assert lived.ended[step, accident] == "success"
    found = lived.found[step, accident]
    for name, value in lived.expected[step].items():
        assert found[name] == value, f"{model_of(accident, step)}: {name}"
    tell(step, ACCIDENTS[accident], "same")


@pytest.mark.parametrize("step", MET)
def test_a_task_outlives_an_api_server_that_is_away_for_75_seconds(lived: Night, step: str) -> None:
    """It is not killed, and no retry is spent: with Airflow's own settings it would be dead after half a minute."""
    assert lived.outage_seconds >= OUTAGE_SECONDS
    assert lived.tries[step, "away"] == 1


def test_a_task_that_ends_while_the_api_server_is_away_is_not_done_twice(lived: Night) -> None:
    """Its answer waits until somebody takes it: no retry, and the run goes on to its end."""
    assert (lived.ended[ENDING, ENDING], lived.tries[ENDING, ENDING]) == ("success", 1)
    assert lived.found[ENDING, ENDING] == lived.expected["fit"]


@pytest.mark.parametrize("step", MET)
def test_a_task_does_not_outlive_its_supervisor(lived: Night, step: str) -> None:
    """The kernel ends the orphan at once; Airflow tries again when the heartbeats have been missing for long enough."""
    assert lived.orphans == []
    assert lived.tries[step, "orphan"] == 2


def test_the_reaper_ends_what_killed_supervisors_left_open_and_nothing_else(lived: Night) -> None:
    """Runs without anybody at work are KILLED; the tasks that stand still beside them, alive, are left alone."""
    killed = {key.partition("/")[0] for key in lived.reaped}
    assert killed == {model_of("orphan", step) for step in REAPED}


def test_no_run_says_running_in_the_end(lived: Night) -> None:
    """After all accidents and one more reaper, MLflow holds no open run."""
    assert lived.running == []


def test_silence_refuses_and_the_next_night_goes_on(lived: Night) -> None:
    """Nobody answers in time: the run is green, nothing is promoted, the ledger says why; the next night asks again."""
    assert lived.approvals["silent"] == "success"
    kinds = [(kind, body["version"]) for kind, _, body in lived.approvals["ledger"] if kind != "signature"]
    expected = [("registration", 1), ("registration", 2)]
    asked = [("approval_request", 1), ("promotion_refused", 1)]
    answered = [("approval_request", 2), ("approval", 2), ("promotion_intent", 2), ("promotion", 2)]
    assert kinds == [*expected, *asked, *answered]
    (refused,) = [body for kind, _, body in lived.approvals["ledger"] if kind == "promotion_refused"]
    assert refused["date"] == FIRST.isoformat()
    assert "nobody" in refused["reason"].lower()


def test_the_person_who_answered_through_the_api_stands_in_the_ledger(lived: Night) -> None:
    """The responder's name, the answer, the comment and the way it was given; and the champion is by that decision."""
    assert lived.approvals["answered"] == "success"
    ((actor, vote),) = [(actor, body) for kind, actor, body in lived.approvals["ledger"] if kind == "approval"]
    assert (actor, vote["answer"], vote["comment"], vote["via"]) == (STARTER, "approve", "seen", "airflow")
    (promotion,) = [body for kind, _, body in lived.approvals["ledger"] if kind == "promotion"]
    assert promotion["approved_by"] == [STARTER]
    assert promotion["date"] == SECOND.isoformat()
