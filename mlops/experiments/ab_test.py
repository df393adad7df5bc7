"""The face of A/B statistics: one object that knows the error rate and how it is spent.

One rule: thin. What it answers is computed by the modules of `mlops.experiments.ab`, one concept each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from mlops.experiments.ab.boundaries import boundaries
from mlops.experiments.ab.confidence_sequences import Anytime, normal_mixture
from mlops.experiments.ab.cuped import compare_adjusted
from mlops.experiments.ab.effects import Alternative, Effect
from mlops.experiments.ab.means import compare_means
from mlops.experiments.ab.multiplicity import Adjustment, adjusted_pvalues
from mlops.experiments.ab.planning import Plan, plan
from mlops.experiments.ab.proportions import compare_proportions
from mlops.experiments.ab.ratios import compare_ratios
from mlops.experiments.ab.samples import Counts, Floats, Moments
from mlops.experiments.ab.sequential import Design, Look, Moment, look
from mlops.experiments.ab.srm import ratio_pvalue

__all__ = ["ABTestFramework", "Counts", "Design", "Effect", "Look", "Moment", "Moments", "Plan"]


class ABTestFramework:
    """A/B tests at one error rate.

    Args:
        design: alpha, sides and spending. One-sided: only a treatment with a larger outcome is a finding.

    >>> framework = ABTestFramework()
    >>> found = framework.proportions(Counts(100, 1_000), Counts(130, 1_000))
    >>> found and round(found.pvalue, 4)
    0.0355
    """

    def __init__(self, design: Design | None = None) -> None:
        self.design = design or Design()

    @property
    def alternative(self) -> Alternative:
        """What would be a finding."""
        return "two_sided" if self.design.sides == 2 else "greater"

    def proportions(self, control: Counts, treatment: Counts) -> Effect | None:
        """The difference of two shares of units; None: cannot tell."""
        return compare_proportions(control, treatment, alpha=self.design.alpha, alternative=self.alternative)

    def means(
        self,
        control: npt.ArrayLike,
        treatment: npt.ArrayLike,
        covariates: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> Effect | None:
        """The difference of two means, with covariates (control's, treatment's) by CUPED; None: cannot tell."""
        if covariates is None:
            return compare_means(Moments.of(control), Moments.of(treatment), **self._rules())
        first, second = Moments.of(control, covariates[0]), Moments.of(treatment, covariates[1])
        return compare_adjusted(first, second, **self._rules())

    def ratios(
        self, control: tuple[npt.ArrayLike, npt.ArrayLike], treatment: tuple[npt.ArrayLike, npt.ArrayLike]
    ) -> Effect | None:
        """The difference of two ratios; of each variant numerators and denominators by unit. None: cannot tell."""
        return compare_ratios(Moments.of(*control), Moments.of(*treatment), **self._rules())

    def sample_ratio(self, counts: Sequence[int], weights: Sequence[float]) -> float | None:
        """p-value of the stated shares of units, for a single look; None without units."""
        return ratio_pvalue(counts, weights)

    def look(self, effect: Effect, moment: Moment, earlier: Sequence[Moment]) -> Look:
        """Judge tonight's effect by its boundary, after the looks that were made before."""
        return look(effect.effect_size, effect.error, moment, earlier, self.design)

    def boundaries(self, looks: int) -> tuple[float, ...]:
        """What Z has to exceed at so many equally spaced looks."""
        return boundaries(
            [(k + 1) / looks for k in range(looks)],
            alpha=self.design.alpha,
            sides=self.design.sides,
            spending=self.design.spending,
        )

    def anytime(self, effect: Effect, *, tuned_to: float) -> Anytime:
        """An interval that may be looked at whenever one likes; `tuned_to`: see `normal_mixture`."""
        return normal_mixture(effect.effect_size, effect.error, tuned_to=tuned_to, alpha=self.design.alpha)

    def adjust(self, pvalues: npt.ArrayLike, method: Adjustment = "holm") -> Floats:
        """p-values of several comparisons, adjusted."""
        return adjusted_pvalues(pvalues, method)

    def plan(self, **options: Any) -> Plan:
        """Units and days that are needed, see `mlops.experiments.ab.planning.plan`."""
        return plan(design=self.design, **options)

    def _rules(self) -> Any:
        return {"alpha": self.design.alpha, "alternative": self.alternative}
