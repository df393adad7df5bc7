"""Entry point of `mlops` and of `python -m mlops.cli`."""

from __future__ import annotations

from mlops.cli import (  # each adds its commands
    ab,
    backtest,
    data,
    deployment,
    drift,
    features,
    incidents,
    keys,
    label,
    ledger,
    maintenance,
    metrics,
    performance,
    platform,
    promotion,
    quarantine,
    reproduce,
    retention,
    serve,
    specs,
    steps,
)
from mlops.cli.app import app, main

__all__ = [
    "ab",
    "app",
    "backtest",
    "data",
    "deployment",
    "drift",
    "features",
    "incidents",
    "keys",
    "label",
    "ledger",
    "main",
    "maintenance",
    "metrics",
    "performance",
    "platform",
    "promotion",
    "quarantine",
    "reproduce",
    "retention",
    "serve",
    "specs",
    "steps",
]

if __name__ == "__main__":
    main()
