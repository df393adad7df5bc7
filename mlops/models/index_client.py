"""The records of registered versions through MLflow's own client, for a server and for stores of other kinds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mlops.errors import StorageError
from mlops.models.index import Found

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")
_ABSENT = "RESOURCE_DOES_NOT_EXIST"


class ClientIndex:
    """`mlops.models.index.Index` on MLflow's client."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def version(self, model: str, version: int, /) -> Found | None:
        """See `Index.version`."""
        found = _asked(lambda: self._client.get_model_version(model, str(version)))
        return None if found is None else _found(found)

    def versions(self, model: str, /) -> list[Found]:
        """See `Index.versions`."""
        return self._search(f"name = '{model}'")

    def tagged(self, key: str, value: str, model: str | None = None, /) -> list[Found]:
        """See `Index.tagged`."""
        words = f"tag.`{key}` = '{value}'"
        return self._search(words if model is None else f"name = '{model}' and {words}")

    def aliases(self, model: str, /) -> dict[str, int]:
        """See `Index.aliases`."""
        found = _asked(lambda: self._client.get_registered_model(model))
        return {} if found is None else {str(alias): int(version) for alias, version in found.aliases.items()}

    def set_alias(self, model: str, alias: str, version: int, /) -> None:
        """See `Index.set_alias`."""
        _asked(lambda: self._client.set_registered_model_alias(model, alias, str(version)))

    def delete_alias(self, model: str, alias: str, /) -> None:
        """See `Index.delete_alias`."""
        _asked(lambda: self._client.delete_registered_model_alias(model, alias))

    def set_tag(self, model: str, version: int, key: str, value: str, /) -> None:
        """See `Index.set_tag`."""
        _asked(lambda: self._client.set_model_version_tag(model, str(version), key, value))

    def model_location(self, model_id: str, /) -> str | None:
        """See `Index.model_location`."""
        found = _asked(lambda: self._client.get_logged_model(model_id))
        return None if found is None else str(found.artifact_location)

    def run_location(self, run_id: str, /) -> str | None:
        """See `Index.run_location`."""
        found = _asked(lambda: self._client.get_run(run_id))
        return None if found is None else str(found.info.artifact_uri)

    def _search(self, words: str) -> list[Found]:
        found: list[Found] = []
        token: str | None = None
        while True:
            page = _asked(partial(self._client.search_model_versions, words, max_results=200, page_token=token))
            found += map(_found, page or ())
            token = page.token if page is not None else None
            if not token:
                return sorted(found, key=lambda item: (item.name, item.version))


def _found(item: Any) -> Found:
    return Found(str(item.name), int(item.version), str(item.run_id or ""), dict(item.tags))


def _asked(call: Callable[[], T]) -> T | None:
    """What MLflow answers; None where it says that there is no such thing.

    Raises:
        StorageError: MLflow refused.
    """
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code == _ABSENT:
            return None
        raise StorageError(
            f"MLflow's registry cannot be asked: {error}.", hint="Is the server of MLOPS_TRACKING_URI up?"
        ) from error
