"""The feature store: Feast behind the few verbs that the pipelines use.

Feast joins, materialises and serves. This module holds it to what a training set needs: every row that goes into a join
comes out, in order; nothing joins that was not known at the row's own time; online values are those of the newest
reading, whichever date was processed last; and every answer says how old its features are.

One rule: no window of time is taken from the wall clock.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, FeatureError, MLOpsError
from mlops.features import partitions
from mlops.features.definitions import (
    FEATURE_TIMESTAMP,
    ViewInfo,
    columns,
    read_service,
    read_view,
    references,
)
from mlops.features.engineering import EVENT
from mlops.features.locks import alone
from mlops.features.registration import register, registered
from mlops.features.repository import declared, feast_settings, fingerprint
from mlops.features.tables import ROW, askable, assembled, conserved
from mlops.storage import Manifest, Storage

__all__ = ["FeatureStore", "ViewInfo"]

_log = log.get(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FeatureStore:
    """Feast for one installation. Use `FeatureStore.open`."""

    def __init__(self, config: MLOpsConfig, storage: Storage) -> None:
        self.config = config
        self.storage = storage
        self._services: dict[str, tuple[ViewInfo, ...]] = {}

    @classmethod
    def open(cls, config: MLOpsConfig, storage: Storage) -> FeatureStore:
        """The feature store of an installation. Nothing is read or written yet.

        Args:
            config: says where the Feast repository and the local state are.
            storage: holds the feature tables.
        """
        return cls(config, storage)

    @cached_property
    def _settings(self) -> Any:
        from feast import RepoConfig

        try:
            settings = RepoConfig(**feast_settings(self.config))
        except ValueError as error:
            path = self.config.feature_repo / self.config.feature_store_yaml
            raise ConfigError(f"{path} is not a valid Feast configuration: {error}") from error
        settings.repo_path = self.config.feature_repo
        return settings

    @cached_property
    def _feast(self) -> Any:
        import feast

        with self._alone("registry"), _quiet():  # creating the registry's tables twice at once fails
            store = feast.FeatureStore(config=self._settings)
            _ = store.registry
        return store

    # --- registry ---------------------------------------------------------------------------------------------------

    def apply(self) -> bool:
        """Register what `feature_repo/` declares. Nothing happens if it is registered already.

        Objects that are no longer declared stay registered; `feast apply` on the command line removes them.

        Returns:
            whether anything was registered.

        Raises:
            FeatureError: the repository declares something that does not fit together.
        """
        wanted = fingerprint(self.config, self.storage.root)
        if registered(self._feast) == wanted:
            return False
        with self._alone("apply"), _quiet():
            if registered(self._feast) == wanted:  # somebody else was faster
                return False
            objects = declared(self.config.feature_repo, self.storage.root)
            register(self._feast, objects, wanted)
        self._services.clear()
        _log.info("feature repository applied  %s", log.facts(objects=len(objects)))
        return True

    def views_of(self, service: str) -> tuple[ViewInfo, ...]:
        """The views of a feature service, in the order declared.

        Raises:
            FeatureError: no such service, or one that this store cannot keep.
        """
        if service not in self._services:
            self._services[service] = read_service(self._feast, service)
        return self._services[service]

    def features_of(self, service: str) -> tuple[str, ...]:
        """The features of a service, in the order declared. The times of the readings are not among them.

        Raises:
            FeatureError: no such service.
        """
        return tuple(feature for view in self.views_of(service) for feature in view.features)

    # --- offline ----------------------------------------------------------------------------------------------------

    def write_batch(self, view: ViewInfo | str, day: date, frame: pd.DataFrame) -> tuple[str, Manifest]:
        """Publish the features of one delivery, replacing those of an earlier run for that date.

        Args:
            view: the view, or its name.
            day: date of the delivery.
            frame: as `engineer` returns it, shape (n, 3 + features).

        Raises:
            FeatureError: no such view, a column is missing, or a reading is there twice.
            StorageError: it could not be written; what was there before still stands.
        """
        name = view if isinstance(view, str) else view.name
        uri, manifest = partitions.write(self.storage, read_view(self._feast, name), day, frame)
        _log.info("features written  %s", log.facts(view=name, date=day, rows=manifest.rows))
        return uri, manifest

    def historical(self, service: str, entity_rows: pd.DataFrame) -> pd.DataFrame:
        """The features that were known at each row's own time.

        A reading counts if it had happened and had become known by `event_timestamp`, and is no older than its view's
        time to live; of several, the latest by event time, then by known time.

        Args:
            service: name of the feature service.
            entity_rows: the join key, `event_timestamp` (zoned) and any other columns, shape (n, ≥ 2).

        Returns:
            the same rows in the same order with the same columns, then the features (NaN: none known), then
            `feature_timestamp` and `feature_known_at` of the newest reading that joined, UTC (NaT: none).

        Raises:
            NoDataError: a view holds no features yet.
            FeatureError: no such service, a column is missing or taken, or the join lost or doubled rows.
        """
        views = self.views_of(service)
        rows = askable(entity_rows, views)
        for view in views:
            partitions.check(self.storage, view, rows[EVENT])
        if rows.empty:
            return assembled(rows, _nothing(views), views)
        asked = rows[[views[0].entity, EVENT]].assign(**{ROW: np.arange(len(rows))})
        try:
            with _quiet():
                found = self._join(asked, views)
        except MLOpsError:
            raise
        except Exception as error:
            raise FeatureError(f"The join for {service!r} failed: {type(error).__name__}: {error}") from error
        return assembled(rows, conserved(found, len(rows), service), views)

    def _join(self, asked: pd.DataFrame, views: Sequence[ViewInfo]) -> pd.DataFrame:
        answer = self._feast.get_historical_features(
            entity_df=asked,
            features=references(views),
            full_feature_names=True,
            filter_by_created_timestamp=True,
        )
        frame: pd.DataFrame = answer.to_df()
        return frame

    # --- online -----------------------------------------------------------------------------------------------------

    def materialize(self, service: str, start: datetime, end: datetime) -> int:
        """Bring the online store up to date with the deliveries of [start, end).

        Deliveries after `end` that are stored already are taken along: the online store keeps what is written last, so
        writing an old date anew would otherwise put an old reading in place of a newer one. The same call twice leaves
        the same state.

        Args:
            service: name of the feature service.
            start: start of the first delivery date (zoned).
            end: end of the last one, exclusive (zoned).

        Returns:
            rows handed to the online store, one per view and entity; 0 with no delivery in the interval.

        Raises:
            FeatureError: no such service, or Feast failed.
        """
        return sum(self._materialize_view(view, start, end) for view in self.views_of(service))

    def _materialize_view(self, view: ViewInfo, start: datetime, end: datetime) -> int:
        first, last = _utc(start).date(), (_utc(end) - timedelta(microseconds=1)).date()
        with self._alone(f"materialize-{view.name}"):
            stored = partitions.stored_days(self.storage, view.name)
            if not any(first <= day <= last for day in stored):
                return 0
            found = partitions.extent(self.storage, view, [day for day in stored if day >= first])
            if found is None:
                return 0
            try:
                with _quiet():
                    self._feast.materialize(found.first, found.last, feature_views=[view.name])
            except Exception as error:
                raise FeatureError(f"View {view.name!r} could not be materialised: {error}") from error
        _log.info("features materialised  %s", log.facts(view=view.name, entities=found.entities))
        return found.entities

    def online(self, service: str, keys: Sequence[Any], *, as_of: datetime | None = None) -> pd.DataFrame:
        """The newest features of each entity, from the online store.

        Args:
            service: name of the feature service.
            keys: values of the join key, shape (n,).
            as_of: features that are older than their view's time to live at this moment come back as NaN, as they do
                offline. Without it they come back however old they are: look at `feature_timestamp`.

        Returns:
            shape (n, 1 + features + 2), in the order of `keys`: the key, features (NaN: none), `feature_timestamp` and
            `feature_known_at` of the newest reading, UTC (NaT: entity never seen).

        Raises:
            FeatureError: no such service, or the online store does not answer.
        """
        views = self.views_of(service)
        rows = pd.DataFrame({views[0].entity: keys})
        if rows.empty:
            return assembled(rows, _nothing(views), views)
        try:
            answer = self._feast.get_online_features(
                features=references(views),
                entity_rows={views[0].entity: rows.iloc[:, 0].tolist()},
                full_feature_names=True,
            ).to_dict()
        except Exception as error:
            raise FeatureError(
                f"The online store does not answer for {service!r}: {type(error).__name__}: {error}",
                hint="Run the features step once, and check the online store's address.",
            ) from error
        found = pd.DataFrame({name: pd.Series(answer[name], dtype="float64") for name in columns(views)})
        if as_of is not None:
            for view in views:
                if view.dated and view.ttl:
                    oldest = (_utc(as_of) - view.ttl - _EPOCH) // timedelta(microseconds=1)
                    stale = found[view.column(FEATURE_TIMESTAMP)] < oldest
                    found.loc[stale, columns([view])] = np.nan
        return assembled(rows, found, views)

    def _alone(self, name: str) -> contextlib.AbstractContextManager[None]:
        return alone(name, folder=self.config.state_dir / "feast", registry_url=str(self._settings.registry.path))


def _nothing(views: Sequence[ViewInfo]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="float64") for name in columns(views)})


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise FeatureError(f"{moment} has no time zone.", hint="Pass a zoned time.")
    return moment.astimezone(UTC)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Feast's prints and progress bars, and warnings about its own dependencies, out of the log."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
