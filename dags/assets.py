"""What the DAGs of a model hand over to one another: one Airflow Asset per model and kind.

`validated_data → features → challenger → validated_challenger → champion → predictions → drift`. An event of each
carries the facts of the step that made it: `model`, `date`, `reason`, and the version where there is one.

One rule: Assets are made here and nowhere else. Two of one URI but different names would make one of them inactive, and
its task fail.
"""

from __future__ import annotations

from typing import Literal, get_args

from airflow.sdk import Asset

Kind = Literal["validated_data", "features", "challenger", "validated_challenger", "champion", "predictions", "drift"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def asset(model: str, kind: Kind) -> Asset:
    """The Asset of one kind of one model."""
    return Asset(name=f"{model}/{kind}", uri=f"mlops://{model}/{kind}", group=model)
