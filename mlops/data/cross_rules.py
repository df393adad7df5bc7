"""Rules across tables and in SQL: every entity is known elsewhere, and queries for what must not be find nothing.

One rule: a reference that cannot be read, or a query that cannot be run, says nothing about the delivery.
"""

from __future__ import annotations

from mlops.data import files
from mlops.data.rule import Delivery, Rule, count, mostly, percent
from mlops.errors import NoDataError, SchemaError, did_you_mean
from mlops.spec import KnownEntitiesSpec, QuerySpec, SourceSpec


def cross_rules(delivery: Delivery) -> list[Rule]:
    """All rules across tables and in SQL, if the contract has them."""
    known = delivery.contract.known_entities
    rules = [_known(delivery, known)] if known else []
    return [*rules, *(_query(delivery, query) for query in delivery.contract.queries)]


def known_keys(spec: KnownEntitiesSpec, entity: str) -> list[object]:
    """The keys of a reference table, each once, in both forms: 17 and '17' name the same.

    Raises:
        NoDataError: the table is not there or holds no key.
        SchemaError: it has no such column.
        SourceError: it cannot be read.
    """
    column = spec.column or entity
    source = SourceSpec(kind=spec.kind, uri=spec.uri, options=spec.options)
    found = files.find(source, spec.uri)
    if found is None:
        raise NoDataError(
            f"The table of known entities {files.shown(spec.uri)} is not there, so nobody can tell which are known.",
            hint="Correct contract.known_entities.uri.",
        )
    frame = files.read(source, found, column)
    if column not in frame.columns:
        raise SchemaError(
            f"The table of known entities {files.shown(spec.uri)} has no column {column!r}.",
            hint=did_you_mean(column, map(str, frame.columns)),
        )
    keys = frame[column].dropna().unique().tolist()
    if not keys:
        raise NoDataError(
            f"The table of known entities {files.shown(spec.uri)} holds no key, so nobody can tell which are known.",
            hint="Have it filled, or take contract.known_entities out.",
        )
    numbers = [int(key) for key in keys if isinstance(key, str) and key.isdigit() and key == str(int(key))]
    return [*keys, *(str(key) for key in keys if not isinstance(key, str)), *numbers]


def _known(delivery: Delivery, spec: KnownEntitiesSpec) -> Rule:
    entity = delivery.entity
    unchecked = delivery.no_values(entity)
    exempt = f", {percent(spec.max_unknown_share)} of the rows may be of others" if spec.max_unknown_share else ""
    return Rule(
        subject=entity,
        promise=f"known in {files.shown(spec.uri)}{exempt}",
        expectation="ExpectColumnValuesToBeInSet",
        settings={
            "column": entity,
            "value_set": [] if unchecked else known_keys(spec, entity),
            "mostly": mostly(spec.max_unknown_share),
        },
        broken=lambda r: (
            f"{count(r['unexpected_count'], r['element_count'] - r['missing_count'])} are of entities that are not in "
            f"{files.shown(spec.uri)}, for example {r['partial_unexpected_list'][0]!r}"
        ),
        observed=lambda r: f"{r['unexpected_count']:,} of others",
        unchecked=unchecked,
    )


def _query(delivery: Delivery, query: QuerySpec) -> Rule:
    return Rule(
        subject=query.name,
        promise=" ".join(query.sql.split()),
        expectation="UnexpectedRowsExpectation",
        settings={"unexpected_rows_query": query.sql},
        broken=lambda r: f"the query finds {r['unexpected_count']:,} rows, and must find none",
        observed=lambda r: f"{r['unexpected_count']:,} found",
        unchecked="" if delivery.table.rows else "there are no rows",
    )
