"""What a serving process is made of: champions from the registry, features from Feast, incidents to the alerts.

Reads: the champion of each model (its signature is verified before a byte of it is loaded), rows of its training set to
prove it on, the online store. Writes: incidents, where a version must not take over. What was answered goes into the
spool, which a process of its own brings into the prediction log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import isnan

import numpy as np
import pandas as pd

from mlops import log
from mlops.errors import FeatureError, MLOpsError, did_you_mean
from mlops.features.definitions import FEATURE_KNOWN_AT, FEATURE_TIMESTAMP
from mlops.models.scoring import Scorer
from mlops.records import Incident, ModelVersion
from mlops.services import Services
from mlops.serving import compiled_proof
from mlops.serving.compiled_proof import Proof
from mlops.serving.log_frames import Columns
from mlops.serving.log_spool import Spool
from mlops.serving.metrics import ServingMetrics
from mlops.serving.predictor import Predictor
from mlops.serving.privacy import Mask, key_of
from mlops.serving.requests import Entity
from mlops.serving.routing_choice import router, versions
from mlops.serving.routing_table import TableReader
from mlops.serving.served import CHAMPION, RETRY_SECONDS, Fetch, Fetched, Follower, Live, Served
from mlops.serving.sketch import Sketch
from mlops.spec import ModelSpec

GOLDEN_ROWS = 256
REFERENCE_ROWS = 10_000
PLAIN_ROWS = 1_000
KIND = "serving"
_logger = log.get(__name__)


def specs_of(services: Services, names: Sequence[str]) -> list[ModelSpec]:
    """The specs of the models to serve, by default all.

    Raises:
        SpecError: no spec of that name.
    """
    return [services.spec(name) for name in names] if names else [spec for _, spec in sorted(services.specs().items())]


def served(services: Services, spec: ModelSpec, *, lookups: bool) -> Served:
    """A model to serve; nothing is loaded yet.

    Args:
        services: the adapters.
        spec: the model.
        lookups: look features up by entity, in Feast's online store.
    """
    return Served(spec.name, spec.entity, online_features(services, spec) if lookups else None)


def online_features(services: Services, spec: ModelSpec) -> Fetch:
    """Looks the features of a model up in the online store. Of a text nothing is known where keys are whole numbers."""

    def fetch(features: Sequence[str], keys: Sequence[Entity]) -> Fetched:
        marked = services.config.stale_features != "allow"
        whole = services.features.views_of(spec.features.service)[0].whole_keys
        asked = [(key if isinstance(key, int) else 0) if whole else str(key) for key in keys]
        found = services.features.online_values(spec.features.service, asked, stale="mark" if marked else "allow")
        if unknown := [name for name in features if name not in found.features]:
            raise FeatureError(
                f"Feature service {spec.features.service!r} does not hold {unknown[0]!r}, which the version needs.",
                hint=did_you_mean(unknown[0], found.features),
            )
        rows = found.values[:, [found.features.index(name) for name in features]]
        happened, known = found.clocks[FEATURE_TIMESTAMP], found.clocks[FEATURE_KNOWN_AT]
        right = np.array([isinstance(key, int) or not whole for key in keys])
        return Fetched(
            np.ascontiguousarray(np.where(np.isinf(rows), np.nan, rows)),
            right & (~np.isnan(happened) | ~np.isnan(rows).all(axis=1)),
            found.stale,
            _whole(happened),
            _whole(known),
        )

    return fetch


def load(services: Services, spec: ModelSpec, number: int) -> tuple[Predictor, Sketch | None]:
    """A version that may answer: its signature verified, loaded, warm, and proven on golden rows.

    Returns:
        The predictor, and a sketch of what it learned from; None if that is not kept (any more).

    Raises:
        RegistryError: it may not; nothing unsigned was loaded.
    """
    version = services.registry.get(spec.name, number)
    loaded = services.registry.load_whole(version, beside=compiled_proof.FILE)
    scorer, proof = loaded.scorer, Proof.of(loaded.beside, f"{version.model} version {version.version}")
    reference = _reference(services, version, scorer)
    golden = None if reference is None else reference.iloc[:: max(1, len(reference) // GOLDEN_ROWS)].head(GOLDEN_ROWS)
    predictor = Predictor.of(version, scorer, golden, proof=proof)
    sketch = None if reference is None else _sketch(predictor, reference)
    form = "compiled" if predictor.compiled else f"plain ({predictor.reason})"
    took = round(1e6 * predictor.row_seconds, 1)
    _logger.info("loaded  %s", log.facts(model=spec.name, version=number, form=form, row_us=took))
    return predictor, sketch


def _reference(services: Services, version: ModelVersion, scorer: Scorer) -> pd.DataFrame | None:
    """Rows of the version's training set, spread over it; None if it is not kept (any more)."""
    uri = version.training_set_uri
    if not uri:
        return None
    columns = [*scorer.features, *([scorer.entity] if scorer.per_entity else [])]
    try:
        if services.storage.manifest(uri) is None:
            return None
        table = services.storage.read_table(uri, columns)
    except MLOpsError as error:
        _logger.warning("The training set of %s version %d cannot be read: %s", version.model, version.version, error)
        return None
    step = max(1, table.num_rows // REFERENCE_ROWS)
    frame: pd.DataFrame = table.take(list(range(0, table.num_rows, step))[:REFERENCE_ROWS]).to_pandas()
    return frame


def _sketch(predictor: Predictor, reference: pd.DataFrame) -> Sketch | None:
    """Of the rows that a version learned from; of fewer where asking its scorer takes long."""
    scorer = predictor.scorer
    few = reference if predictor.compiled else reference.iloc[:: max(1, len(reference) // PLAIN_ROWS)]
    rows = few[list(scorer.features)].to_numpy(dtype=np.float64, na_value=np.nan)
    rows = np.ascontiguousarray(np.where(np.isinf(rows), np.nan, rows))
    entities = few[scorer.entity].tolist() if scorer.per_entity else [None] * len(few)
    return Sketch.of(scorer.features, rows, np.array(predictor.answers(rows, entities).score))


class Loader:
    """Makes versions of a model live in this process.

    Args:
        services: the adapters.
        spec: the model.
        spool: of the process; told of the columns of each version.
    """

    def __init__(self, services: Services, spec: ModelSpec, spool: Spool | None, number: Callable[[], int]) -> None:
        self._services, self._spec, self._spool, self._number = services, spec, spool, number

    def __call__(self, version: int) -> Live:
        """The version, ready to answer.

        Raises:
            RegistryError: it must not answer.
            ConfigError: the spec's log names a field that it has not.
        """
        predictor, sketch = load(self._services, self._spec, version)
        kept = self._spec.serving.log
        key = key_of(self._services.config.keys_dir) if kept.hash else b""
        scorer = predictor.scorer
        mask = Mask.of(scorer.features, scorer.entity, hashed=kept.hash, dropped=kept.drop, key=key)
        number = self._number()
        if self._spool is not None:
            self._spool.declare(
                Columns(
                    number,
                    self._spec.name,
                    version,
                    scorer.entity,
                    tuple(scorer.features[i] for i in mask.kept),
                    tuple(scorer.features[i] for i in mask.hashed),
                    scorer.threshold,
                    tuple(str(name) for name in scorer.classes),
                )
            )
        return Live.of(predictor, mask, number, sketch)


def follower(services: Services, spec: ModelSpec, model: Served, loader: Loader, metrics: ServingMetrics) -> Follower:
    """Keeps a model at its champion; a champion that must not answer becomes an incident."""

    def took_over(live: Live) -> None:
        metrics.version.labels(spec.name, CHAMPION).set(live.version)
        metrics.takeovers.labels(spec.name, "took over").inc()
        services.alerts.resolve(spec.name, KIND, at=services.clock(), terms=spec.alerts)

    def refused(version: int, error: Exception) -> None:
        metrics.takeovers.labels(spec.name, "refused").inc()
        goes_on = f"Version {model.live.version} goes on answering." if model.live else "Nothing answers for it."
        services.alerts.raise_incident(
            Incident(
                key=f"{spec.name}/{KIND}",
                model=spec.name,
                kind=KIND,
                date=services.clock().date(),
                urgency="normal" if model.live else "high",
                summary=f"Champion version {version} of {spec.name} does not take over: {error}",
                consequence=goes_on,
                action=f"Verify it: mlops verify {spec.name} {version}. Roll back: mlops rollback {spec.name}.",
            ),
            terms=spec.alerts,
            owner=spec.owner,
        )

    return Follower(
        model,
        wanted=lambda: services.registry.aliases(spec.name).get("champion"),
        load=loader,
        took_over=took_over,
        refused=refused,
    )


class Routes:
    """Keeps the versions that experiments want loaded, and the routing table at hand.

    Args:
        served: the model.
        table: hands out the present table.
        load: loads a version, as for the champion.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        served: Served,
        table: TableReader,
        load: Callable[[int], Live],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._served, self._table, self._load, self._clock = served, table, load, clock
        self._again: dict[int, float] = {}  # version that could not be loaded -> when it is tried again

    def step(self) -> None:
        """Look once. A version that cannot be loaded is not routed to: the champion answers in its place."""
        served, table = self._served, self._table()
        wanted = versions(served.name, table)
        champion = served.live.version if served.live is not None else None
        for version in sorted(wanted - set(served.others) - {champion}):
            if self._clock() >= self._again.get(version, 0.0):
                try:
                    served.others[version] = self._load(version)
                except MLOpsError as error:
                    self._again[version] = self._clock() + RETRY_SECONDS
                    _logger.warning("%s: an experiment's version %d does not answer: %s", served.name, version, error)
        served.router = router(served.name, lambda: table) if wanted else None
        for version in set(served.others) - wanted:
            del served.others[version]


def _whole(moments: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[int | None]:
    return [None if isnan(moment) else int(moment) for moment in moments.tolist()]
