"""What is registered: versions with their tags, aliases, and where files lie. Two ways to MLflow's records.

Importing MLflow takes longer than a rollback may take altogether. So where MLflow keeps its records in SQLite or
PostgreSQL, these few are read and written in its tables (`SqlIndex`), in the words in which MLflow itself writes them;
behind a server, or where the tables are not those that this code knows, MLflow's client does it (`ClientIndex`).

One rule: both answer alike, and each reads what the other has written; one body of tests holds them against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Found:
    """A registered version as MLflow keeps it."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]


class Index(Protocol):
    """Records of registered versions. Every method raises a StorageError where the store refuses."""

    def version(self, model: str, version: int, /) -> Found | None:
        """One version, or None: never made, or deleted."""
        ...

    def versions(self, model: str, /) -> list[Found]:
        """All versions of a model, the oldest first."""
        ...

    def tagged(self, key: str, value: str, model: str | None = None, /) -> list[Found]:
        """Versions with a tag, of one model or of all, by model and version."""
        ...

    def aliases(self, model: str, /) -> dict[str, int]:
        """Version by alias; empty if nothing was registered under that name."""
        ...

    def set_alias(self, model: str, alias: str, version: int, /) -> None:
        """Point an alias to a version; nothing happens if there is no such version."""
        ...

    def delete_alias(self, model: str, alias: str, /) -> None:
        """Take an alias away; nothing happens if there is none."""
        ...

    def set_tag(self, model: str, version: int, key: str, value: str, /) -> None:
        """Set a tag of a version; nothing happens if there is no such version."""
        ...

    def model_location(self, model_id: str, /) -> str | None:
        """Where the files of a logged model lie, or None if there is none of that id."""
        ...

    def run_location(self, run_id: str, /) -> str | None:
        """Where the artifacts of a run lie, or None if there is no such run."""
        ...


class EmptyIndex:
    """`Index` of a store that is not there yet: asking must not make one."""

    def version(self, _model: str, _version: int, /) -> Found | None:
        """None."""
        return None

    def versions(self, _model: str, /) -> list[Found]:
        """None."""
        return []

    def tagged(self, _key: str, _value: str, _model: str | None = None, /) -> list[Found]:
        """None."""
        return []

    def aliases(self, _model: str, /) -> dict[str, int]:
        """None."""
        return {}

    def set_alias(self, _model: str, _alias: str, _version: int, /) -> None:
        """There is no version to point to."""

    def delete_alias(self, _model: str, _alias: str, /) -> None:
        """There is none."""

    def set_tag(self, _model: str, _version: int, _key: str, _value: str, /) -> None:
        """There is no version to tag."""

    def model_location(self, _model_id: str, /) -> str | None:
        """None."""
        return None

    def run_location(self, _run_id: str, /) -> str | None:
        """None."""
        return None


def open_index(uri: str, client: Callable[[], MlflowClient]) -> Index:
    """The way to the records of the store at `uri` that costs least.

    Args:
        uri: of MLflow's tracking store and registry.
        client: opens MLflow's own client; called only where it is needed.
    """
    from mlops.models.index_client import ClientIndex

    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).exists():
        return EmptyIndex()
    if not uri.startswith(("sqlite", "postgresql")):
        return ClientIndex(client())
    from mlops.models.index_sql import SqlIndex

    return SqlIndex.known(uri) or ClientIndex(client())
