"""Where in the runbook a kind of incident stands, and what goes on working meanwhile.

One rule: every kind that is raised anywhere has its chapter; a test looks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chapter:
    """The part of the runbook about a kind of incident."""

    anchor: str  # of the heading
    goes_on: str  # what goes on working, for incidents that do not say it themselves


_CHANGED = Chapter(
    "the-champion-was-changed-outside", "The champion by the ledger goes on scoring once it is put back."
)
_GONE = Chapter("the-champion-is-gone-or-damaged", "The predictions there are stay; the other models go on.")
CHAPTERS: Mapping[str, Chapter] = {
    "quarantine": Chapter(
        "quarantine-a-delivery-broke-its-contract", "The champion stays and goes on serving; other dates are processed."
    ),
    "drift": Chapter("drift-the-world-has-moved", "The champion goes on scoring."),
    "serving": Chapter(
        "a-champion-does-not-take-over",
        "The version that answers goes on answering, where there is one; batch scoring.",
    ),
    "cut_short": Chapter("a-promotion-was-cut-short", "The champion by the ledger goes on scoring."),
    "alias_moved": _CHANGED,
    "alias_deleted": _CHANGED,
    "alias_set": _CHANGED,
    "alias_double": _CHANGED,
    "stage": _CHANGED,
    "champion_deleted": _GONE,
    "champion_damaged": _GONE,
}
BY_PREFIX: Mapping[str, Chapter] = {
    "experiment_": Chapter("an-experiment-is-invalid", "The champion answers all units; other experiments go on."),
    "failed_": Chapter("a-task-failed", "The last good state stands; nothing half-written is visible."),
    "checks of ": Chapter(
        "a-check-of-the-nights-features-failed", "What was published before stays; other dates are processed."
    ),
}


def chapter(kind: str) -> Chapter | None:
    """The chapter about a kind; None if there is none.

    >>> chapter("failed_training_fit").anchor
    'a-task-failed'
    """
    if kind in CHAPTERS:
        return CHAPTERS[kind]
    return next((found for prefix, found in BY_PREFIX.items() if kind.startswith(prefix)), None)


def page(runbook: str, kind: str) -> str:
    """The page and place that say what to do.

    >>> page("docs/runbook.md", "drift")
    'docs/runbook.md#drift-the-world-has-moved'
    """
    known = chapter(kind)
    return f"{runbook}#{known.anchor}" if known and "#" not in runbook else runbook
