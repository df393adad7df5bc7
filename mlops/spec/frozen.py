"""What every part of a spec is: frozen, and closed to keys it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A part of a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")
