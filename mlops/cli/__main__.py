"""Entry point of `mlops` and of `python -m mlops.cli`."""

from __future__ import annotations

from mlops.cli import (  # each adds its commands
    data,
    features,
    keys,
    label,
    ledger,
    maintenance,
    platform,
    promotion,
    quarantine,
    reproduce,
    retention,
    specs,
    steps,
)
from mlops.cli.app import app, main

__all__ = [
    "app",
    "data",
    "features",
    "keys",
    "label",
    "ledger",
    "main",
    "maintenance",
    "platform",
    "promotion",
    "quarantine",
    "reproduce",
    "retention",
    "specs",
    "steps",
]

if __name__ == "__main__":
    main()
