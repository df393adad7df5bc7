"""The parts of a spec that say where data comes from and what it promises."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mlops.errors import did_you_mean
from mlops.spec.frozen import Frozen


class SourceSpec(Frozen):
    """Where deliveries come from."""

    dataset: str = Field(
        "", description="Name of the data set; models that share it share its partitions. Default: the model's name."
    )
    kind: Literal["parquet", "csv", "sql"] = "parquet"
    uri: str = Field(description="Path, glob or URI; {date} stands for the delivery date. For sql: the SQLAlchemy URL.")
    query: str = Field(
        "", description="For sql: the query, with :start and :end of the delivery's day (UTC, or as `timezone` says)."
    )
    timezone: str | None = Field(
        None, description="Zone of timestamps that carry none. Without it such timestamps are refused."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Options for fsspec or the CSV reader.")

    @model_validator(mode="after")
    def _sql_has_a_query(self) -> SourceSpec:
        if (self.kind == "sql") != bool(self.query):
            raise ValueError("kind sql needs a query, and only sql takes one")
        return self


class TimestampsSpec(Frozen):
    """Which columns say when."""

    event: str = Field("event_timestamp", description="When it happened.")
    arrival: str | None = Field(None, description="When it became known. Default: the moment it happened.")


class ColumnContract(Frozen):
    """What a column promises."""

    type: Literal["float", "int", "string", "bool"] = "float"
    min: float | None = Field(None, description="Smallest value allowed, in the column's unit.")
    max: float | None = Field(None, description="Largest value allowed, in the column's unit.")
    allowed: tuple[str, ...] | None = Field(None, description="For strings: the values allowed.")
    max_null_share: float = Field(0.0, ge=0, le=1, description="Share of rows that may be null.")
    max_outside_share: float = Field(0.0, ge=0, le=1, description="Share of rows that may lie outside min and max.")
    unit: str = Field("", description="Unit, for people.")

    @model_validator(mode="after")
    def _can_be_kept(self) -> ColumnContract:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no value can lie between them")
        if self.type not in ("float", "int") and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for numbers, the type is {self.type}")
        if self.allowed is not None and (self.type != "string" or not self.allowed):
            raise ValueError(f"allowed lists the values of a string, at least one; the type is {self.type}")
        return self


class DistributionSpec(Frozen):
    """Mean, spread and nulls of columns, held against earlier deliveries by robust bounds."""

    columns: tuple[str, ...] = Field((), description="Columns of numbers that are watched. Default: all.")
    history: int = Field(28, ge=2, description="Accepted deliveries whose median is the usual.")
    min_history: int = Field(14, ge=2, description="With fewer it is not checked: nobody can tell.")
    spread: float = Field(
        10.0, gt=0, description="Bounds: this many robust standard deviations (1.4826 MAD) around the usual."
    )


class KnownEntitiesSpec(Frozen):
    """A table of all entities there are."""

    kind: Literal["parquet", "csv"] = "parquet"
    uri: str = Field(description="Path, glob or URI of the table.")
    column: str = Field("", description="Its column of keys. Default: the entity's name.")
    max_unknown_share: float = Field(0.0, ge=0, lt=1, description="Share of rows that may be of other entities.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options for fsspec or the CSV reader.")


class QuerySpec(Frozen):
    """A query that finds what must not be."""

    name: str = Field(description="What it is about, for people.")
    sql: str = Field(description="DuckDB's SQL over the table `delivery`; the rows it returns break the contract.")


class ContractSpec(Frozen):
    """What a delivery promises. Broken: the whole delivery goes to quarantine."""

    columns: dict[str, ColumnContract] = Field(description="Columns that must be there; others are dropped.")
    unique: bool = Field(True, description="Entity and event time name a row once.")
    max_lateness_hours: float = Field(48, ge=0, description="How long after its event a row may arrive [h].")
    freshness_hours: float | None = Field(
        None, gt=0, description="The newest row is at most this old at the end of the day [h]."
    )
    min_rows: int = Field(1, ge=1, description="Fewest rows of a delivery.")
    volume_tolerance: float | None = Field(
        0.5, gt=0, description="Row count differs from the usual by at most this share."
    )
    volume_history: int = Field(7, ge=1, description="Deliveries whose median is the usual row count.")
    distribution: DistributionSpec | None = Field(None, description="Held against history, if set.")
    known_entities: KnownEntitiesSpec | None = Field(None, description="Every entity must be in this table, if set.")
    queries: tuple[QuerySpec, ...] = Field((), description="Queries that must return no row.")

    @model_validator(mode="after")
    def _can_be_checked(self) -> ContractSpec:
        for name in self.distribution.columns if self.distribution else ():
            if name not in self.columns:
                raise ValueError(f"distribution.columns: {did_you_mean(name, self.columns)} {name!r} is not in columns")
            if self.columns[name].type not in ("float", "int"):
                raise ValueError(f"distribution.columns: {name!r} is of type {self.columns[name].type}, not a number")
        if self.distribution and self.distribution.min_history > self.distribution.history:
            raise ValueError("distribution.min_history is above distribution.history: it would never be checked")
        names = [query.name for query in self.queries]
        if len(set(names)) != len(names):
            raise ValueError(f"queries {names} share a name: give each its own")
        return self


class LabelSpec(Frozen):
    """What is to be learned or judged by, and when it is known."""

    column: str = Field("", description="Column of the label. Empty: labels come from the label store alone.")
    source: SourceSpec | None = Field(None, description="Where labels are delivered; default: in the data itself.")
    arrival: str | None = Field(None, description="Column that says when the label became known.")
    horizon_hours: float = Field(0.0, ge=0, description="The label is the column's value this much later [h].")
    maturity_days: float = Field(0.0, ge=0, description="A label counts only this long after its event [d].")
    maturity_share: float = Field(
        0.0, ge=0, le=1, description="Labels of a date (UTC) count only once this share of its events has one."
    )
    store: tuple[Literal["hand", "import", "alarm"], ...] = Field(
        (),
        description="Labels that people gave (`mlops label`) which count beside those delivered: added by hand, "
        "imported from files, alarms that were confirmed or dismissed. An alarm's never outranks another.",
    )

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> LabelSpec:
        if not self.column and not self.store:
            raise ValueError("label needs a column, or a store such as [hand, alarm], to come from")
        if self.source is not None and not self.column:
            raise ValueError("label.source needs label.column: which column of it is the label")
        return self
