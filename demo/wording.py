"""Outcomes in a word, for terminal and report alike."""

from __future__ import annotations

from demo.plan import PlannedNight
from demo.summary import Night, Step, StepOutcome

STEPS = ("ingestion", "features", "training", "validation", "promotion", "inference", "monitoring")
_WORDS: dict[tuple[str, StepOutcome], str] = {
    ("ingestion", "done"): "valid",
    ("ingestion", "no"): "quarantined",
    ("features", "done"): "built",
    ("training", "done"): "trained",
    ("validation", "done"): "passed",
    ("validation", "no"): "refused",
    ("promotion", "done"): "promoted",
    ("promotion", "no"): "refused",
    ("inference", "done"): "scored",
    ("monitoring", "done"): "no drift",
    ("monitoring", "no"): "drift",
}


def outcome_word(step: str, outcome: StepOutcome) -> str:
    """What an outcome means for a step.

    >>> outcome_word("ingestion", "no"), outcome_word("features", "nothing_to_do")
    ('quarantined', 'nothing to do')
    """
    return _WORDS.get((step, outcome), outcome.replace("_", " "))


def delivered(night: Night | PlannedNight) -> str:
    """What arrived in a night."""
    words = {
        "normal": "a normal delivery",
        "corrupt": "a corrupt delivery",
        "new regime": "a delivery from a fleet that now runs hotter and faster",
    }
    told = [words.get(d.kind) or f"{d.date:%d %b} once more, whole," for d in night.deliveries]
    return " and ".join(told)


def started(step: Step) -> str:
    """Who started a run."""
    if step.started_by == "asset":
        return "started by " + " and ".join(name.rpartition("/")[2].replace("_", " ") for name in step.events)
    return "started by a person" if step.started_by == "form" else "started by its schedule"
