"""What signing costs: to sign, to verify, to load, and to register a version through the whole path.

The whole path is what training does for a candidate that is already fitted: write the model folder, log it, hold it
against its digest, make the version, sign it, write it into the ledger. Embedded parts: MLflow and ledger on SQLite.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from mlops.config import MLOpsConfig
from mlops.mlflow_store import file_digests
from mlops.models import catalogue, serialization, signing
from mlops.models.keys import Keyring
from mlops.models.scoring import Scorer
from mlops.pipelines.signing import record_registration
from mlops.records import ModelVersion
from mlops.services import Services
from mlops.spec import CandidateSpec

MEGABYTES = (1, 3, 10, 30, 100)
ALGORITHMS = ("hbos", "pca", "knn", "isolation_forest")
REGISTRATIONS = 40
GOAL_PER_HOUR = 10_000
FEATURES = tuple(f"f{i}" for i in range(8))


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="bench-signing-") as root:
        _folders(Path(root, "folders"))
        _formats(Path(root, "formats"))
        _registrations(Path(root, "home"))


def _folders(root: Path) -> None:
    keyring = Keyring(root / "keys", root / "keys" / "signing.key")
    keyring.to_sign()
    table = Table("folder [MB]", "sign [ms]", "verify [ms]", "digests alone [ms]", "overhead [ms]", "verify [MB/s]")
    for size in MEGABYTES:
        folder = root / f"model@{size}"
        folder.mkdir(parents=True)
        for i in range(8):  # as an MLflow folder: one big file, some small ones
            data = os.urandom(size * 1_000_000 - 70_000) if i == 0 else os.urandom(10_000)
            (folder / f"file{i}").write_bytes(data)
        signature = signing.sign(folder, keyring.private)

        def verify(folder: Path = folder, signature: bytes = signature) -> None:
            vouched = signing.verified(signature, folder.name, keyring)
            assert vouched.files == file_digests(folder)

        sign_ms = _median_ms(lambda folder=folder: signing.sign(folder, keyring.private))
        verify_ms = _median_ms(verify)
        digest_ms = _median_ms(lambda folder=folder: file_digests(folder))
        table.add_row(
            str(size),
            f"{sign_ms:.1f}",
            f"{verify_ms:.1f}",
            f"{digest_ms:.1f}",
            f"{verify_ms - digest_ms:.1f}",
            f"{size / verify_ms * 1000:,.0f}",
        )
    Console().print(table)


def _formats(root: Path) -> None:
    import cloudpickle

    table = Table("algorithm", "skops [MB]", "write [ms]", "load [ms]", "pickle [MB]", "write [ms]", "load [ms]")
    for name in ALGORITHMS:
        scorer = _scorer(name)
        row: list[str] = []
        for file, dumps in (
            (serialization.SKOPS_FILE, serialization.dumps),
            (serialization.PICKLE_FILE, cloudpickle.dumps),
        ):
            folder = root / name / file
            folder.mkdir(parents=True)
            (folder / file).write_bytes(dumps(scorer))
            row += [
                f"{(folder / file).stat().st_size / 1e6:.2f}",
                f"{_median_ms(lambda dumps=dumps, scorer=scorer: dumps(scorer)):.1f}",
                f"{_median_ms(lambda folder=folder: serialization.load(folder, name='v')):.1f}",
            ]
        table.add_row(name, *row)
    Console().print(table)


def _registrations(home: Path) -> None:
    services = Services.open(MLOpsConfig.build({"home": home, "var": str(home / "var"), "code_version": "bench"}))
    heads = ("log", "register, sign", "ledger", "all", "of it CPU", "load")
    table = Table("[ms]", *heads, "versions/h")
    for name in ALGORITHMS:
        scorer = _scorer(name)
        _register(services, scorer, name, -1)  # imports, tables, keys
        parts = [_register(services, scorer, name, i) for i in range(REGISTRATIONS)]
        log_ms, register_ms, ledger_ms, cpu_ms = (statistics.median(part[i] for part, _ in parts) for i in range(4))
        whole = statistics.median(sum(part[:3]) for part, _ in parts)
        version = parts[-1][1]
        load_ms = _median_ms(lambda version=version: services.registry.load(version))
        goal = "" if 3_600_000 / whole >= GOAL_PER_HOUR else f" (goal {GOAL_PER_HOUR:,})"
        numbers = (log_ms, register_ms, ledger_ms, whole, cpu_ms)
        table.add_row(name, *(f"{ms:.0f}" for ms in numbers), f"{load_ms:.0f}", f"{3_600_000 / whole:,.0f}{goal}")
    Console().print(table)


def _register(services: Services, scorer: Scorer, model: str, index: int) -> tuple[tuple[float, ...], ModelVersion]:
    """Milliseconds of each part of one registration, and of the processor; opening the run is not part of it."""
    rows = _rows().head(5)
    with services.tracker.run(f"{model}/training/{index}", experiment=model) as run:
        started, cpu = time.perf_counter(), time.process_time()
        uri, digest = run.log_scorer(scorer, rows)
        logged, cpu_logged = time.perf_counter(), time.process_time()
        record = run.record(candidate=model, algorithm=model, model_uri=uri, digest=digest)
        kept, cpu_kept = time.perf_counter(), time.process_time()
        version = services.registry.register(model, run=record, inputs_hash=str(index))
        registered = time.perf_counter()
        record_registration(services, version, "bench")
        ended, cpu_ended = time.perf_counter(), time.process_time()
    parts = (logged - started, registered - kept, ended - registered, cpu_ended - cpu_kept + cpu_logged - cpu)
    return tuple(seconds * 1000 for seconds in parts), version


def _scorer(algorithm: str) -> Scorer:
    built = catalogue.build(
        CandidateSpec(algorithm=algorithm), task="anomaly", features=FEATURES, entity="device_id", seed=0
    )
    return built.fit(_rows()).with_threshold(1.0)


def _rows() -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(5_000, len(FEATURES)))
    return pd.DataFrame(values, columns=list(FEATURES)).assign(device_id="a")


def _median_ms(call: Callable[[], Any], *, runs: int = 7) -> float:
    call()
    spent = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent) * 1000
