"""Requests answered per second: `mlops serve` with everything on, beside `mlflow models serve`, MLServer and BentoML.

Every contender is one worker on this machine, asked by `wrk` (Debian: apt-get install wrk) from the same cores, for
BENCH_SECONDS (default 4) with 8 connections, the same rows of the same model. Everything on: signature verified at
load, validation, prediction log, metrics, following the champion. The bare route answers a constant: the limit of
uvicorn and Starlette. *CPU* is what all processes of a contender spent per request, which other work beside it moves
less than the rate. MLServer and BentoML: benchmarks/serving_others.py. BENCH_MODELS="isolation_forest" asks that model
alone. Then what the log and the metrics cost per prediction, within a process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from benchmarks.serving_contenders import (
    ALGORITHMS,
    FEATURES,
    ROOT,
    bare,
    contenders,
    cpu_seconds,
    installation,
    memory,
    started,
)
from benchmarks.serving_others import others
from benchmarks.serving_others import route as route_of

SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
CONNECTIONS = 8
OWN = ("mlops serve", "bare route")  # asked in our form
MODELS = os.environ.get("BENCH_MODELS", " ".join(ALGORITHMS)).split()  # the isolation forest is always one of them
LUA = """
local bodies = {{ {bodies} }}
local i = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  i = i % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[i])
end
{delay}
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What `wrk` saw."""

    rate: float  # [requests/s]
    p50: float  # [ms]
    p99: float  # [ms]
    requests: int


def main() -> None:
    """Print the tables."""
    if shutil.which("wrk") is None:
        print("wrk is not installed (apt-get install wrk); left out")
        return
    names = ("requests/s", "p50 [ms]", "p99 [ms]", "CPU [µs]", "memory [MB]", "load")
    table = Table("model", "rows", "contender", *names)
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        home = Path(folder)
        environ, places = installation(home)
        rates: dict[tuple[str, int, str], float] = {}
        for name in MODELS:
            beside = {"bare route": (bare(home), "/predict")} | contenders(name, places) | others(places[name], home)
            for contender, (command, path) in beside.items():
                try:
                    with started(command, environ, path, home) as (url, process):
                        for count in (1, 100):
                            ours = "/predict/batch" if count > 1 and contender != "bare route" else "/predict"
                            route = ours if contender in OWN else route_of(contender)
                            bodies = _bodies(count, "ours" if contender in OWN else "mlflow")
                            _measure(table, rates, (name, count, contender), url + route, bodies, process, home)
                        if (name, contender) == ("isolation_forest", "mlops serve"):
                            half = _half(rates[name, 1, contender], f"{url}/predict", home)
                except RuntimeError as error:
                    if contender in (*OWN, "mlflow models serve"):
                        raise
                    print(f"{contender} is left out for {name}: {error}")
        Console(width=110).print(table)
        for name in MODELS:
            ours, theirs, limit = (
                rates[name, 1, each] for each in ("mlops serve", "mlflow models serve", "bare route")
            )
            print(f"{name}, 1 row: {ours / theirs:.0f} times mlflow models serve, {ours / limit:.0%} of the bare route")
        print(f"at {half.rate:,.0f} requests/s, about half of the peak: p50 {half.p50:.2f} ms, p99 {half.p99:.2f} ms")
        print("log and metrics per prediction: " + ", ".join(f"{k} {v:.1f} µs" for k, v in _overhead(home).items()))


def _measure(
    table: Table,
    rates: dict[tuple[str, int, str], float],
    what: tuple[str, int, str],
    url: str,
    bodies: list[str],
    process: psutil.Process,
    home: Path,
) -> None:
    load = os.getloadavg()[0]
    _wrk(url, bodies, home, seconds=1)
    family = [process, *process.children(recursive=True)]
    before = sum(map(cpu_seconds, family))
    found = _wrk(url, bodies, home)
    spent = sum(map(cpu_seconds, family)) - before
    rates[what] = found.rate
    largest = max(map(memory, family))
    name, count, contender = what
    table.add_row(
        name,
        str(count),
        contender,
        f"{found.rate:,.0f}",
        f"{found.p50:.2f}",
        f"{found.p99:.2f}",
        f"{1e6 * spent / found.requests:,.0f}",
        f"{largest:.0f}",
        f"{load:.1f}",
    )


def _half(peak: float, url: str, home: Path) -> Load:
    """At about half of the peak rate: each connection waits before it asks again."""
    connections = 32
    wait = f"delay = function() return {max(1, round(1000 * connections / (peak / 2)))} end"
    return _wrk(url, _bodies(1, "mlops"), home, connections=connections, delay=wait)


def _wrk(
    url: str,
    bodies: list[str],
    home: Path,
    *,
    seconds: float = SECONDS,
    connections: int = CONNECTIONS,
    delay: str = "",
) -> Load:
    script = home / "ask.lua"
    script.write_text(LUA.format(bodies=",\n".join(f"[==[{body}]==]" for body in bodies), delay=delay))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(script), url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(f"{url} did not answer every request:\n{told}")
    shares = dict(re.findall(r"^\s+(50|99)%\s+(\S+)", told, re.MULTILINE))
    (rate,) = re.findall(r"Requests/sec:\s+(\S+)", told)
    (requests,) = re.findall(r"(\d+) requests in", told)
    return Load(float(rate), _milliseconds(shares["50"]), _milliseconds(shares["99"]), int(requests))


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def _bodies(count: int, form: str) -> list[str]:
    rng = np.random.default_rng(count)
    bodies: list[Any] = []
    for _ in range(32):
        data = rng.normal(size=(count, len(FEATURES))).round(6).tolist()
        if form == "mlflow":
            bodies.append({"dataframe_split": {"columns": FEATURES, "data": data}})
        elif count == 1:
            bodies.append({"features": dict(zip(FEATURES, data[0], strict=True))})
        else:
            bodies.append({"columns": FEATURES, "data": data})
    return [json.dumps(body) for body in bodies]


def _overhead(home: Path) -> dict[str, float]:
    """What a prediction takes within the process [µs]: with log and metrics, and of that these two."""
    from mlops.config import MLOpsConfig
    from mlops.pipelines import serving as pipeline
    from mlops.services import Services
    from mlops.serving import service as serving
    from mlops.serving.log_spool import Spool
    from mlops.serving.metrics import ServingMetrics

    name = "isolation_forest"
    values = {"home": ROOT, "var": str(home / "var"), "models_dir": home / "models"}
    services = Services.open(MLOpsConfig.build(values))
    spec = services.spec(name)
    spool = Spool(home / "overhead", "w")
    model = pipeline.served(services, spec, lookups=False)
    model.live = pipeline.Loader(services, spec, spool, lambda: 1)(1)
    made = serving.Service([model], metrics=ServingMetrics(), worker="w", spool=spool)
    bodies = [body.encode() for body in _bodies(1, "mlops")]
    monitor = made.monitors[name]
    account = monitor.log_prediction
    spent: list[float] = []

    def timed(*what: Any, **how: Any) -> None:
        began = time.perf_counter()
        account(*what, **how)
        spent.append(time.perf_counter() - began)

    monitor.log_prediction = timed  # type: ignore[method-assign]

    async def ask() -> list[float]:
        whole = []
        for i in range(5_000):
            began = time.perf_counter()
            await made.predict(bodies[i % len(bodies)], f"r{i}", began)
            whole.append(time.perf_counter() - began)
        return whole

    whole = asyncio.run(ask())
    return {
        "prediction in all, median": 1e6 * statistics.median(whole),
        "log and metrics of that, median": 1e6 * statistics.median(spent),
        "mean": 1e6 * statistics.fmean(spent),
    }
