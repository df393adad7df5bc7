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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, FeatureError, MLOpsError
from mlops.features import partitions
from mlops.features.definitions import (
    ViewInfo,
    columns,
    read_service,
    read_view,
    references,
)
from mlops.features.engineering import EVENT
from mlops.features.locks import alone
from mlops.features.online import materialisation, pushing, reading
from mlops.features.online.reading import STALE, OnlineValues, Stale
from mlops.features.registration import answering, register, registered
from mlops.features.repository import declared, feast_settings, fingerprint
from mlops.features.tables import ROW, askable, assembled, conserved, not_ahead
from mlops.storage import Manifest, Storage

__all__ = ["FeatureStore", "ViewInfo"]

_log = log.get(__name__)


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

    @property
    def _on_spark(self) -> bool:
        return str(self._settings.offline_store.type).endswith("SparkOfflineStore")

    @cached_property
    def _feast(self) -> Any:
        import feast

        with self._answering(), self._alone("registry"), _quiet():  # creating the registry's tables twice at once fails
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
        with self._answering():
            if registered(self._feast) == wanted:
                return False
        with self._answering(), self._alone("apply"), _quiet():
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
            with self._answering():
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
            FeatureError: no such view, a column is missing, a reading is there twice, lies in the future of its
                delivery or was known before it.
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
            FeatureError: no such service, a column is missing or taken, rows lie more than a day in the future, or the
                join lost or doubled rows.
        """
        views = self.views_of(service)
        rows = askable(entity_rows, views)
        not_ahead(rows[EVENT], self._now())
        for view in views:
            partitions.check(self.storage, view, rows[EVENT], shards=self._on_spark)
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
        """Bring the online store up to date with the deliveries before `end`.

        Those of [start, end) are written whatever was done before; earlier ones only if they are not in as they are
        now: because a call failed or was killed, they came late, or they were written anew. An older reading never
        replaces a newer one, in whatever order dates are done. The same call twice leaves the same state.

        Args:
            service: name of the feature service.
            start: start of the first delivery date (zoned).
            end: end of the last one, exclusive (zoned).

        Returns:
            rows handed to the online store, one per view and entity.

        Raises:
            FeatureError: no such service, or the online store failed; what is in stays, the rest is due again.
            ConfigError: the online store is none that keeps newer readings from being replaced by older ones.
        """
        first, last = _utc(start).date(), (_utc(end) - timedelta(microseconds=1)).date()
        return sum(self._bring(view.name, first, last) for view in self.views_of(service))

    def _bring(self, view: str, first: date, last: date) -> int:
        with self._alone(f"materialize-{view}"):
            try:
                brought = materialisation.bring(
                    self._feast, self.storage, read_view(self._feast, view), first, last, spill=self._spill
                )
            except MLOpsError:
                raise
            except Exception as error:
                raise FeatureError(
                    f"View {view!r} could not be brought into the online store: {type(error).__name__}: {error}.",
                    hint="Nothing is lost: what is in stays, the rest is due again when the step is run again.",
                ) from error
        facts = {"deliveries": len(brought.days), "entities": brought.entities, "withdrawn": brought.withdrawn}
        _log.info("features materialised  %s", log.facts(view=view, **facts))
        return brought.entities

    def push(self, view: ViewInfo | str, rows: pd.DataFrame, *, now: datetime | None = None) -> int:
        """Write features that have just been made, from a stream, into the online store.

        Args:
            view: the view, or its name.
            rows: as `engineer` or `FeatureStream.update` returns them, shape (n, 3 + features).
            now: the present (zoned), default the clock; readings from its future are refused, because nothing could
                replace them until then.

        Returns:
            entities whose reading was newer than the one held, or the same.

        Raises:
            FeatureError: no such view, a column is missing, a reading is there twice or from the future, or the online
                store does not answer.
        """
        registered = read_view(self._feast, view if isinstance(view, str) else view.name)
        return pushing.push(self._feast, registered, rows, now=_utc(now) if now else self._now())

    def online(
        self, service: str, keys: Sequence[Any], *, as_of: datetime | None = None, stale: Stale | None = None
    ) -> pd.DataFrame:
        """The newest features of each entity, from the online store.

        Args:
            service: name of the feature service.
            keys: values of the join key, shape (n,).
            as_of: the moment at which a value is past its view's time to live, or not (zoned); default the clock.
            stale: what becomes of values past it: `refuse` (NaN, as they are offline), `mark` (handed out, and marked
                in a column `feature_stale`) or `allow` (handed out). Default: the setting `stale_features`.

        Returns:
            shape (n, 1 + features + 2), in the order of `keys`: the key, features (NaN: none), `feature_timestamp` and
            `feature_known_at` of the newest reading, UTC (NaT: entity never seen).

        Raises:
            FeatureError: no such service, or the online store does not answer.
        """
        mode, views = stale or self.config.stale_features, self.views_of(service)
        found = self.online_values(service, keys, as_of=as_of, stale=mode)
        frame = found.frame(views[0].entity, keys)
        return frame.assign(**{STALE: found.stale}) if mode == "mark" else frame

    def online_values(
        self, service: str, keys: Sequence[Any], *, as_of: datetime | None = None, stale: Stale | None = None
    ) -> OnlineValues:
        """The same as arrays, for those who ask a thousand times a second; see `online`."""
        moment = _utc(as_of) if as_of else self._now()
        mode = stale or self.config.stale_features
        return reading.read(self._feast, service, self.views_of(service), keys, as_of=moment, stale=mode)

    def newest_day(self, view: ViewInfo) -> date | None:
        """The newest delivery of a view that is stored."""
        return max(partitions.stored_days(self.storage, view.name), default=None)

    def newest_reading(self, view: ViewInfo) -> datetime | None:
        """When the newest reading of a view happened, by its latest deliveries."""
        return partitions.newest_reading(self.storage, view.name)

    def entities(self, view: ViewInfo, day: date) -> list[Any]:
        """The entities of one delivery of a view, each once, sorted."""
        return partitions.entities(self.storage, view, day)

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.config.clock_offset_seconds)

    @property
    def _spill(self) -> Path:
        return self.config.state_dir / "feast" / "spill"

    def _answering(self) -> contextlib.AbstractContextManager[None]:
        return answering(str(self._settings.registry.path))

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
