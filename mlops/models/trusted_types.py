"""Types that a model file may hold beside those that skops trusts: estimators, arrays, plain values.

The list belongs to who loads: it comes with this code and is extended by the setting `trusted_types`. These classes run
nothing when they are built from a file; their arrays could still crash the process (a tree's nodes are not checked),
which is one reason why a file is built only after its signature was verified.

One rule: a type is on the list because the catalogue makes it, and a test loads it.
"""

from __future__ import annotations

_OWN = (
    "mlops.models.detectors.FrozenCOPOD",
    "mlops.models.detectors.FrozenECOD",
    "mlops.models.detectors.FrozenHBOS",
    "mlops.models.detectors.FrozenPCA",
    "mlops.models.scoring.Scorer",
    "mlops.models.scoring.Unit",
)
_PYOD = tuple(
    f"pyod.models.{name}"
    for name in (
        "abod.ABOD",
        "cblof.CBLOF",
        "gmm.GMM",
        "iforest.IForest",
        "inne.INNE",
        "kde.KDE",
        "knn.KNN",
        "kpca.KPCA",
        "kpca.PyODKernelPCA",
        "loda.LODA",
        "lof.LOF",
        "mcd.MCD",
        "ocsvm.OCSVM",
        "qmcd.QMCD",
        "sampling.Sampling",
    )
)
_INSIDE_SKLEARN = tuple(
    f"sklearn.{name}"
    for name in (
        "_loss.loss.HalfTweedieLossIdentity",
        "calibration._CalibratedClassifier",
        "calibration._SigmoidCalibration",
        "ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "gaussian_process.kernels.ConstantKernel",
        "gaussian_process.kernels.Product",
        "gaussian_process.kernels.RBF",
        "metrics._dist_metrics.ChebyshevDistance64",
        "metrics._dist_metrics.EuclideanDistance64",
        "metrics._dist_metrics.ManhattanDistance64",
        "metrics._dist_metrics.MinkowskiDistance64",
        "neighbors._ball_tree.BallTree",
        "neighbors._kd_tree.KDTree",
        "neural_network._stochastic_optimizers.AdamOptimizer",
        "neural_network._stochastic_optimizers.SGDOptimizer",
        "tree._tree.Tree",
    )
)
TRUSTED_TYPES: tuple[str, ...] = (*_OWN, *_PYOD, *_INSIDE_SKLEARN)
