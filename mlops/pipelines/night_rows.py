"""The predictions of a night as rows; of a night too large for memory a sample, and the profiles of all of them.

One rule: up to `MOST_ROWS` a night is read whole; beyond, it is read once, by DuckDB, within bounded memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pandas as pd

from mlops.data.duck_checks import quoted
from mlops.data.duck_table import connection
from mlops.monitoring.drift import profile_duckdb
from mlops.monitoring.drift.profile import Profiled
from mlops.pipelines.inference import predictions_uri
from mlops.services import Services
from mlops.spec import ModelSpec

MOST_ROWS = 2_000_000  # of thirty features half a gigabyte
SAMPLE = 200_000  # of more, so many are looked at as rows


@dataclass(frozen=True, eq=False)
class NightRows:
    """What is known of a night's predictions.

    Args:
        rows: all of them, or a sample.
        profiles: of all rows, by column, where `rows` is a sample.
    """

    rows: pd.DataFrame
    profiles: Mapping[str, Profiled] = field(default_factory=dict)


def of_night(
    services: Services,
    spec: ModelSpec,
    day: date,
    *,
    renamed: Mapping[str, str],
    reference: pd.DataFrame | None = None,
    columns: Sequence[str] = (),
) -> NightRows:
    """The predictions of a date.

    Args:
        services: the adapters.
        spec: the model.
        day: the date, which has predictions.
        renamed: new names of columns, by old.
        reference: what they will be compared with; None: a large night is sampled, and nothing is counted.
        columns: what will be compared, by new names.
    """
    uri = predictions_uri(services, spec, day)
    manifest = services.storage.manifest(uri)
    if manifest is None or manifest.rows <= MOST_ROWS:
        table: pd.DataFrame = services.storage.read_table(uri).to_pandas()
        return NightRows(table.rename(columns=dict(renamed)))
    divisions = {}
    if reference is not None:
        divisions = profile_duckdb.divisions_of(reference, columns, reference["observed_at"])
    picked = np.sort(np.random.default_rng(spec.seed).choice(manifest.rows, SAMPLE, replace=False))
    names = ", ".join(f"{quoted(name)} AS {quoted(renamed.get(name, name))}" for name in manifest.schema)
    fs, paths = services.storage.table_files(uri)
    with connection() as duck:
        if "file" not in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
            duck.register_filesystem(fs)
            paths = tuple(fs.unstrip_protocol(path) for path in paths)
        listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
        query = f"SELECT {names} FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
        found = profile_duckdb.scan(duck, query, divisions, picked)
    return NightRows(found.sample, found.profiles)
