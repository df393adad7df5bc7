"""A night of accidents on a real scheduler, API server and LocalExecutor: each step is met by each of them.

One model per step and accident, so that many tasks are at work at once, and one accident meets all of them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops.config import MLOpsConfig
from mlops.services import Services
from tests.faults.disturbances import Calls
from tests.faults.postgres import Postgres
from tests.faults.stack import Stack, gone
from tests.faults.world import DAYS, FIRST, ROOT, SECOND, STEPS, World, asked, state

OUTAGE_SECONDS = 75.0
ACCIDENTS = {"away": "API server away", "orphan": "supervisor killed", "restart": "scheduler killed"}
MET = {  # which step meets which accident
    "away": STEPS,
    "orphan": STEPS,
    "restart": ("fit", "promotion"),  # one task that writes to MLflow alone, one that decides
}
MATRIX = [(step, accident) for accident, steps in MET.items() for step in steps]
WANTED = os.environ.get("MLOPS_FAULTS_STEPS", ",".join(STEPS)).split(",")  # a part of the night: `fit,validation`
CASES = [(step, accident) for step, accident in MATRIX if step in WANTED]
TASKS = {
    "prepare": "training__{}.prepare",
    "fit": "training__{}.fit",
    "select": "training__{}.select",
    "validation": "validation__{}.validate",
    "promotion": "promotion__{}.promote",
    "rollback": "rollback__{}.roll_back",
}
ENDING = "ending"  # the model whose task ends while the API server is away
ASKED = "asked"  # the model on which a person decides
QUIET = "quiet"  # the model that nothing happens to
REAPED = tuple(step for step in ("fit", "validation") if step in WANTED)  # whose runs the reaper ends before the retry
STARTER = "admin"  # who triggers, by Airflow's login
PATIENT = 900.0  # [s]; nothing here is about speed
PEOPLE = {"approval": "people", "approvers": 1, "role": "model-approver"}
EVERYDAY = {"schedule": {"ingestion": None, "training": None}, "candidates": [{"algorithm": "hbos"}]}


_HANDED: dict[tuple[str, str], Any] = {}  # what one part of training hands to the next, as XCom does


@dataclass
class Night:
    """What was seen."""

    expected: dict[str, Any] = field(default_factory=dict)  # by step: the state it leaves undisturbed
    found: dict[tuple[str, str], Any] = field(default_factory=dict)  # by step and accident: the state in the end
    tries: dict[tuple[str, str], int] = field(default_factory=dict)  # of the task that was met
    ended: dict[tuple[str, str], str] = field(default_factory=dict)  # state of the DAG run
    outage_seconds: float = 0.0
    orphans: list[str] = field(default_factory=list)  # tasks that outlived their supervisor
    reaped: list[str] = field(default_factory=list)  # run keys, before their retries
    running: list[str] = field(default_factory=list)  # run keys that say RUNNING in the end, after the reaper
    approvals: dict[str, Any] = field(default_factory=dict)


def model_of(accident: str, step: str) -> str:
    """The model that meets an accident at a step."""
    return f"{accident}_{step}"


def _task(step: str, accident: str) -> str:
    return TASKS[step].format(model_of(accident, step))


def dag_of(step: str, model: str) -> str:
    """The DAG that a step is a task of."""
    return TASKS[step].format(model).partition(".")[0]


def seen(services: Services, model: str) -> Any:
    """The state of a model, comparable with another's: the name is left out, what is hashed from it, and numbers.

    A rollback's key names the entry that it undoes by its number, which counts the entries of all models.
    """
    found = state(services, model)
    for version in found["versions"]:
        version[3] = "-"  # the inputs hash holds the model's name
    return json.loads(re.sub(r"/of-\d+", "/of-N", json.dumps(found).replace(model, "MODEL")))


# --- before -----------------------------------------------------------------------------------------------------------


def deliver(world: World) -> None:
    """Write all specs and the deliveries."""
    world.deliver()
    (world.root / "models" / "fleet.yaml").unlink()
    for model in [QUIET, ENDING, *(model_of(accident, step) for step, accident in CASES)]:
        world.write_spec(model, **EVERYDAY)
    world.write_spec(ASKED, promotion=PEOPLE | {"timeout_hours": 150 / 3600}, **EVERYDAY)


def prepare(world: World) -> tuple[dict[str, Any], dict[str, int]]:
    """Live one model through it all undisturbed, and the others up to what they are to meet.

    Returns:
        By step, the state it leaves; and the number of outward calls it makes.
    """
    services = world.services()
    for day in DAYS:
        for step in ("ingestion", "features"):
            live(services, ASKED, step, day)  # not QUIET, which is compared: its page would be
    expected: dict[str, Any] = {}
    calls: dict[str, int] = {}
    counted = Calls()
    for step, day in [(step, FIRST) for step in STEPS[:5]] + [(step, SECOND) for step in STEPS]:
        before = counted.count
        live(services, QUIET, step, day)
        if step not in expected:
            expected[step], calls[step] = seen(services, QUIET), counted.count - before
    expected |= dict.fromkeys(("prepare", "fit"), expected["select"])  # their DAG goes on to there
    before_it = {"validation": [STEPS[:3]], "promotion": [STEPS[:4]], "rollback": [STEPS[:5], STEPS[:5]]}
    for step, accident in CASES:
        for lived, day in zip(before_it.get(step, []), (FIRST, SECOND), strict=False):
            for part in lived:
                live(services, model_of(accident, step), part, day)
    for step, day in [*((step, FIRST) for step in STEPS[:4]), *((step, SECOND) for step in STEPS[:3])]:
        live(services, ASKED, step, day, starter="anna")
    return expected, calls


def live(services: Services, model: str, step: str, day: Any, starter: str = STARTER) -> None:
    """One step of one model, by the function that its task calls."""
    from mlops.pipelines import rollback, tasks, training
    from mlops.records import TrainingSet

    spec = services.spec(model)
    if step == "prepare":
        made: list[TrainingSet] = []
        training.prepare_report(services, spec, day, "manual", made.append, starter)
        _HANDED[model, step] = made[0]
    elif step == "fit":
        _HANDED[model, step] = [training.fit(services, spec, _HANDED[model, "prepare"], 0)]
    elif step == "select":
        training.select(services, spec, _HANDED[model, "prepare"], _HANDED[model, "fit"])
    if step in STEPS[:3]:
        return
    options: Mapping[str, Any] = {"ends": rollback.ask(services, model)} if step == "rollback" else {}
    answer = tasks.execute(step, services, spec, day, **options)
    assert answer.outcome == "done", f"{model} {step}: {answer.reason}"


# --- the night --------------------------------------------------------------------------------------------------------


def night(root: Path, server: str) -> Night:
    """Live through it. What goes wrong on the way, not in the end, is raised.

    Args:
        root: an empty folder.
        server: host:port of a PostgreSQL, for Airflow's own database.
    """
    world, told = World(root / "live"), Night()
    world.root.mkdir()
    deliver(world)
    told.expected, calls = asked(world, lambda: prepare(world))
    postgres = Postgres(server, f"live_{uuid.uuid4().hex[:12]}")
    try:
        postgres.make(["airflow"])
        stack = Stack(_config(world), root / "stack", postgres.url("airflow").replace("+psycopg", "+psycopg2"))
        try:
            stack.begin()
            _accidents(world, stack, told, calls)
        finally:
            stack.end()
    finally:
        postgres.drop()
    return told


def _config(world: World) -> MLOpsConfig:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "AIRFLOW"))}
    values = {"home": ROOT, "var": str(world.var), "models_dir": world.root / "models", "code_version": "test"}
    return MLOpsConfig.build(values | {"roles": {"model-approver": (STARTER,)}}, environ)


def _accidents(world: World, stack: Stack, told: Night, calls: Mapping[str, int]) -> None:
    runs = _started(stack, [case for case in CASES if case[1] != "restart"], calls)
    runs[ENDING, ENDING] = _start(stack, "fit", ENDING, calls)
    first = _started_approval(stack)
    held = stack.held([*(_task(*case) for case in runs if case[0] != ENDING), TASKS["fit"].format(ENDING)])
    killed_at = time.monotonic()
    _supervisors_are_killed(world, held, told)
    told.outage_seconds = stack.api_server_away(OUTAGE_SECONDS, lambda: stack.let_go([TASKS["fit"].format(ENDING)]))
    stack.let_go(_task(*case) for case in CASES if case[1] == "away")
    told.approvals["silent"] = stack.api.ended(first, PATIENT)
    for run in runs.values():  # a retry that is under way would go with the scheduler, and count once more
        stack.api.ended(run, PATIENT)
    restarted = [case for case in CASES if case[1] == "restart"]
    runs |= _started(stack, restarted, calls)
    stack.held(_task(*case) for case in restarted)
    stack.kill("scheduler")
    stack.start()
    stack.let_go(_task(*case) for case in restarted)
    world.write_spec(ASKED, promotion=PEOPLE, **EVERYDAY)  # from now on people have a day
    _person_decides(stack, told)
    for (step, accident), run in runs.items():
        told.ended[step, accident] = stack.api.ended(run, PATIENT)
        told.tries[step, accident] = _tries(stack, run, step)
    told.approvals["seconds"] = time.monotonic() - killed_at
    asked_state = asked(world, lambda: _read(world, told, list(runs)))
    told.found = {tuple(key.split("|")): value for key, value in asked_state["found"].items()}
    told.running, told.approvals["ledger"] = asked_state["running"], asked_state["approvals"]


def _started(stack: Stack, cases: Iterable[tuple[str, str]], calls: Mapping[str, int]) -> dict[tuple[str, str], str]:
    return {(step, accident): _start(stack, step, model_of(accident, step), calls) for step, accident in cases}


def _start(stack: Stack, step: str, model: str, calls: Mapping[str, int]) -> str:
    """Start the DAG of a step, its task to be held in the middle of its calls."""
    decides = step in ("promotion", "rollback")  # their lease, which nobody renews, must not be held for minutes
    stack.hold_at(TASKS[step].format(model), 1 if decides else 1 + calls[step] // 2)
    dag = dag_of(step, model)
    _unpause(stack, dag)
    return stack.api.start(dag, date=(SECOND if step == "rollback" else FIRST).isoformat())


def _unpause(stack: Stack, dag: str) -> None:
    stack.api.wait_for("/api/v2/dags?limit=1&dag_id_pattern=" + dag, lambda found: found["total_entries"] == 1, PATIENT)
    stack.api.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})


def _supervisors_are_killed(world: World, held: Mapping[str, Mapping[str, int]], told: Night) -> None:
    """Some before the reaper comes, the others after it: what it has left is what their retries find."""
    tasks = {step: _task(step, accident) for step, accident in CASES if accident == "orphan"}
    for steps in (REAPED, [step for step in tasks if step not in REAPED]):
        for step in steps:
            os.kill(held[tasks[step]]["supervisor"], signal.SIGKILL)
        deadline = time.monotonic() + 10
        left = [tasks[step] for step in steps]
        while left and time.monotonic() < deadline:
            left = [task for task in left if not gone(held[task]["task"])]
            time.sleep(0.1)
        told.orphans += left
        if steps is REAPED:
            told.reaped = asked(world, lambda: _reap(world))


def _reap(world: World) -> list[str]:
    from mlops.pipelines import reaper

    return list(reaper.reap(world.services()).killed)


def _tries(stack: Stack, run: str, step: str) -> int:
    """At which try the task was that was met."""
    task = TASKS["fit" if step == ENDING else step].partition(".")[2]
    found = stack.api.call("GET", f"{run}/taskInstances?limit=100")["task_instances"]
    return max(int(instance["try_number"]) for instance in found if instance["task_id"] == task)


def _read(world: World, told: Night, cases: list[tuple[str, str]]) -> dict[str, Any]:
    from mlops.experiments import lifecycle
    from mlops.pipelines import reaper

    services = world.services()
    reaper.reap(services)
    models = {case: ENDING if case[0] == ENDING else model_of(case[1], case[0]) for case in cases}
    found = {"|".join(case): seen(services, model) for case, model in models.items()}
    running = [run.run_key for run in lifecycle.open_runs(services.tracker.client)]
    kept = [[e.kind, e.actor, e.body] for e in services.ledger.entries(ASKED)]
    return {"found": found, "running": running, "approvals": kept}


# --- a person is asked ------------------------------------------------------------------------------------------------


def _started_approval(stack: Stack) -> str:
    dag = f"promotion__{ASKED}"
    _unpause(stack, dag)
    return stack.api.start(dag, date=FIRST.isoformat())


def _person_decides(stack: Stack, told: Night) -> None:
    """The night after nobody answered: its challenger, once validated, is asked about again, which a person answers."""
    _unpause(stack, f"validation__{ASKED}")
    stack.api.start(f"validation__{ASKED}", date=SECOND.isoformat())
    open_ones = "/api/v2/dags/~/dagRuns/~/hitlDetails?response_received=false&state=awaiting_input"
    (detail,) = stack.api.wait_for(open_ones, lambda found: found["total_entries"] == 1, PATIENT)["hitl_details"]
    told.approvals["page"] = [detail["subject"], detail["body"]]
    instance = detail["task_instance"]
    run = f"/api/v2/dags/{instance['dag_id']}/dagRuns/{instance['dag_run_id']}"
    answer = {"chosen_options": ["Approve"], "params_input": {"comment": "seen"}}
    stack.api.call("PATCH", f"{run}/taskInstances/{instance['task_id']}/-1/hitlDetails", answer)
    told.approvals["answered"] = stack.api.ended(run, PATIENT)
