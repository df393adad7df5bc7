"""`make bench`: run the measures named on the command line, or all of them.

| name | what it measures | takes |
|---|---|---|
| `parsing` | time to parse all DAGs of 1 and of 200 specs | 1 min |
| `overhead` | the training step's own cost: its time less the time inside `fit`, by part | 1 min |
| `checks` | what the nightly checks on features cost of their steps, at the demo's size and a million rows | 3 min |
| `signing` | sign, verify, load with skops and pickle; versions registered per hour through the whole path | 1 min |
| `lifecycle` | registration, tracking, promotion, rollback, verification, the ledger at a million entries | 5 min |
| `contracts` | 1, 10, 100 million rows: first look, contract, publishing, quarantine; time and memory | 20 min |
| `serving` | requests per second of `mlops serve` beside `mlflow models serve` and a bare route, with `wrk` | 3 min |
| `soak` | `mlops serve` through promotions, a lost Redis, a killed worker: what is refused, lost, leaked | 12 min |
| `compiled` | one row and a hundred, by algorithm: the plain scorer beside the form that is served | 1 min |
| `online` | filling and reading the online store beside stock Feast, on SQLite and Redis; peak memory | 10 min |
| `demo` | wall time of `make demo` after installation, peak memory of a task | 3 min a run |
| `odds` | the catalogue against PyOD's published ROC AUC on seventeen sets | 4 min |
| `gates` | how often the gates promote a challenger that is worse, equal, better, leaked or swapped | 5 min |
| `ab` | false positives under looking, power, coverage, mismatch, canaries, bandits, by simulation | 2 min |
| `features` | point-in-time joins: our store, Feast's, bare DuckDB and polars, by size; time and peak memory | 15 min |
| `feast_suite` | Feast's own tests of offline stores, run against ours, from a clone of Feast | 3 min |
| `drift` | false alarms and delays of drift alarms beside those of other tools; 1 M × 30; two real data sets | 40 min |
| `label_free` | how often the truth lies in what was estimated without labels, beside NannyML | 5 min |
| `profiles` | 100 M rows read once, by DuckDB, into drift profiles: seconds and peak memory | 5 min |
| `scaling` | a night by number of readings, step and engine (one machine, local Spark): time and peak memory | 15 min |
| `backtest` | sixty nights of real air under six retraining policies: quality, cost, nights a second | 10 min |
| `asd` | detectors and features on twelve real servers, by mean ROC AUC | 10 min |
"""

from __future__ import annotations

import importlib
import os
import platform
import sys

NAMES = (
    "parsing",
    "overhead",
    "checks",
    "signing",
    "lifecycle",
    "contracts",
    "online",
    "serving",
    "soak",
    "compiled",
    "demo",
    "odds",
    "gates",
    "ab",
    "features",
    "feast_suite",
    "drift",
    "label_free",
    "profiles",
    "scaling",
    "backtest",
    "asd",
)


def main(names: list[str]) -> int:
    """Run the named measures, by default all."""
    if unknown := [name for name in names if name not in NAMES]:
        print(f"no measure {unknown[0]!r}; known: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    for name in names or NAMES:
        print(f"\n== {name}")
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
