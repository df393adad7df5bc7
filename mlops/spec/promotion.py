"""The part of a spec that says who decides."""

from __future__ import annotations

from typing import Literal

from mlops.spec.frozen import Frozen


class PromotionSpec(Frozen):
    """Who decides."""

    approval: Literal["automatic"] = "automatic"
