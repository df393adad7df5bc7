"""What must hold of any training set and of any online store, as gates that say what they saw.

One rule: a check that had nothing to look at cannot tell; it never passes.
"""

from mlops.features.checks.conservation import conservation
from mlops.features.checks.freshness import freshness
from mlops.features.checks.leakage import leakage
from mlops.features.checks.parity import parity
from mlops.features.checks.skew import skew

__all__ = ["conservation", "freshness", "leakage", "parity", "skew"]
