"""What monitoring sees of a night that one machine cannot hold: all rows as profiles, and a sample as rows.

Columns of numbers are judged by the profiles of all rows. Rows are asked for where a profile says nothing:
for the table as a whole, for whose drift it is, for the page. Up to `SAMPLE` rows the sample is all of them.

One rule: the sample follows from the rows, so that a retry sees the same one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

import pandas as pd

from mlops import spark_tables
from mlops.monitoring.drift import detect
from mlops.monitoring.drift.profile import Profiled
from mlops.monitoring.drift.profile_spark import profiles_on_spark
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.night_rows import SAMPLE, NightRows
from mlops.services import Services
from mlops.spark_tables import POSITION
from mlops.spec import ModelSpec


def seen(
    services: Services, spec: ModelSpec, day: date, reference: pd.DataFrame, columns: Sequence[str], prediction: str
) -> NightRows:
    """What monitoring sees of a date.

    Args:
        services: the adapters.
        spec: the model.
        day: the date, which has predictions.
        reference: what the champion learned from, with `observed_at`.
        columns: what is compared.
        prediction: name of the column of scores.
    """
    from pyspark.sql import functions as sf

    uri = predictions_uri(services, spec, day)
    frame = spark_tables.read(services.spark, services.storage, [uri], position=True)
    frame = frame.withColumnRenamed("score", prediction)
    rows = frame.count()
    every = max(1, math.ceil(rows / SAMPLE))
    drawn = frame.where(sf.pmod(sf.xxhash64(POSITION), sf.lit(every)) == 0) if every > 1 else frame
    sample = drawn.toArrow().sort_by(POSITION).drop_columns([POSITION]).to_pandas()
    there = [name for name in columns if name in frame.columns and name in reference.columns]
    knots = detect.knots_of(reference, there, reference["observed_at"])
    profiles = profiles_on_spark(frame, knots) if knots and rows else {}
    return NightRows(sample, {name: Profiled(made, knots[name]) for name, made in profiles.items()})
