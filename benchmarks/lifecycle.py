"""What the lifecycle costs: registering, tracking, promoting, rolling back, and the ledger at a million entries.

All on the embedded parts (SQLite, files). The ledger is measured on PostgreSQL as well where `MLOPS_BENCH_POSTGRES` is
the URL of an empty database. `MLOPS_BENCH_ENTRIES` sets how long the chain is (default 1,000,000: it takes minutes).
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from mlops.config import MLOpsConfig
from mlops.governance.ledger import _ENTRIES, _HEAD, Ledger, canonical
from mlops.governance.ledger_keys import LedgerKeys
from mlops.mlflow_store import file_digests
from mlops.models import catalogue, signing
from mlops.models.keys import Keyring
from mlops.pipelines import promotion, rollback
from mlops.pipelines.signing import record_registration
from mlops.services import Services
from mlops.spec import CandidateSpec
from tests.contenders import FIRST_NIGHT, Contenders, logged_runs, spec_of

ROOT = Path(__file__).parents[1]
ENTRIES = int(os.environ.get("MLOPS_BENCH_ENTRIES", "1000000"))
REGISTRATIONS, METRICS, MOVES, APPENDS, VERIFY_MB = 40, 50_000, 15, 300, 100
FEATURES = tuple(f"f{i}" for i in range(8))
NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
Row = tuple[str, str, str, str]  # what, median, min–max, goal


def main() -> None:
    """Print the table."""
    print(f"load of this machine now: {os.getloadavg()[0]:.1f}")
    table = Table("measure", "median", "min–max", "asked for")
    with tempfile.TemporaryDirectory(prefix="bench-lifecycle-") as folder:
        config = MLOpsConfig.build({"home": ROOT, "var": f"{folder}/var", "code_version": "bench", "actor": "bench"})
        services = Services.open(config)
        rows = [*_registration(services), _tracking(services), *_moves(services), _verification(Path(folder))]
        rows += _ledger("SQLite", f"sqlite:///{folder}/ledger.db", Path(folder))
        if url := os.environ.get("MLOPS_BENCH_POSTGRES"):
            rows += _ledger("PostgreSQL", url, Path(folder))
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _registration(services: Services) -> list[Row]:
    """Versions an hour: run opened, model serialised and logged, version made, signed, written into the ledger."""
    values = np.random.default_rng(0).normal(size=(5_000, len(FEATURES)))
    rows = pd.DataFrame(values, columns=list(FEATURES)).assign(device_id="a")
    found = []
    for name in ("hbos", "isolation_forest"):
        built = catalogue.build(
            CandidateSpec(algorithm=name), task="anomaly", features=FEATURES, entity="device_id", seed=0
        )
        scorer = built.fit(rows).with_threshold(1.0)

        def register(index: int, name: str = name, scorer: object = scorer) -> None:
            with services.tracker.run(f"{name}/training/{index}", experiment=name, environment=False) as run:
                uri, digest = run.log_scorer(scorer, rows.head(5))  # type: ignore[arg-type]
                record = run.record(candidate=name, algorithm=name, model_uri=uri, digest=digest)
                version = services.registry.register(name, run=record, inputs_hash=str(index))
            record_registration(services, version, "bench")

        spent = _times(register, REGISTRATIONS)
        found.append(_per(f"registration, {name}", [3600 / s for s in spent], "versions/h", "10,000"))
    return found


def _tracking(services: Services) -> Row:
    rates = []
    for attempt in range(5):
        with services.tracker.run(f"tracking/training/{attempt}", experiment="tracking") as run:
            started = time.perf_counter()
            for step in range(METRICS // 5):
                run.log_metric("loss", 1 / (step + 1), step=step)
            run.flush()
            rates.append(METRICS / 5 / (time.perf_counter() - started))
    return _per("tracking, log_metric … flush", rates, "metrics/s", "10,000")


def _moves(services: Services) -> list[Row]:
    ahead = Services(services.config, lambda: datetime.now(UTC))
    spec = spec_of(ahead, "bench_moves")
    contenders = Contenders(ahead, spec, logged_runs(ahead.tracker, 2))
    forward, back = [], []
    for number in range(MOVES):
        version = contenders.contender()
        started = time.perf_counter()
        answer = promotion.run(ahead, spec, contenders.day(version.version))
        forward.append(1000 * (time.perf_counter() - started))
        assert answer.outcome == "done", answer.reason
        if number:
            started = time.perf_counter()
            answer = rollback.run(ahead, spec, FIRST_NIGHT + timedelta(days=number))
            back.append(1000 * (time.perf_counter() - started))
            assert answer.outcome == "done", answer.reason
    return [_per("promotion", forward[1:], "ms", ""), _per("rollback", back[1:], "ms", "< 2,000")]


def _verification(folder: Path) -> Row:
    """MB/s of holding a model's files against its signature, as every load does."""
    keyring = Keyring(folder / "keys", folder / "keys" / "signing.key")
    keyring.to_sign()
    model = folder / "model@1"
    model.mkdir()
    (model / "model.skops").write_bytes(os.urandom(VERIFY_MB * 1_000_000))
    signature = signing.sign(model, keyring.private)

    def verify(_: int) -> None:
        vouched = signing.verified(signature, model.name, keyring)
        assert vouched.files == file_digests(model)

    spent = _times(verify, 7)
    return _per("verification at load", [VERIFY_MB / s for s in spent], "MB/s", "")


