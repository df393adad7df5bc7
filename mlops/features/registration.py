"""Registers what a repository declares, once: the registry itself remembers what it was given.

One rule: the record of an apply lies in what it made, so that whoever deletes the one has deleted the other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlops.errors import FeatureError, StorageError

_FINGERPRINT_TAG = "mlops.fingerprint"


def registered(feast: Any) -> str | None:
    """Fingerprint of the repository that was applied last; None if there was none, or its tables are gone.

    Args:
        feast: an open `feast.FeatureStore`.
    """
    from feast.errors import ProjectObjectNotFoundException

    online = feast.config.online_store
    if online.type.endswith("SqliteOnlineStore") and not _tables(Path(online.path)):
        return None
    try:
        project = feast.registry.get_project(feast.project, allow_cache=False)
    except ProjectObjectNotFoundException:
        return None
    return dict(project.tags).get(_FINGERPRINT_TAG)


def register(feast: Any, objects: Sequence[Any], fingerprint: str) -> None:
    """Register `objects`, make the online store's tables, then remember the fingerprint.

    Raises:
        FeatureError: Feast refuses them.
    """
    from feast import Project
    from sqlalchemy.exc import OperationalError

    try:
        feast.apply(list(objects))
    except OperationalError:  # the registry's fault, not that of what is declared
        raise
    except Exception as error:
        raise FeatureError(
            f"Feast refuses what {feast.config.repo_path} declares: {' '.join(str(error).split())}",
            hint=f"{_timeless(objects)}Correct the files, then run again.",
        ) from error
    feast.registry.apply_project(Project(name=feast.project, tags={_FINGERPRINT_TAG: fingerprint}))
    feast.refresh_registry()


def _timeless(objects: Sequence[Any]) -> str:
    """Which sources name no column of times; Feast looks for one, and does not say where it found none."""
    sources = [
        thing if hasattr(thing, "timestamp_field") else getattr(thing, "batch_source", None) for thing in objects
    ]
    names = {source.name for source in sources if source is not None and not source.timestamp_field}
    return f"Source {', '.join(sorted(names))} names no timestamp_field. " if names else ""


def _tables(path: Path) -> int:
    """Tables in an SQLite file, 0 without one.

    Raises:
        StorageError: it cannot be read; in WAL mode even that needs room on the disk.
    """
    if not path.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("select count(*) from sqlite_master where type = 'table'").fetchone()[0])
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"The online store {path} cannot be read: {error}.",
            hint="Free space or mend the permissions, then re-run the step.",
        ) from error


@contextlib.contextmanager
def answering(registry: str) -> Iterator[None]:
    """Within it, a registry that is locked or away is an error in words.

    Args:
        registry: its URL, for the message.

    Raises:
        FeatureError: it does not answer.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise FeatureError(
            f"Feast's registry {make_url(registry).render_as_string(hide_password=True)} does not answer: {said}.",
            hint="Nothing was registered or lost. Let the other process end, or start the database; then run again.",
        ) from error
