"""Data for a first look: a file, a folder or glob of them, an object store, a SQL table; times in UTC, dates of files.

One rule: what is looked at is read as ingestion would read it, so that what holds here holds there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from mlops.data import files
from mlops.data.profile_frame import FrameProfile
from mlops.data.profile_table import SourceKind
from mlops.data.timezones import to_utc
from mlops.errors import SchemaError, SourceError
from mlops.spec import SourceSpec

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_BRACES = re.compile(r"\{date[^}]*\}")
LOOKED_AT = 100  # values that say whether a column of text holds times
_TIME = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?$"


@dataclass(frozen=True)
class Shelf:
    """Files that are looked at."""

    source: SourceSpec
    files: files.Files
    template: str  # as a spec would say it: with {date} where files are by date

    @property
    def by_date(self) -> bool:
        """Whether each file is of a date."""
        return "{date}" in self.template

    def date_of(self, path: str) -> date:
        """The date of a file, where files are by date."""
        return date.fromisoformat(_DATE.findall(path)[-1])


def shelf(uri: str, kind: SourceKind, options: dict[str, Any] | None) -> Shelf:
    """The files at a URI.

    Raises:
        SourceError: nothing is there, or it cannot be listed.
    """
    source = SourceSpec(kind=kind, uri=_BRACES.sub("*", uri), options=options or {})
    found = files.find(source, source.uri)
    if found is not None and "{date}" in uri:
        found = files.Files(found.fs, tuple(path for path in found.paths if _DATE.search(path)))
    if found is None or not found.paths:
        raise SourceError(f"{files.shown(uri)} matches no {kind} file.", hint="Correct the path, or give --kind.")
    return Shelf(source, found, _template(uri, found))


def look(
    uri: str, *, kind: SourceKind, table: str = "", timezone: str = "", options: dict[str, Any] | None = None
) -> FrameProfile:
    """Read data for a first look; arguments and errors as `profile.first_look`."""
    if kind == "sql":
        return _in_utc(uri, uri, kind, _from_sql(uri, table), None, timezone)
    found = shelf(uri, kind, options)
    parts = [files.read(found.source, files.Files(found.files.fs, (path,)), "") for path in found.files.paths]
    frame = pd.concat(parts, ignore_index=True)
    dates = None
    if found.by_date:
        each = zip(found.files.paths, parts, strict=True)
        dates = pd.Series([found.date_of(path) for path, part in each for _ in range(len(part))])
    return _in_utc(uri, found.template, kind, frame, dates, timezone)


def kind_of(uri: str) -> SourceKind:
    """What a URI leads to, by its form."""
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


def is_time(text: str) -> bool:
    """Whether a text is a time.

    >>> is_time("2026-03-05 04:10:00+01:00"), is_time("2026-03-05"), is_time("pump-7")
    (True, True, False)
    """
    return re.match(_TIME, text) is not None


def _in_utc(
    uri: str, template: str, kind: SourceKind, frame: pd.DataFrame, dates: pd.Series | None, timezone: str
) -> FrameProfile:
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
    return FrameProfile(uri, template, kind, zone, frame.assign(**changed), dates)


def _may_be_time(values: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return True
    present = values.dropna()
    if present.empty or pd.api.types.is_numeric_dtype(values.dtype):
        return False
    return bool(present.astype(str).head(LOOKED_AT).map(is_time).all())
