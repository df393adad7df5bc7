"""The rows of a delivery in the form in which they are published: sorted, in the contract's types.

One rule: a column keeps its type without loss, except that whole numbers may become floats; or the delivery is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

import pandas as pd
import pyarrow as pa

from mlops.data.files import to_pandas
from mlops.data.lying import Lying
from mlops.errors import SchemaError, did_you_mean
from mlops.manifest import microseconds
from mlops.spec import ContractSpec, TimestampsSpec

_ARROW = {"float": pa.float64(), "int": pa.int64(), "string": pa.string(), "bool": pa.bool_()}
_INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Form:
    """What rows become when they are published.

    Args:
        day: date of the delivery.
        contract: what the columns are.
        entity: column of the entity.
        timestamps: columns of event and arrival.
        keep: further columns to keep where present, such as the label.
    """

    day: date
    contract: ContractSpec
    entity: str
    timestamps: TimestampsSpec
    keep: Sequence[str] = ()

    @property
    def start(self) -> pd.Timestamp:
        """Of the day."""
        return pd.Timestamp(datetime.combine(self.day, time(), UTC))

    @property
    def order(self) -> list[str]:
        """Columns that rows are sorted by."""
        return [self.entity, self.timestamps.event]

    def columns(self, names: Sequence[str]) -> list[str]:
        """Those to keep of a delivery's columns, in order.

        Raises:
            SchemaError: one that is needed is missing.
        """
        times = [self.timestamps.event, *([self.timestamps.arrival] if self.timestamps.arrival else [])]
        needed = [self.entity, *times, *self.contract.columns]
        if missing := [name for name in needed if name not in names]:
            raise SchemaError(f"The delivery has no column {missing[0]!r}.", hint=did_you_mean(missing[0], names))
        return [*needed, *(name for name in self.keep if name in names and name not in needed)]

    def kinds(self) -> dict[str, pa.DataType]:
        """Types of the columns that the spec knows."""
        times = dict.fromkeys(filter(None, (self.timestamps.event, self.timestamps.arrival)), _INSTANT)
        return times | {name: _ARROW[column.type] for name, column in self.contract.columns.items()}

    def table(self, frame: pd.DataFrame) -> tuple[pa.Table, int]:
        """The rows as they are published, and how many of them are late.

        Raises:
            SchemaError: a column is missing, or cannot be turned into its type without loss.
        """
        kinds = self.kinds()
        rows = frame[self.columns(list(map(str, frame.columns)))].sort_values(self.order, kind="stable")
        if self.timestamps.arrival:
            arrival = rows[self.timestamps.arrival]
            rows[self.timestamps.arrival] = arrival.where(arrival >= self.start, self.start)
        arrays = {name: _column(rows[name], kinds.get(name)) for name in rows.columns}
        return pa.table(arrays), int((rows[self.timestamps.event] < self.start).sum())


@dataclass
class Stream:
    """The same, batch by batch, of a delivery that does not fit into memory.

    Args:
        lying: the delivery.
        form: what its rows become.
    """

    lying: Lying
    form: Form
    late: int = 0  # rows so far
    entities: int = 0
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        """Settle the type of each column, which no batch alone can tell."""
        names, kinds = self.form.columns(self.lying.names), self.form.kinds()
        there, self.entities = self.lying.counts(names, self.form.entity)
        kinds |= {n: _kept(self.lying.kind(n), there[n] == self.lying.rows) for n in names if n not in kinds}
        self.schema = pa.schema([(name, kinds[name]) for name in names])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they are published.

        Raises:
            SchemaError: a column cannot be turned into its type without loss.
            SourceError: a file cannot be read, or was replaced meanwhile.
        """
        with self.lying.batches(self.schema.names, self.form.order) as reader:
            for batch in reader:
                table, late = self.form.table(to_pandas(pa.Table.from_batches([batch])))
                self.late += late
                yield from table.cast(self.schema, safe=False).combine_chunks().to_batches()


def as_they_came(lying: Lying) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """All columns of a delivery, batch by batch, in the order in which its rows came."""
    with lying.batches(lying.names) as reader:
        schema = microseconds(reader.schema.empty_table()).schema

    def batches() -> Iterator[pa.RecordBatch]:
        with lying.batches(lying.names) as reader:
            for batch in reader:
                yield from microseconds(pa.Table.from_batches([batch])).to_batches()

    return schema, batches()


def _kept(kind: pa.DataType, full: bool) -> pa.DataType:
    """What a column that the spec does not know becomes, as if it had been in memory."""
    if pa.types.is_integer(kind):
        return kind if full else pa.float64()
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.float64() if pa.types.is_decimal(kind) else kind


def _column(values: pd.Series, kind: pa.DataType | None) -> pa.Array:
    """A column in its type: without loss, except that whole numbers may become floats."""
    try:
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(values.cat.categories.dtype)
        array = pa.array(values, from_pandas=True)
        if kind is None:
            moment = pa.types.is_timestamp(array.type)
            return array.cast(pa.timestamp("us", array.type.tz), safe=False) if moment else array
        return array.cast(kind, safe=not (pa.types.is_floating(kind) or pa.types.is_timestamp(kind)))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SchemaError(
            f"Column {values.name!r} cannot be kept as {kind or 'one type'}: {' '.join(str(error).split())}.",
            hint="Mend the source, or the column's type in the contract.",
        ) from error
