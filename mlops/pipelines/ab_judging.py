"""One night's verdict on an experiment: shares of units, effect by the boundary, guardrails, and what follows.

One rule: pure. The same outcomes and earlier looks give the same look.
"""

from __future__ import annotations

import dataclasses
import math
from datetime import date

import pandas as pd

from mlops.experiments.ab import srm
from mlops.experiments.ab.confidence_sequences import normal_mixture
from mlops.experiments.ab.cuped import compare_adjusted
from mlops.experiments.ab.effects import Effect
from mlops.experiments.ab.means import compare_means
from mlops.experiments.ab.proportions import compare_proportions
from mlops.experiments.ab.ratios import compare_ratios
from mlops.experiments.ab.samples import Counts, Moments
from mlops.experiments.ab.sequential import Design, Moment, look, units_information
from mlops.models.wording import number, signed
from mlops.pipelines.ab_outcomes import MOST_WRONG, Outcomes
from mlops.pipelines.ab_records import ExperimentLook, VariantEffect
from mlops.pipelines.experiment_state import ExperimentState
from mlops.spec.experiment import GuardrailSpec, MetricSpec

_TUNED_AT = 0.5  # share of the planned nights at which guardrails are watched most closely


def judge(state: ExperimentState, outcomes: Outcomes, day: date) -> ExperimentLook:
    """The look of a night.

    Args:
        state: the experiment, with the looks that were made before.
        outcomes: of all units up to the night.
        day: the night.

    Returns:
        `number` 0 where no look was made (cannot tell): no error was spent.
    """
    spec, control = state.spec, state.variants[0].name
    units = {variant.name: int((outcomes.units["variant"] == variant.name).sum()) for variant in state.variants}
    bare = ExperimentLook(spec.name, spec.model, day, 0, "cannot_tell", "", control=control, units=units)
    if problem := _mismatch(state, outcomes, units):
        pvalue, words = problem
        number_ = len(state.looks) + 1
        return dataclasses.replace(
            bare, number=number_, decision="invalid", reason=words, mismatch_pvalue=pvalue, winner=control
        )
    fewest = min(units, key=units.__getitem__)
    if units[fewest] < spec.decision.min_units:
        words = f"{fewest} has {units[fewest]:,} units, {spec.decision.min_units:,} are needed."
        return dataclasses.replace(bare, reason=words)
    return _compared(state, outcomes, bare, day)


def _mismatch(state: ExperimentState, outcomes: Outcomes, units: dict[str, int]) -> tuple[float, str] | None:
    """Why the experiment cannot be believed, if it cannot."""
    weights = [variant.weight for variant in state.variants]
    counts = [units[variant.name] for variant in state.variants]
    pvalue = mismatch_pvalue(state, units)
    if pvalue < state.spec.decision.mismatch_alpha:
        total = sum(weights)
        told = ", ".join(
            f"{variant.name} has {count:,} units, expected {sum(counts) * variant.weight / total:,.0f}"
            for variant, count in zip(state.variants, counts, strict=True)
        )
        return pvalue, f"The variants' shares are not those that were assigned (p = {number(pvalue)}): {told}."
    if outcomes.wrong_share > MOST_WRONG:
        words = (
            f"{outcomes.wrong:,} units met a variant that they were not assigned ({100 * outcomes.wrong_share:.2g} %)."
        )
        return pvalue, words
    return None


def mismatch_pvalue(state: ExperimentState, units: dict[str, int]) -> float:
    """The always-valid p-value of the variants' shares, over this and all earlier looks."""
    names = [variant.name for variant in state.variants]
    looks = [look_.units for look_ in state.looks if look_.units] + [units]
    counts = [[each.get(name, 0) for name in names] for each in looks]
    return srm.anytime_pvalue(counts, [variant.weight for variant in state.variants])


def _compared(state: ExperimentState, outcomes: Outcomes, bare: ExperimentLook, day: date) -> ExperimentLook:
    """The treatments against the control, each at its part of alpha."""
    spec, decision = state.spec, state.spec.decision
    assert spec.metric is not None
    treatments = state.variants[1:]
    design = Design(decision.alpha / len(treatments), decision.sides, decision.spending)
    nights = (day - state.started_on).days + 1
    spent_at = min(1.0, nights / decision.days)
    made = [each for each in state.looks if each.information > 0]
    earlier = [Moment(each.information, each.spent_at) for each in made]
    known = {v.name: _known(outcomes.units, v.name, spec.metric) for v in state.variants}
    information = min(units_information(known[bare.control], known[v.name]) for v in treatments)
    if earlier and information <= earlier[-1].information:
        words = "No unit with a known outcome came in since the last look: nothing can have changed."
        return dataclasses.replace(bare, reason=words)
    effects = []
    value = math.nan
    for variant in treatments:
        effect = _effect(outcomes.units, bare.control, variant.name, spec.metric, design.alpha)
        if effect is None:
            words = f"{variant.name} cannot be compared: too few units with a known outcome, or none differs."
            return dataclasses.replace(bare, reason=words)
        value = effect.control
        harmed = tuple(
            rail.name for rail in spec.guardrails if _harmed(state, outcomes.units, variant.name, rail, nights)
        )
        effects.append(
            _judged(effect, variant.name, spec.metric, Moment(information, spent_at), earlier, design, harmed)
        )
    found = dataclasses.replace(
        bare,
        number=len(state.looks) + 1,
        control_value=value,
        effects=tuple(effects),
        mismatch_pvalue=mismatch_pvalue(state, bare.units),
        information=information,
        spent_at=spent_at,
    )
    return _decided(state, found)


