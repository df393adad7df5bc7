"""Reading the prediction log: the rows of a date, each once, and their labels once these are known.

One rule: whatever was published twice, or by a request that was sent twice, counts once.
"""

from __future__ import annotations

from datetime import date

import pandas as pd
import pyarrow as pa

from mlops.serving.log_writer import log_uri
from mlops.storage import TABLE_FILE, Storage


def days(storage: Storage, model: str) -> list[date]:
    """The dates of which there are predictions, sorted."""
    found = {_day(file.uri) for file in storage.listing(log_uri(storage, model)) if file.uri.endswith(TABLE_FILE)}
    return sorted(found)


def read(storage: Storage, model: str, first: date, last: date | None = None) -> pd.DataFrame:
    """The predictions of some dates (UTC, by when they were made), in the order in which they were made.

    Args:
        storage: of the installation.
        model: whose.
        first: first date.
        last: last date; default: the first.

    Returns:
        One row per predicted row: `request_id`, `row`, `predicted_at`, `model_version`, `variant`, `experiment`, the
        entity, the timestamps of event and features, `latency_us`, `score`, `threshold`, `flag`, `label`,
        `confidence`, features. Empty, without columns, if there is none.
    """
    tables = []
    for day in pd.date_range(first, last or first):
        folder = f"{log_uri(storage, model)}/date={day.date()}"
        names = [file.uri.removesuffix(f"/{TABLE_FILE}") for file in storage.listing(folder)]
        tables += [storage.read_table(uri) for uri in names]
    if not tables:
        return pd.DataFrame()
    frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    frame = frame.drop_duplicates(["request_id", "row"], keep="last")
    return frame.sort_values(["predicted_at", "request_id", "row"], kind="stable").reset_index(drop=True)


def with_labels(predictions: pd.DataFrame, labels: pd.DataFrame, *, entity: str) -> pd.DataFrame:
    """Predictions with the labels that are known of them.

    Args:
        predictions: as `read` gives them.
        labels: a column `label`, and either `request_id` (with `row` if a request had several), or the entity and
            `event_timestamp`.
        entity: name of the entity column.

    Returns:
        The predictions, in order, with a column `truth`, null where no label is known. By entity and time, a label
        belongs to the prediction for the same event time.

    Raises:
        KeyError: labels have neither key.
    """
    by_request = "request_id" in labels.columns
    keys = ["request_id"] + (["row"] if "row" in labels.columns else []) if by_request else [entity, "event_timestamp"]
    truth = labels[[*keys, "label"]].rename(columns={"label": "truth"}).drop_duplicates(keys, keep="last")
    if not by_request:
        truth[entity] = truth[entity].astype(str)
        truth["event_timestamp"] = pd.to_datetime(truth["event_timestamp"], utc=True).astype("datetime64[us, UTC]")
        truth = truth.dropna(subset=keys)
    return predictions.merge(truth, on=keys, how="left", validate="many_to_one")


def _day(uri: str) -> date:
    return date.fromisoformat(uri.rsplit("date=", 1)[1][:10])
