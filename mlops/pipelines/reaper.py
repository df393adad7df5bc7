"""The reaper: ends what nobody could end, because its process was killed and nobody tried again.

A run that says RUNNING without a living lease becomes KILLED, its parent follows its children, and a logged model whose
upload was cut short becomes FAILED. A retry would do the same by reopening; the reaper is for where none comes.

One rule: a run is ended only by who has taken over its lease, so its process, should it still live, finds out.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlops import log
from mlops.errors import LeaseError
from mlops.services import Services

_LEASE_SECONDS = 30.0
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was ended."""

    killed: tuple[str, ...]  # run keys of the runs that are KILLED now
    parents: tuple[str, ...]  # run keys of their parents, which follow their children
    models: tuple[str, ...]  # ids of logged models that are FAILED now
    alive: tuple[str, ...]  # run keys of the runs that were left alone: somebody is at work on them

    def __str__(self) -> str:
        """In words."""
        parts = [
            f"{len(self.killed)} run(s) killed: {', '.join(self.killed)}" if self.killed else "",
            f"{len(self.models)} unfinished model(s) given up" if self.models else "",
            f"{len(self.parents)} parent(s) settled" if self.parents else "",
        ]
        words = "; ".join(part for part in parts if part) or "Nothing was left behind"
        return f"{words}; {len(self.alive)} run(s) at work."


def reap(services: Services) -> Reaped:
    """End what was left behind, in all experiments.

    Raises:
        StorageError: MLflow cannot be opened.
        LedgerError: the leases cannot be read.
    """
    from mlops.experiments import lifecycle

    client = services.tracker.client
    running = lifecycle.open_runs(client)
    living = services.leases.living("run/")
    killed, alive = [], []
    for run in (run for run in running if not run.is_parent):
        holder = living.get(f"run/{run.run_key}", "")
        if holder and not services.attempt.supersedes(holder):
            alive.append(run.run_key)
            continue
        why = f"Nobody was at work on it any more; {holder or 'its process'} ended without a word."
        try:
            with services.leases.hold(
                f"run/{run.run_key}",
                str(services.attempt),
                _LEASE_SECONDS,
                supersedes=services.attempt.supersedes,
            ):
                if lifecycle.kill(client, run.run_id, why):
                    killed.append(run)
        except LeaseError:
            alive.append(run.run_key)  # a retry was faster
    above = {run.parent_run_id for run in killed} | {run.run_id for run in running if run.is_parent}
    parents = [key for run_id in sorted(above) if run_id and (key := services.tracker.settle(run_id))]
    models = lifecycle.fail_unfinished_models(client)
    found = Reaped(tuple(run.run_key for run in killed), tuple(parents), tuple(models), tuple(alive))
    _log.info("%s", found)
    return found
