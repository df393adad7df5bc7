"""Answers of a long measure, kept in a file as they come: a run that is cut short goes on where it was."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Job = tuple[Any, ...]


def answers(
    measure: str, jobs: Sequence[Job], ask: Callable[[Sequence[Job]], Iterable[tuple[Job, Any]]]
) -> dict[Job, Any]:
    """The answer to each job; those that the folder `BENCH_KEEP` holds are not asked again.

    Args:
        measure: names the file.
        jobs: JSON says what each is, without loss.
        ask: answers jobs one after the other, in any order, in values that JSON holds.
    """
    folder = os.environ.get("BENCH_KEEP")
    file = Path(folder) / f"{measure}.jsonl" if folder else None
    found: dict[Job, Any] = {}
    if file is not None and file.exists():
        lines = (json.loads(line) for line in file.read_text().splitlines())
        found = {tuple(line["job"]): line["answer"] for line in lines}
    wanted = [job for job in jobs if job not in found]
    for job, answer in ask(wanted) if wanted else ():
        found[job] = answer
        line = json.dumps({"job": job, "answer": answer})
        print(measure, line, file=sys.stderr, flush=True)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as kept:
                kept.write(line + "\n")
    return {job: found[job] for job in jobs}
