"""Promotion and rollback through Airflow: waiting for people, in their names, and the form of a rollback."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.services import Services
from tests.contenders import Contenders, logged_runs

pytestmark = pytest.mark.dags


@pytest.fixture
def contenders(
    request: pytest.FixtureRequest, write_spec: Callable[..., Any], installation: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> Contenders:  # fmt: skip
    """Versions of a model whose promotion takes two people."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    write_spec(name, promotion={"approval": "people", "approvers": 2, "timeout_hours": 1})
    monkeypatch.setenv("MLOPS_ROLES", "{model-approver: [alice, bob]}")
    monkeypatch.setenv("MLOPS_ACTOR", "airflow")
    services = Services.open()
    return Contenders(services, services.spec(name), logged_runs(services.tracker, 1))


def states(result: Any) -> dict[str, str]:
    """The state of every task of a run."""
    return {ti.task_id: str(ti.state) for ti in result.get_task_instances()}


def answer(dag_id: str, people: list[tuple[str, str]]) -> threading.Thread:
    """Answer the approvals of a run one after the other, as the UI does; the thread that does it, started."""

    def work() -> None:
        from airflow._shared.timezones import timezone
        from airflow.models.hitl import HITLDetail
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.trigger import handle_event_submit
        from airflow.triggers.base import TriggerEvent
        from airflow.utils.session import create_session
        from sqlalchemy import select

        for number, (person, option) in enumerate(people, 1):
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                time.sleep(0.2)
                with create_session() as session:
                    query = select(HITLDetail, TaskInstance).join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
                    query = query.where(TaskInstance.dag_id == dag_id, TaskInstance.task_id == f"approve_{number}")
                    found = session.execute(query).one_or_none()
                    if found is None or str(found[1].state) != "awaiting_input":
                        continue
                    detail, instance = found
                    detail.chosen_options, detail.params_input = [option], {"comment": "Seen."}
                    detail.responded_by, detail.responded_at = {"id": person, "name": person}, timezone.utcnow()
                    event = TriggerEvent(detail.as_resume_event_payload())
                    handle_event_submit(event, task_instance=instance, session=session)
                    break

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_two_people_approve_in_airflow_and_the_ledger_names_them(
    contenders: Contenders, parse: Callable[[], Any]
) -> None:
    """Each of the two tasks waits for an answer; both votes are in the ledger, and the version is champion."""
    contenders.contender()
    name = contenders.spec.name
    dag = parse().dags[f"promotion__{name}"]
    thread = answer(dag.dag_id, [("alice", "Approve"), ("bob", "Approve")])
    result = dag.test(run_conf={"date": contenders.day(1).isoformat()})
    thread.join(60)
    assert set(states(result).values()) == {"success"}
    votes = contenders.services.ledger.entries(name, "approval")
    assert [(v.actor, v.body["answer"], v.body["via"], v.body["comment"]) for v in votes] == [
        ("alice", "approve", "airflow", "Seen."),
        ("bob", "approve", "airflow", "Seen."),
    ]
    (entry,) = contenders.services.ledger.history(name)
    assert entry.body["approved_by"] == ["alice", "bob"]


def test_a_rejection_in_airflow_refuses_at_once(contenders: Contenders, parse: Callable[[], Any]) -> None:
    """The second person is not asked any more; the refusal is recorded, and nobody is told of a champion."""
    contenders.contender()
    name = contenders.spec.name
    dag = parse().dags[f"promotion__{name}"]
    thread = answer(dag.dag_id, [("bob", "Reject")])
    result = dag.test(run_conf={"date": contenders.day(1).isoformat()})
    thread.join(60)
    found = states(result)
    assert (str(result.state), found["approve_1"], found["approve_2"]) == ("success", "success", "skipped")
    assert (found["promote"], found["announce"]) == ("success", "skipped")
    (refusal,) = contenders.services.ledger.entries(name, "promotion_refused")
    assert refusal.body["reason"] == "bob rejected it: Seen."


@pytest.mark.parametrize("allowed", [True, False])
def test_in_ci_nobody_waits_where_the_settings_allow_it(
    allowed: bool, contenders: Contenders, parse: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto_approve` in the form is honoured with the setting alone; without it the task fails and nothing moves."""
    monkeypatch.setenv("MLOPS_ALLOW_AUTO_APPROVE", str(allowed).lower())
    contenders.contender()
    name = contenders.spec.name
    form = {"date": contenders.day(1).isoformat(), "auto_approve": True}
    result = parse().dags[f"promotion__{name}"].test(run_conf=form)
    champions = [entry.body["decided_by"] for entry in contenders.services.ledger.history(name)]
    if allowed:
        assert (str(result.state), states(result)["approve_2"]) == ("success", "skipped")
        assert champions == ["policy:auto_approve"]
    else:
        assert (str(result.state), states(result)["approve_1"], champions) == ("failed", "failed", [])


def test_a_waiting_promotion_blocks_no_other(contenders: Contenders, parse: Callable[[], Any]) -> None:
    """Several runs may wait at once, longer than the time people have, and are not retried or cut off meanwhile."""
    dag = parse().dags[f"promotion__{contenders.spec.name}"]
    assert dag.max_active_runs > 1
    assert dag.dagrun_timeout.total_seconds() > 3_600 * contenders.spec.promotion.timeout_hours
    for number in (1, 2):
        task = dag.task_dict[f"approve_{number}"]
        assert (task.retries, task.execution_timeout) == (0, None)
    order = ["day", "ask", "approve_1", "approve_2", "promote", "announce"]
    assert dag.task_dict["promote"].upstream_task_ids == {"day", "approve_2"}
    assert sorted(dag.task_dict) == sorted(order)


def test_rollback_from_its_form(
    contenders: Contenders, parse: Callable[[], Any], write_spec: Callable[..., Any]
) -> None:
    """With a reason and without a version: back to the champion before, announced; then there is nothing more to do."""
    name = contenders.spec.name
    write_spec(name)
    dags = parse().dags
    for version in (1, 2):
        contenders.contender()
        form = {"date": contenders.day(version).isoformat()}
        assert states(dags[f"promotion__{name}"].test(run_conf=form))["announce"] == "success"
    result = dags[f"rollback__{name}"].test(run_conf={"reason": "Too loud."})
    assert set(states(result).values()) == {"success"}
    last = contenders.services.ledger.history(name)[-1]
    assert (last.body["version"], last.body["reason"]) == (1, "Rolled back from version 2 to version 1. Too loud.")
    again = dags[f"rollback__{name}"].test()
    assert (str(again.state), states(again)["announce"]) == ("success", "skipped")