def _judged(
    effect: Effect,
    name: str,
    metric: MetricSpec,
    moment: Moment,
    earlier: list[Moment],
    design: Design,
    harmed: tuple[str, ...],
) -> VariantEffect:
    """An effect held against tonight's boundary; the statistic is turned so that positive is better."""
    sign = 1.0 if metric.better == "higher" else -1.0
    seen = look(sign * effect.effect_size, effect.error, moment, earlier, design)
    low, high = (seen.low, seen.high) if sign > 0 else (-seen.high, -seen.low)
    return VariantEffect(
        variant=name,
        units=effect.n_treatment,
        value=effect.treatment,
        effect_size=effect.effect_size,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        pvalue=seen.pvalue,
        statistic=seen.statistic,
        bound=seen.bound if math.isfinite(seen.bound) else None,
        crossed=seen.crossed,
        harmed=harmed,
    )


def _decided(state: ExperimentState, found: ExperimentLook) -> ExperimentLook:
    """What follows from the effects of a look."""
    sound = [e for e in found.effects if e.crossed == "above" and not e.harmed]
    rejected = [e for e in found.effects if e.crossed == "below" or e.harmed]
    told = "; ".join(_words(e, state) for e in found.effects)
    if sound:
        best = max(sound, key=lambda e: e.statistic)
        version = next(v.version for v in state.variants if v.name == best.variant)
        words = f"{best.variant} (version {version}) is better than {found.control}. {told}."
        return dataclasses.replace(found, decision="winner", reason=words, winner=best.variant, version=version)
    if len(rejected) == len(found.effects):
        words = f"No treatment may replace {found.control}. {told}."
        version = state.variants[0].version
        return dataclasses.replace(found, decision="winner", reason=words, winner=found.control, version=version)
    if found.spent_at >= 1:
        return dataclasses.replace(found, decision="no_difference", reason=f"The planned nights are over. {told}.")
    return dataclasses.replace(found, decision="continue", reason=f"Nothing can be said yet. {told}.")


def _words(effect: VariantEffect, state: ExperimentState) -> str:
    interval = "open" if effect.low is None and effect.high is None else f"{_end(effect.low)} to {_end(effect.high)}"
    limit = "no boundary yet" if effect.bound is None else f"boundary {effect.bound:.2f}"
    harm = f", harms {', '.join(effect.harmed)}" if effect.harmed else ""
    metric, z = state.spec.metric, f"{effect.statistic:.2f}".replace("-", "−")
    assert metric is not None
    return f"{effect.variant}: {metric.column} {signed(effect.effect_size)} ({interval}), Z {z}, {limit}{harm}"


def _end(value: float | None) -> str:
    return "open" if value is None else signed(value)


def _known(units: pd.DataFrame, variant: str, metric: MetricSpec) -> int:
    """Units of a variant whose outcome is known."""
    rows = units[units["variant"] == variant]
    return int((rows[f"{metric.column}:rows"] > 0).sum())


def _effect(units: pd.DataFrame, control: str, treatment: str, metric: MetricSpec, alpha: float) -> Effect | None:
    """The difference between two variants."""
    first, second = (_columns(units[units["variant"] == name], metric) for name in (control, treatment))
    if metric.kind == "ratio":
        ratio = compare_adjusted if metric.covariate else compare_ratios
        return ratio(Moments.of(*first), Moments.of(*second), alpha=alpha)
    if metric.covariate:
        return compare_adjusted(Moments.of(*first), Moments.of(*second), alpha=alpha)
    if metric.kind == "mean":
        return compare_means(Moments.of(*first), Moments.of(*second), alpha=alpha)
    counts = [Counts(int(hits.sum()), len(hits)) for hits in (first[0], second[0])]
    return compare_proportions(*counts, alpha=alpha)


def _columns(rows: pd.DataFrame, metric: MetricSpec) -> list[pd.Series]:
    """What the test needs of each unit whose values are all known."""
    names = [
        name for name in (metric.column, metric.denominator, metric.covariate, metric.covariate_denominator) if name
    ]
    rows = rows[(rows[[f"{name}:rows" for name in names]] > 0).all(axis=1)]
    if metric.kind == "ratio":
        return [rows[name] for name in names]
    means = [rows[name] / rows[f"{name}:rows"] for name in names]
    if metric.kind == "proportion":
        means[0] = (rows[f"{metric.column}:max"] > 0).astype(float)
    return means


def _harmed(state: ExperimentState, units: pd.DataFrame, variant: str, rail: GuardrailSpec, nights: int) -> bool:
    """Whether a guardrail is shown to be worse than tolerated, at any of the looks at alpha for all guardrails."""
    decision = state.spec.decision
    metric = MetricSpec(kind=rail.kind, column=rail.column, better=rail.better, minimum_effect=1.0)
    effect = _effect(units, state.variants[0].name, variant, metric, decision.alpha)
    if effect is None or min(effect.n_control, effect.n_treatment) < decision.min_units:
        return False
    harm = effect.effect_size if rail.better == "lower" else -effect.effect_size
    tuned = effect.error * math.sqrt(nights / max(1.0, _TUNED_AT * decision.days))
    tests = len(state.spec.guardrails) * (len(state.variants) - 1)
    interval = normal_mixture(harm, effect.error, tuned_to=tuned, alpha=decision.alpha / tests)
    return interval.low > rail.tolerance
