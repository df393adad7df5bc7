"""Whether features can be looked up: by the lookups that callers ask for, and by a look of our own where nobody asks.

One rule: "reachable" is said of a store that has just answered, never of one that has not been asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mlops.errors import MLOpsError
from mlops.serving.requests import Entity
from mlops.serving.served import Fetch, Fetched

LOOK_SECONDS = 2.0  # an answer as old as this is asked for anew
PATIENCE_SECONDS = 5.0  # a store that is silent for this long is not there
_NOBODY: tuple[Entity, ...] = (0,)  # that nothing need be known of


class Lookups:
    """Looks features up, and knows whether the store answers.

    Args:
        fetch: looks features up; called from one thread.
        clock: seconds that only grow.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._said = "has not been asked yet"
        self._at = float("-inf")  # of the last answer, or refusal
        self._since: float | None = None  # when the call that is still going on began

    def __call__(self, features: Sequence[str], keys: Sequence[Entity]) -> Fetched:
        """The newest values; a FeatureError if the store does not answer."""
        self._since = self._clock()
        try:
            found = self._fetch(features, keys)
        except MLOpsError as error:
            self._said = str(error)
            raise
        except Exception as error:
            self._said = f"{type(error).__name__}: {error}"
            raise
        else:
            self._said = ""
        finally:
            self._at, self._since = self._clock(), None
        return found

    @property
    def problem(self) -> str:
        """Why features cannot be looked up; "" if they can."""
        since = self._since
        if since is not None and (silent := self._clock() - since) > PATIENCE_SECONDS:
            return f"The online store has not answered for {silent:.0f} s."
        return self._said

    @property
    def due(self) -> bool:
        """Whether nobody has asked of late, so that a look of our own is due."""
        return self._since is None and self._clock() - self._at >= LOOK_SECONDS

    def look(self, features: Sequence[str]) -> None:
        """Ask for nobody's features; what becomes of it says `problem`."""
        try:
            self(features, _NOBODY)
        except Exception:  # noqa: BLE001 - it is kept, and told by whoever asks for the health
            return
