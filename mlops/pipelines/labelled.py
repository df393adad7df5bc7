"""The labels that a night may count on: delivered ones and those of people, as they were known then.

One rule: training and evaluation ask here, so that both see the same.
"""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from mlops.data import labels, partitions
from mlops.services import Services
from mlops.spec import ModelSpec


def mature(services: Services, spec: ModelSpec, *, start: datetime, end: datetime, as_of: datetime) -> pd.DataFrame:
    """The labels of events in [start, end) that are known and mature at `as_of`, see `mlops.data.labels`.

    Args:
        services: the adapters.
        spec: a model with a label.
        start: first event, aware.
        end: end of the events, not included, aware.
        as_of: what had arrived by then is known, aware.
    """
    assert spec.label is not None
    sources = spec.label.store

    def stored(low: datetime, high: datetime) -> pd.DataFrame:
        return services.labels.known(spec.name, start=low, end=high, as_of=as_of, sources=sources)

    return labels.mature_labels(
        spec.label,
        lambda first, last: partitions.read_rows(services.storage, spec.dataset, first, last),
        entity=spec.entity,
        timestamps=spec.timestamps,
        start=start,
        end=end,
        as_of=as_of,
        stored=stored if sources else None,
    )