def _ledger(name: str, url: str, folder: Path) -> list[Row]:
    ledger = Ledger(url, LedgerKeys(folder / f"{name}.key"))
    _fill(ledger, ENTRIES)
    body = {"version": 7, "previous_version": 6, "reason": "x" * 80, "evidence_hash": "a" * 64}

    def append(_: int) -> None:
        ledger.append("promotion", "fleet", body, actor="bench", at=NOW)

    alone = [1 / s for s in _times(append, APPENDS // 5)]
    with ledger.session():
        kept = [1 / s for s in _times(append, APPENDS)]
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        found = ledger.check()
        rates.append(found.entries / (time.perf_counter() - started))
        assert found.verdict == "whole", found.problems
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    length = f"{name}, {ENTRIES:,} entries"
    return [
        _per(f"append, {length}", alone, "entries/s", ""),
        _per(f"append in a session, {length}", kept, "entries/s", ""),
        _per(f"verify, {length}; peak memory {peak} MB", rates, "entries/s", ""),
    ]


def _fill(ledger: Ledger, count: int) -> None:
    """A sealed chain of so many entries, written at once: one transaction an entry would take hours."""
    previous, rows = "", []
    with ledger._database.writing() as connection:
        for seq in range(1, count + 1):
            body = canonical({"version": seq, "reason": "x" * 60, "evidence_hash": "a" * 64})
            row = {"seq": seq, "model": "fleet", "kind": "promotion", "key": f"fleet/{seq}", "actor": "bench"}
            row |= {"at": NOW.isoformat(timespec="microseconds"), "body": body, "previous": previous}
            last = ledger._sealed(row)
            previous = row["hash"]
            rows.append(row)
            if len(rows) == 10_000 or seq == count:
                connection.execute(sa.insert(_ENTRIES), rows)
                rows = []
        connection.execute(sa.update(_HEAD), last)


def _times(call: Callable[[int], object], count: int) -> list[float]:
    """Seconds of each of `count` calls, after one that is not counted."""
    call(-1)
    spent = []
    for index in range(count):
        started = time.perf_counter()
        call(index)
        spent.append(time.perf_counter() - started)
    return spent


def _per(what: str, values: list[float], unit: str, goal: str) -> Row:
    spread = f"{min(values):,.0f}–{max(values):,.0f}"
    return what, f"{statistics.median(values):,.0f} {unit}", spread, goal
