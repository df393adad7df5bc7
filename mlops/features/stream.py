"""The features of a stream, row by row: the same code as of a batch, over what it remembers of each entity.

What is remembered is as short as the recipe's look-back and the lateness allowed; a row is computed from it by the very
functions that compute a batch, so the two agree to the last bit. As in a batch, a feature of a reading is made of what
had happened and was known when that reading became known: a late row gets the features of its own event time, from the
windows as they are known by then, and what was made before it came stays as it was made.

One rule: what is too late to be computed right is refused and counted, never computed from half a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from mlops.features.derived import add
from mlops.features.engineering import CREATED, EVENT, Recipe, checked, features_of, microseconds, timestamps
from mlops.features.windows import Floats, Ints, Readings

_ONE = timedelta(microseconds=1)


@dataclass(slots=True)
class _Memory:
    """The readings of one entity that later rows may need, sorted by event, then known time."""

    event: Ints
    known: Ints
    values: Floats  # shape (n, columns)


@dataclass
class FeatureStream:
    """Features of rows as they come. Rows of one entity come in the order in which they became known.

    Args:
        recipe: which features.
        entity: column that names what the readings are about.
        event: column that says when it happened.
        known_at: column that says when it became known; may be the same as `event`.
        lateness: how much older than the newest reading of its entity a row may be.
    """

    recipe: Recipe
    entity: str
    event: str
    known_at: str
    lateness: timedelta
    too_late: int = 0  # rows refused so far
    _memory: dict[Any, _Memory] = field(default_factory=dict)

    @property
    def remembered(self) -> int:
        """Readings that are remembered, of all entities."""
        return sum(len(memory.event) for memory in self._memory.values())

    def update(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Take rows in, and give their features.

        Args:
            rows: readings, shape (n, ≥ 3); zoned times.

        Returns:
            shape (≤ n, 3 + features): as `engineer` gives them, in the order of `rows`, without those that are older
            than `lateness` allows; ready for `FeatureStore.push`.

        Raises:
            SchemaError: a column is missing, not numeric, or a timestamp is null or without zone.
        """
        table = checked(add(rows, self.recipe.derived), self.recipe, self.entity, self.event, self.known_at)
        event, known = microseconds(table[self.event]), microseconds(table[self.known_at])
        columns = list(self.recipe.names)
        values = table[columns].to_numpy(dtype=np.float64, na_value=np.nan)
        made: list[Mapping[str, Floats]] = []
        kept: list[int] = []
        for i, name in enumerate(table[self.entity].tolist()):
            memory = self._memory.get(name)
            if memory is not None and event[i] < memory.event[-1] - self.lateness // _ONE:
                self.too_late += 1
                continue
            memory, at = self._remembered(memory, event[i], known[i], values[i])
            self._memory[name] = memory
            readings = Readings(
                source=np.arange(len(memory.event)),
                entity=np.zeros(len(memory.event), dtype=np.int64),
                event=memory.event,
                known=memory.known,
                values={column: memory.values[:, j] for j, column in enumerate(columns)},
                in_order=False,
            )
            made.append(features_of(readings, np.array([at]), self.recipe))
            kept.append(i)
        part = table.iloc[kept].reset_index(drop=True)
        keys = {
            self.entity: part[self.entity],
            EVENT: timestamps(event[kept]),
            CREATED: timestamps(known[kept]),
        }
        names = self.recipe.feature_names
        found = {name: np.concatenate([one[name] for one in made]) if made else np.empty(0) for name in names}
        return pd.DataFrame(keys | found)

    def remember(self, rows: pd.DataFrame) -> None:
        """Take in readings whose features nobody asks for any more, as after a restart; see `update`.

        Args:
            rows: readings, shape (n, ≥ 3), of each entity in the order in which they became known; zoned times.

        Raises:
            SchemaError: as `update`.
        """
        table = checked(add(rows, self.recipe.derived), self.recipe, self.entity, self.event, self.known_at)
        event, known = microseconds(table[self.event]), microseconds(table[self.known_at])
        values = table[list(self.recipe.names)].to_numpy(dtype=np.float64, na_value=np.nan)
        for i, name in enumerate(table[self.entity].tolist()):
            memory = self._memory.get(name)
            if memory is None or event[i] >= memory.event[-1] - self.lateness // _ONE:
                self._memory[name] = self._remembered(memory, event[i], known[i], values[i])[0]

    def _remembered(self, memory: _Memory | None, event: int, known: int, values: Floats) -> tuple[_Memory, int]:
        """The memory with a row more and without what nobody will need, and where the row stands in it."""
        if memory is None:
            return _Memory(np.array([event]), np.array([known]), values[None, :]), 0
        at = int(np.searchsorted(memory.event, event, side="left"))
        while at < len(memory.event) and memory.event[at] == event and memory.known[at] < known:
            at += 1
        same = at < len(memory.event) and memory.event[at] == event and memory.known[at] == known
        stop = at + 1 if same else at
        parts = [
            np.concatenate([old[:at], new, old[stop:]])
            for old, new in (
                (memory.event, np.array([event])),
                (memory.known, np.array([known])),
                (memory.values, values[None, :]),
            )
        ]
        oldest = parts[0][-1] - (self.recipe.lookback + self.lateness) // _ONE
        first = min(int(np.searchsorted(parts[0], oldest, side="left")), at)
        return _Memory(*(part[first:] for part in parts)), at - first
