"""A model as a process serves it: the version that answers, and how it gives way to another.

All that belongs to one version stands in one frozen `Live`; whoever answers a request takes it once. So a request is
answered by one version, whichever takes over in the meantime.

One rule: the version that answers is replaced by another that is loaded, verified, warm and proven, or not at all.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlops.errors import MLOpsError
from mlops.serving.compiled_form import Floats
from mlops.serving.predictor import Predictor
from mlops.serving.privacy import Mask
from mlops.serving.requests import Entity, Signature
from mlops.serving.sketch import Sketch

CHAMPION = "champion"
PATIENCE_SECONDS = 10.0  # a registry that is silent for this long is not there
RETRY_SECONDS = 30.0  # a version that could not take over is tried again after this


@dataclass(frozen=True, slots=True)
class Fetched:
    """The newest features of n entities."""

    rows: Floats  # shape (n, features), in the order of the model
    found: NDArray[np.bool_]  # shape (n,): anything is known of the entity
    stale: NDArray[np.bool_]  # shape (n,): something is past its time to live
    feature_us: list[int | None]  # when the newest reading happened [µs since 1970]
    known_us: list[int | None]  # when it became known

    def part(self, start: int, stop: int) -> Fetched:
        """Those of some entities."""
        return Fetched(
            np.ascontiguousarray(self.rows[start:stop]),
            self.found[start:stop],
            self.stale[start:stop],
            self.feature_us[start:stop],
            self.known_us[start:stop],
        )


class Fetch(Protocol):
    """Looks features up. Called from one thread."""

    def __call__(self, features: Sequence[str], keys: Sequence[Entity]) -> Fetched:
        """The newest values of `features` for `keys`; a FeatureError if the store does not answer."""


def moment(microseconds: int | None) -> str | None:
    """A time as ISO 8601."""
    return None if microseconds is None else datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()


@dataclass(frozen=True, slots=True)
class Choice:
    """Who answers a request."""

    variant: str
    version: int
    experiment: str = ""  # by which it was chosen
    shadow: int | None = None  # version that answers as well, unseen


# Picks the version for a unit (a device, a user; the entity or the request id if the caller names none), or None: the
# champion. It must be quick: it is asked on every request.
Router = Callable[[str], Choice | None]


@dataclass(frozen=True, slots=True)
class Live:
    """A version that can answer, and all that belongs to it."""

    predictor: Predictor
    signature: Signature
    mask: Mask
    number: int = 0  # of its columns in the spool
    sketch: Sketch | None = None  # of what came in of late

    @classmethod
    def of(cls, predictor: Predictor, mask: Mask, number: int = 0, sketch: Sketch | None = None) -> Live:
        """With the signature of its scorer."""
        scorer = predictor.scorer
        return cls(
            predictor, Signature(scorer.features, scorer.entity, per_entity=scorer.per_entity), mask, number, sketch
        )

    @property
    def version(self) -> int:
        """Its number."""
        return self.predictor.version.version


@dataclass
class Served:
    """A model that is served.

    Args:
        name: of the model.
        entity: what its rows are about.
        fetch: looks features up; None: callers send features.
    """

    name: str
    entity: str
    fetch: Fetch | None = None
    live: Live | None = None
    others: dict[int, Live] = field(default_factory=dict)  # versions that a router may choose
    router: Router | None = None
    problem: str = ""  # why the version that should answer does not

    def choose(self, unit: str, champion: Live) -> tuple[Choice, Live]:
        """Who answers for a unit: the champion, unless a router says otherwise and that version is loaded."""
        if self.router is not None and (choice := self.router(unit)) is not None:
            if choice.version == champion.version:
                return choice, champion
            if (other := self.others.get(choice.version)) is not None:
                return choice, other
        return Choice(CHAMPION, champion.version), champion


class Follower:
    """Keeps a served model at its champion.

    Args:
        served: the model.
        wanted: asks which version is champion; None if none is.
        load: loads a version: verified, warm, proven; an MLOpsError if it must not answer.
        took_over: told of a version that answers from now on.
        refused: told of a version that does not, and why.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        served: Served,
        *,
        wanted: Callable[[], int | None],
        load: Callable[[int], Live],
        took_over: Callable[[Live], None],
        refused: Callable[[int, Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.served = served
        self._answered = True  # whether the registry answered the last time
        self._since: float | None = None  # when the question that is still open was asked
        self._wanted, self._load = wanted, load
        self._took_over, self._refused = took_over, refused
        self._clock = clock
        self._failed: tuple[int, float] | None = None  # version, and when it is tried again

    @property
    def reachable(self) -> bool:
        """Whether the registry answers; one that has been silent for long does not."""
        since = self._since
        return self._answered and (since is None or self._clock() - since <= PATIENCE_SECONDS)

    def step(self) -> bool:
        """Look once; whether a version took over. Whatever goes wrong, the version that answers goes on."""
        served = self.served
        self._since = self._clock()
        try:
            wanted = self._wanted()
            self._answered = True
        except MLOpsError as error:
            self._answered = False
            served.problem = f"The registry does not answer: {error}"
            return False
        finally:
            self._since = None
        if wanted is None:
            served.problem = f"{served.name} has no champion."
            return False
        if served.live is not None and served.live.version == wanted:
            served.problem, self._failed = "", None
            return False
        if self._failed is not None and self._failed[0] == wanted and self._clock() < self._failed[1]:
            return False
        try:
            live = served.others.get(wanted) or self._load(wanted)  # an experiment may have it loaded already
        except Exception as error:  # noqa: BLE001 - whatever it is, the version that answers must go on, and people be told
            again = self._failed is not None and self._failed[0] == wanted
            self._failed = wanted, self._clock() + RETRY_SECONDS
            served.problem = f"Version {wanted} does not take over: {error}"
            if not again:
                self._refused(wanted, error)
            return False
        served.live, served.problem, self._failed = live, "", None
        with contextlib.suppress(KeyError):
            del served.others[wanted]
        self._took_over(live)
        return True
