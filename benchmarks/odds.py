"""The catalogue's detectors on the 17 sets behind PyOD's published benchmark, beside the published numbers.

The protocol of the table: ten splits of 60 to 40 %, standard scaling learned on the training part, `contamination` =
share of outliers, ROC AUC on the test part rounded to four digits, mean. Everything goes through `catalogue.build`.

References:
    Zhao, Nasrullah, Li (2019). PyOD: A Python Toolbox for Scalable Outlier Detection. JMLR 20(96).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

DETECTORS = {"hbos": "HBOS", "isolation_forest": "IForest", "knn": "KNN", "lof": "LOF"}  # our name: the table's
SPLITS = range(10)
TEST_SHARE = 0.4


def data_folder() -> Path:
    """Where the real data lies."""
    return Path(os.environ.get("MLOPS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def published(folder: Path) -> pd.DataFrame:
    """The published mean ROC AUC: one row per set, one column per detector."""
    return pd.read_csv(folder / "tables" / "pyod_benchmark_roc.csv", index_col="Data")


@contextmanager
def workers() -> Iterator[Executor]:
    """Two processes of one thread each: as fast as two threads each, and the sums do not depend on their number."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield pool


def mean_auc(pool: Executor, folder: Path, name: str, detectors: Sequence[str] = tuple(DETECTORS)) -> dict[str, float]:
    """Mean ROC AUC of each detector on one set."""
    jobs = list(product([folder / "odds_pyod17" / f"{name}.parquet"], detectors, SPLITS))
    found = dict(zip(jobs, pool.map(auc_of_one_split, *zip(*jobs, strict=True)), strict=True))
    return {one: float(np.mean([auc for job, auc in found.items() if job[1] == one])) for one in detectors}


def auc_of_one_split(path: Path, detector: str, split: int) -> float:
    """ROC AUC on the test part of one split, rounded to four digits as in the table."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split

    from mlops.models import catalogue
    from mlops.spec import CandidateSpec

    rows = pd.read_parquet(path)
    y = rows.pop("y").to_numpy()
    train, test, _, truth = train_test_split(rows, y, test_size=TEST_SHARE, random_state=np.random.RandomState(split))
    candidate = CandidateSpec(algorithm=detector, params={"contamination": float(y.mean())}, scale="standard")
    scorer = catalogue.build(candidate, task="anomaly", features=list(rows.columns), entity="device_id", seed=split)
    return round(float(roc_auc_score(truth, scorer.fit(train).score(test))), 4)


def main() -> None:
    """Print our means and their distance from the published ones."""
    folder = data_folder()
    if not folder.is_dir():
        print(f"skipped: no real data at {folder}; set MLOPS_TEST_DATA")
        return
    table = published(folder)
    started = time.perf_counter()
    print(f"{'set':12s}" + "".join(f"{name:>26s}" for name in DETECTORS))
    with workers() as pool:
        for name in table.index:
            ours = mean_auc(pool, folder, str(name))
            cells = [
                f"{ours[one]:.4f} ({ours[one] - table.loc[name, theirs]:+.4f})" for one, theirs in DETECTORS.items()
            ]
            print(f"{name:12s}" + "".join(f"{cell:>26s}" for cell in cells), flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


def _one_thread() -> None:
    """Keep a worker's linear algebra to one thread."""
    import sklearn.neighbors  # noqa: F401 - only libraries that are loaded can be limited
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


if __name__ == "__main__":
    main()
