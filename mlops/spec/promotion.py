"""The part of a spec that says who decides."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops.spec.frozen import Frozen


class PromotionSpec(Frozen):
    """Who decides, and what happens when the champion is changed behind the ledger's back."""

    approval: Literal["automatic", "people"] = Field(
        "automatic", description="automatic: who passes the gates is promoted; people: when people have approved."
    )
    approvers: int = Field(1, ge=1, description="people: how many have to approve.")
    role: str = Field(
        "model-approver", min_length=1, description="people: the role they must hold; the settings say who does."
    )
    four_eyes: bool = Field(True, description="people: none of them is the one who started the training.")
    timeout_hours: float = Field(24.0, gt=0, description="people: refused when nobody has decided by then [h].")
    reconcile: Literal["repair", "report"] = Field(
        "repair",
        description="An alias or stage that was changed outside is put back, or only reported.",
    )
