"""Failed tasks as incidents: told once, with what it means and what to do, and resolved by the next success.

One rule: an incident is of one task, mapped index included, so that a sibling's success does not hide its failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from mlops.records import Incident
from mlops.services import Services
from mlops.spec import ModelSpec

MEANING: Mapping[str, str] = {
    "ingestion": "The date is not published; nothing downstream sees it. The champion goes on serving.",
    "features": "The date has no new features; it is neither trained on nor scored until this is repeated.",
    "training": "There is no new challenger; the champion stays and goes on serving.",
    "validation": "Nothing has been decided on the challenger; the champion stays.",
    "promotion": "The challenger may not be champion yet; the next try finishes or refuses the move.",
    "rollback": "The champion may still be the one to be rolled back; the next try finishes the move.",
    "inference": "The date has no predictions by the present champion, or only those of an earlier run.",
    "monitoring": "The date has not been looked at for drift, which does not mean that there is none.",
    "ab_watch": "A canary that harms is not taken back before the next run; the night's look sees it, too.",
    "ab_analysis": "The night's look at the experiments was not made; they go on, and the next night looks at all.",
    "maintenance": "Nothing that was decided or learned is touched; what was left behind is still there.",
}
_UNFIT = re.compile(r"[^A-Za-z0-9_]+")


def consequence(step: str) -> str:
    """What it means that a step has failed.

    >>> consequence("training")
    'There is no new challenger; the champion stays and goes on serving.'
    """
    return MEANING.get(step, "The step is not done.")


def remedy(error: object, run: str) -> str:
    """What to do about it.

    >>> remedy("no columns", "run r1")
    'Mend what the message says (no columns), then clear the failed task of run r1.'
    """
    return f"Mend what the message says ({error}), then clear the failed task of {run}."


def tell(services: Services, spec: ModelSpec, incident: Incident) -> bool:
    """Keep what was found about a model, and tell those whom its spec names.

    Returns:
        True if people are told now; False if they know, or nobody is to be told.

    Raises:
        ConfigError: the settings define no channel of a name.
        LedgerError: it could not be kept.
    """
    return services.alerts.raise_incident(incident, terms=spec.alerts, owner=spec.owner)


def task_failed(services: Services, dag_id: str, task: str, run_id: str, day: date, error: object) -> bool:
    """Tell of a task whose last try has failed.

    Args:
        services: the adapters.
        dag_id: `<step>__<model>`; of another DAG nothing is told.
        task: id of the task, with its mapped index if it has one.
        run_id: of the DAG run.
        day: date of the run.
        error: what was raised.

    Returns:
        True if it was told now; False if it had been told, or is none of ours.
    """
    step, _, model = dag_id.partition("__")
    if not model or step not in MEANING:
        return False
    return tell(
        services,
        services.spec(model),
        Incident(
            key=f"{model}/{_kind(step, task)}",
            model=model,
            kind=_kind(step, task),
            date=day,
            urgency="high" if step in ("promotion", "rollback") else "normal",
            summary=f"Task {task} of {dag_id} has failed: {error}",
            consequence=consequence(step),
            action=remedy(error, f"run {run_id}"),
        ),
    )


def task_succeeded(services: Services, dag_id: str, task: str) -> int:
    """Resolve what was told of a task. Returns the number of incidents that were open."""
    step, _, model = dag_id.partition("__")
    if not model or step not in MEANING:
        return 0
    return services.alerts.resolve(model, _kind(step, task), at=services.clock())


def _kind(step: str, task: str) -> str:
    return f"failed_{step}_{_UNFIT.sub('_', task).strip('_')}"
