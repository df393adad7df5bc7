"""Leftovers: temporary files of writers that were killed before they could publish or remove them.

Reads: the names and ages of all files below the root of storage. Writes: nothing; with `apply` it removes them. On S3
there are none: a PUT is one step. No ledger entry is made, as nothing in them was ever published.

One rule: what is younger than any lease may still be written, and stays.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from mlops.governance.retention import Collected, Item
from mlops.records import StepReport, to_dict
from mlops.services import Services

SECONDS = 3_600.0  # many times a lease: who has written for so long has lost it
_TEMPORARY = re.compile(r"/\.[^/]+\.[0-9a-f]{32}\.tmp$")  # as `Storage.write_bytes` names them


def run(services: Services, apply: bool = False) -> StepReport:
    """Find temporary files that nobody writes any more, and remove them if asked to.

    Returns:
        done, or nothing_to_do; the record is a `Collected`. The report is of no model: its name is empty.

    Raises:
        StorageError: one could not be removed.
    """
    # By the clock that dated the files, which `services.clock` need not be.
    now = datetime.now(UTC)
    items = []
    for file in services.storage.listing(services.storage.root.rstrip("/")):
        if _TEMPORARY.search(file.uri):
            keep = file.modified_at >= now - timedelta(seconds=SECONDS)
            why = "somebody may be writing it" if keep else f"nobody has written it since {file.modified_at:%F %H:%M}"
            items.append(Item("leftover", file.uri, keep, (why,), file.size))
    gone = [item for item in items if not item.keep]
    if apply:
        for item in gone:
            services.storage.delete(item.name)
    found = Collected(tuple(sorted(items, key=lambda item: item.keep)), applied=apply)
    if not gone:
        words = f"No writer has left a file behind; {len(items)} may be at work." if items else "Nothing is left over."
        return StepReport("leftovers", "", now.date(), "nothing_to_do", words, record=to_dict(found))
    verb = "Deleted" if apply else "Would delete"
    words = f"{verb} {len(gone)} temporary files of killed writers; {found.freed / 1e6:,.1f} MB."
    return StepReport("leftovers", "", now.date(), "done", words, record=to_dict(found))
