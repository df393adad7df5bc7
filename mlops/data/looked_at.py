"""Data for a first look: a file, a folder or glob of them, an object store, a SQL table; times in UTC, dates of files.

One rule: what is looked at is read as ingestion would read it, so that what holds here holds there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pandas as pd

from mlops.data import files
from mlops.data.timezones import to_utc
from mlops.errors import SchemaError, SourceError
from mlops.spec import SourceSpec

Kind = Literal["parquet", "csv", "sql"]
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_BRACES = re.compile(r"\{date[^}]*\}")


@dataclass(frozen=True)
class Looked:
    """Data that was looked at."""

    uri: str  # as given
    template: str  # as a spec would say it: with {date} where files are by date
    kind: Kind
    frame: pd.DataFrame
    days: pd.Series | None  # date of each row's file; None where files are not by date
    timezone: str | None  # that times without one were taken to be in


def look(
    uri: str, *, kind: Kind | None = None, table: str = "", timezone: str = "", options: dict[str, Any] | None = None
) -> Looked:
    """Read data for a first look.

    Args:
        uri: path, glob, folder or URI, with or without {date}; or an SQLAlchemy URL.
        kind: default: by the ending of the files, or sql for a database URL.
        table: for sql: the table, or a query.
        timezone: zone of times that carry none. Default: they are taken to be UTC, and the proposal says so.
        options: options for fsspec or the CSV reader.

    Raises:
        SourceError: nothing is there, or it cannot be read.
    """
    kind = kind or _kind(uri)
    if kind == "sql":
        return _in_utc(uri, uri, kind, _from_sql(uri, table), None, timezone)
    source = SourceSpec(kind=kind, uri=uri, options=options or {})
    found = files.find(source, _BRACES.sub("*", uri))
    if found is None:
        raise SourceError(f"{files.shown(uri)} matches no {kind} file.", hint="Correct the path, or give --kind.")
    dates = [_DATE.findall(path) for path in found.paths]
    template = _template(uri, found)
    by_date = "{date}" in template
    parts = [files.read(source, files.Files(found.fs, (path,)), "") for path in found.paths]
    frame = pd.concat(parts, ignore_index=True)
    days = None
    if by_date:
        days = pd.Series(
            [date.fromisoformat(d[-1]) for d, part in zip(dates, parts, strict=True) for _ in range(len(part))]
        )
    return _in_utc(uri, template, kind, frame, days, timezone)


def _kind(uri: str) -> Kind:
    if re.match(r"^(postgresql|sqlite|mysql|mssql|oracle|duckdb)(\+\w+)?://", uri):
        return "sql"
    return "csv" if re.search(r"\.(csv|tsv)(\.\w+)?$", uri) else "parquet"


def _template(uri: str, found: files.Files) -> str:
    """The URI that a spec would give: dates in the names of all files become {date}."""
    if "{date" in uri:
        return uri
    forms = {_DATE.sub("{date}", path) for path in found.paths}
    if len(forms) == 1 and all(_DATE.search(path) for path in found.paths):
        (form,) = forms
        return form if "file" in files.protocols(found.fs) else str(found.fs.unstrip_protocol(form))
    return uri


def _from_sql(uri: str, table: str) -> pd.DataFrame:
    import sqlalchemy as sa

    if not table:
        raise SourceError(f"{files.shown(uri)} is a database.", hint="Name a table or query: --table.")
    query = table if " " in table.strip() else f"SELECT * FROM {table}"
    try:
        engine = sa.create_engine(uri)
        try:
            with engine.connect() as connection:
                return pd.read_sql_query(sa.text(query), connection)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise SourceError(f"{files.shown(uri)} did not answer: {' '.join(str(error).split())}.") from error


def _in_utc(uri: str, template: str, kind: Kind, frame: pd.DataFrame, days: pd.Series | None, timezone: str) -> Looked:
    zone: str | None = None
    changed = {}
    for name in frame.columns:
        if not _may_be_time(frame[name]):
            continue
        try:
            changed[name] = to_utc(frame[name], None)
        except SchemaError:
            try:
                changed[name] = to_utc(frame[name], timezone or "UTC", repeated="later")
                zone = timezone or "UTC"
            except SchemaError:
                continue
    return Looked(uri, template, kind, frame.assign(**changed), days, zone)


def _may_be_time(values: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return True
    present = values.dropna()
    if present.empty or pd.api.types.is_numeric_dtype(values.dtype):
        return False
    return bool(present.astype(str).head(100).str.match(r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?$").all())
