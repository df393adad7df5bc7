"""Which variant a unit meets: a keyed digest of the unit, the same in every process and on every machine.

    unit ─► the layer's digest ─► inside the experiment's slice? ─► the variants' digests ─► variant

Digests of different experiments are independent, so that what one experiment does spreads evenly over the variants of
another; experiments of one layer own slices of its units, so that no unit is in two. Variants are chosen by weighted
rendezvous: each draws an exponential waiting time with its weight as rate, and the first one wins. Raising a variant's
weight therefore only moves units into it, whatever the number of variants, and lowering it only out of it.

One rule: an assignment is a function of the routing table and the unit. Nothing is remembered, nothing is drawn.

References:
    Schindelhauer, C. and Schomaker, G. (2005), Weighted distributed hash tables, SPAA (rendezvous with weights).
    Tang, D., Agarwal, A., O'Brien, D. and Meyer, M. (2010), Overlapping experiment infrastructure, KDD (layers).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from mlops.errors import ConfigError, did_you_mean

Kind = Literal["ab", "canary", "shadow", "bandit"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A version and its part of the units."""

    name: str
    version: int
    weight: float  # against those of the others, ≥ 0


@dataclass(frozen=True, slots=True)
class Route:
    """A running experiment, as far as routing needs it."""

    experiment: str
    model: str
    kind: Kind
    layer: str
    start: float  # slice of the layer, [start, end) within [0, 1]
    end: float
    salt: str  # key of the digests; another salt is another, independent assignment
    variants: tuple[Variant, ...]  # the first one is the control
    overrides: dict[str, str] = field(default_factory=dict)  # unit -> variant

    @property
    def control(self) -> Variant:
        """The first variant."""
        return self.variants[0]

    def variant(self, name: str) -> Variant:
        """A variant by its name.

        Raises:
            ConfigError: there is none.
        """
        for one in self.variants:
            if one.name == name:
                return one
        known = [one.name for one in self.variants]
        raise ConfigError(f"{self.experiment} has no variant {name!r}.", hint=did_you_mean(name, known))


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a unit meets."""

    experiment: str
    model: str
    unit: str
    variant: str
    version: int
    counts: bool  # False: it is not in the experiment, or was put there by hand; its outcome is no evidence
    reason: Literal["assigned", "override", "outside"]
    shadow: int | None = None  # version that is to answer as well, unseen


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All running experiments."""

    routes: dict[str, Route] = field(default_factory=dict)  # by experiment

    def route(self, experiment: str) -> Route:
        """A running experiment.

        Raises:
            ConfigError: none of that name is running.
        """
        if experiment not in self.routes:
            hint = did_you_mean(experiment, self.routes) if self.routes else "Start it: mlops ab start"
            raise ConfigError(f"No experiment {experiment!r} is running.", hint=hint)
        return self.routes[experiment]

    def for_unit(self, model: str, unit: str, *, force: str = "") -> Assignment | None:
        """What a unit of a model meets; None if no experiment has it, so that the champion answers.

        Args:
            model: whose answer is asked for.
            unit: whom the answer is for.
            force: a variant of the experiment that has the unit, for testing.
        """
        shadow = None
        for route in self.routes.values():
            if route.model != model:
                continue
            found = assign(route, unit, force=force)
            if found.reason == "outside":
                continue
            if route.kind != "shadow":
                return found
            shadow = found
        return shadow


def assign(route: Route, unit: str, *, force: str = "") -> Assignment:
    """What a unit meets in an experiment.

    Args:
        route: the experiment.
        unit: identity of the unit, such as a user or a device.
        force: a variant by name, for testing; such a unit is no evidence.

    Returns:
        Outside the experiment's slice: the control, which does not count.

    Raises:
        ConfigError: no unit, or no such variant.
    """
    if not unit:
        raise ConfigError("An assignment needs a unit.", hint="Give whom the answer is for, such as user_id.")
    forced = force or route.overrides.get(unit, "")
    if forced:
        return _assignment(route, unit, route.variant(forced), reason="override")
    whole = route.start <= 0 and route.end >= 1
    if not whole and not route.start <= digest(f"layer/{route.layer}", unit) < route.end:
        return _assignment(route, unit, route.control, reason="outside")
    if route.kind == "shadow":
        return _assignment(route, unit, route.control, reason="assigned")
    chosen = min(route.variants, key=lambda variant: _waiting_time(route.salt, variant, unit))
    return _assignment(route, unit, chosen, reason="assigned")


def digest(key: str, unit: str) -> float:
    """A unit's place in [0, 1), evenly spread over units and independent between keys.

    >>> digest("layer/main", "user 1")
    0.321793937976633
    """
    raw = hashlib.blake2b(unit.encode(), digest_size=8, key=_key(key)).digest()
    return (int.from_bytes(raw, "big") >> 11) * 2.0**-53


@lru_cache(maxsize=4096)
def _key(text: str) -> bytes:
    """A key of fixed length from a text of any length."""
    return hashlib.sha256(text.encode()).digest()


def _waiting_time(salt: str, variant: Variant, unit: str) -> float:
    """Exponential with the weight as rate; inf without weight."""
    if variant.weight <= 0:
        return math.inf
    return -math.log1p(-digest(f"variant/{salt}/{variant.name}", unit)) / variant.weight


def _assignment(
    route: Route, unit: str, variant: Variant, *, reason: Literal["assigned", "override", "outside"]
) -> Assignment:
    shadow = route.variants[1].version if route.kind == "shadow" and reason != "outside" else None
    answers = route.control if shadow is not None else variant
    return Assignment(
        experiment=route.experiment,
        model=route.model,
        unit=unit,
        variant=answers.name,
        version=answers.version,
        counts=reason == "assigned",
        reason=reason,
        shadow=shadow,
    )


def shares(route: Route) -> Mapping[str, float]:
    """The share of the experiment's units that each variant meets."""
    total = sum(variant.weight for variant in route.variants)
    return {variant.name: variant.weight / total if total else 0.0 for variant in route.variants}
