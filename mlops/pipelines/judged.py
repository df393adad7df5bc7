"""The decisions that validation kept: read back by date or version.

One rule: what is read is what was sealed or not; whether it is, `mlops.pipelines.checks` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from mlops.errors import NoDataError, PromotionError
from mlops.pipelines.night import report_uri
from mlops.records import GateDecision, from_dict
from mlops.services import Services
from mlops.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision as validation kept it, with the facts it was made on."""

    decision: GateDecision
    facts: dict[str, Any]  # what the decision's hash is over

    @property
    def version(self) -> int:
        """The version that was judged."""
        return self.decision.version


def read_judged(services: Services, spec: ModelSpec, day: date, version: int | None = None) -> Judged:
    """The decision of a date, or of one of its versions.

    Raises:
        NoDataError: there is none.
        PromotionError: it cannot be read: the file was damaged.
    """
    uri = report_uri(services, spec, day, "evidence.json" if version is None else f"evidence-v{version}.json")
    try:
        kept = services.storage.read_json(uri)
        return Judged(from_dict(GateDecision, kept["decision"]), dict(kept["evidence"]))
    except (ValueError, KeyError, TypeError) as error:
        raise PromotionError(
            f"The evidence at {uri} cannot be read: it is not what validation wrote.",
            hint=f"Validate again: mlops run validation {spec.name} --date {day}",
        ) from error


def day_of(services: Services, spec: ModelSpec, version: int | None) -> date:
    """The date a version was judged for: the one it was trained for.

    Args:
        services: the adapters.
        spec: the model.
        version: default: the version that the alias `challenger` points to.

    Raises:
        NoDataError: there is no challenger, or the version was not made by a training of this project.
        RegistryError: there is no such version.
    """
    if version is None:
        found = services.registry.by_alias(spec.name, "challenger")
        if found is None:
            raise NoDataError(
                f"{spec.name} has no challenger: no version has passed its gates.",
                hint=f"Train and validate first: mlops run all {spec.name}",
            )
    else:
        found = services.registry.get(spec.name, version)
    parts = found.run_key.split("/")
    try:
        return date.fromisoformat(parts[2])
    except (IndexError, ValueError) as error:
        raise NoDataError(
            f"{spec.name} version {found.version} does not say for which date it was trained (run {found.run_key!r}).",
            hint="Give the date with --date.",
        ) from error
