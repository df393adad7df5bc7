"""Who answers in `python -m benchmarks serving`: the installation, `mlops serve`, `mlflow models serve`, a bare route.

One rule: every contender is one worker, started from nothing, and ended before the next one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
import yaml

ROOT = Path(__file__).parents[1]
FEATURES = [f"f{i}" for i in range(10)]
ALGORITHMS = {"isolation_forest": "anomaly", "logistic_regression": "classification", "ecod": "anomaly"}
FIT_ROWS = 20_000
BARE = """
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def constant(request):
    await request.body()
    return Response(b'{"score":0.5,"flag":false}', media_type="application/json")
app = Starlette(routes=[Route("/predict", constant, methods=["POST"])])
"""


def contenders(name: str, places: dict[str, str]) -> dict[str, tuple[list[str], str]]:
    python = [sys.executable, "-W", "ignore", "-m"]
    return {
        "mlops serve": ([*python, "mlops.cli", "serve", name, "--no-lookups", "--port", "{port}"], "/health"),
        "mlflow models serve": (
            [
                *python,
                "mlflow",
                "models",
                "serve",
                "-m",
                places[name],
                "--env-manager",
                "local",
                "-p",
                "{port}",
                "-w",
                "1",
            ],
            "/ping",
        ),
    }


def bare(home: Path) -> list[str]:
    (home / "bare.py").write_text(BARE)
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--port", "{port}", "--app-dir", str(home)]
    return [sys.executable, "-m", "uvicorn", "bare:app", *options]


@contextmanager
def started(command: list[str], environ: dict[str, str], path: str, home: Path) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (home / "contender.log").open("wb") as log:
        words = [word.format(port=port) for word in command]
        child = subprocess.Popen(words, env=environ, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not _answers(url + path):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{words} does not answer:\n{(home / 'contender.log').read_text()}")
            time.sleep(0.2)
        yield url, psutil.Process(child.pid)
    finally:
        family = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
        for each in psutil.wait_procs(family, timeout=5)[1]:
            each.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 405
    except OSError:
        return False


def memory(process: psutil.Process) -> float:
    """Memory of a process, shared parts by share [MB]."""
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def cpu_seconds(process: psutil.Process) -> float:
    """What a process has spent so far [s]; 0 if it is gone."""
    try:
        spent = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(spent.user + spent.system)


def installation(home: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Three registered champions in an installation of their own; its environment, and where their files lie."""
    from mlops.config import MLOpsConfig
    from mlops.models import catalogue
    from mlops.services import Services
    from mlops.serving import compiled_proof
    from mlops.spec import CandidateSpec

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(FIT_ROWS, len(FEATURES))), columns=FEATURES)
    y = (frame.sum(axis=1) > 0).to_numpy().astype(int)
    fleet = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
    (home / "models").mkdir()
    for name in ALGORITHMS:
        (home / "models" / f"{name}.yaml").write_text(yaml.safe_dump(fleet | {"name": name}), encoding="utf-8")
    environ = os.environ | {
        "MLOPS_HOME": str(ROOT), "MLOPS_VAR": str(home / "var"), "MLOPS_MODELS_DIR": str(home / "models"),
        "MLOPS_CODE_VERSION": "bench", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # where mlflow looks for uvicorn
    }  # fmt: skip
    services = Services.open(MLOpsConfig.load(environ))
    places = {}
    for name, task in ALGORITHMS.items():
        candidate = CandidateSpec(algorithm=name, params={"n_estimators": 100} if "forest" in name else {})
        built = catalogue.build(candidate, task=task, features=FEATURES, entity="device_id", seed=0)  # type: ignore[arg-type]
        scorer = built.fit(frame, y if task == "classification" else None)
        if task == "anomaly":
            scorer = scorer.with_threshold(float(np.quantile(scorer.score(frame.head(2000)), 0.99)))
        with services.tracker.run(f"{name}/training/2026-03-01", experiment=name) as run:
            beside = {compiled_proof.FILE: compiled_proof.prove(scorer, frame.tail(1_000)).to_json}
            uri, digest = run.log_scorer(scorer, frame.head(3), beside=beside)
            record = run.record(candidate=name, algorithm=name, model_uri=uri, digest=digest)
        services.registry.register(name, run=record, inputs_hash=name)
        services.registry.set_alias(name, "champion", 1)
        places[name] = services.registry.artifacts.location(uri)
    return environ, places
