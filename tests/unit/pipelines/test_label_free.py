"""What a detector would find: the interval of the share holds that of all machines like these."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.pipelines.label_free import _share

SEEDS = 100
LEAST = 75  # of 100; where the chance is .85, fewer come about thrice in a thousand times: binom.cdf(74, 100, .85)
FAULTS = 12  # put into each machine


@pytest.mark.parametrize("machines", [3, 10, 30])
@pytest.mark.parametrize(("found", "missed"), [(8.0, 2.0), (2.0, 2.0), (30.0, 1.0)], ids=["most", "half", "nearly all"])
def test_an_interval_of_injected_recall_holds_that_of_the_fleet(machines: int, found: float, missed: float) -> None:
    """Machines differ in how many of their faults are found; the share of all of them is known from their law."""
    truth = found / (found + missed)
    held, widths = 0, []
    for seed in range(SEEDS):
        rng = np.random.default_rng([machines, int(found), seed])
        own = rng.beta(found, missed, machines)
        flags = (rng.random((machines, FAULTS)) < own[:, None]).astype(float).ravel()
        one = _share("injected_recall", flags, np.repeat([f"m{i}" for i in range(machines)], FAULTS), rng)
        assert one.value == pytest.approx(flags.mean())
        held += bool(one.holds(truth))
        widths.append((one.high or 0.0) - (one.low or 0.0))
    assert held >= LEAST
    if machines == 30:
        assert np.mean(widths) < 0.2, "an interval of everything holds everything"


def test_one_machine_says_nothing_of_others() -> None:
    """Its own share, and any share for the fleet; where three find all, one in twenty would with 37 % each."""
    rng = np.random.default_rng(0)
    alone = _share("injected_recall", np.ones(50), np.repeat(["m0"], 50), rng)
    assert (alone.value, alone.low, alone.high) == (1.0, 0.0, 1.0)
    all_found = _share("injected_recall", np.ones(30), np.repeat(["m0", "m1", "m2"], 10), rng)
    assert (all_found.low, all_found.high) == (pytest.approx(0.05 ** (1 / 3)), 1.0)
    none_found = _share("injected_recall", np.zeros(30), np.repeat(["m0", "m1", "m2"], 10), rng)
    assert (none_found.low, none_found.high) == (0.0, pytest.approx(1 - 0.05 ** (1 / 3)))
