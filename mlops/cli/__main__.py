"""Entry point of `mlops` and of `python -m mlops.cli`."""

from __future__ import annotations

from mlops.cli import keys, ledger, maintenance, platform, promotion, retention, specs, steps  # each adds its commands
from mlops.cli.app import app, main

__all__ = ["app", "keys", "ledger", "main", "maintenance", "platform", "promotion", "retention", "specs", "steps"]

if __name__ == "__main__":
    main()
