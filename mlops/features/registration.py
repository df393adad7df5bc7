"""Registers what a repository declares, once: the registry itself remembers what it was given.

One rule: the record of an apply lies in what it made, so that whoever deletes the one has deleted the other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops.errors import FeatureError

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

    try:
        feast.apply(list(objects))
    except Exception as error:
        raise FeatureError(
            f"Feast refuses what {feast.config.repo_path} declares: {error}", hint="Correct the files, then run again."
        ) from error
    feast.registry.apply_project(Project(name=feast.project, tags={_FINGERPRINT_TAG: fingerprint}))
    feast.refresh_registry()


def _tables(path: Path) -> int:
    """Tables in an SQLite file, 0 without one."""
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("select count(*) from sqlite_master where type = 'table'").fetchone()[0])
