"""Logging for people: one logger tree `mlops.*`, one line per event, extra facts as `key=value` at its end.

One rule: libraries never configure logging; entry points call `configure` once.
"""

from __future__ import annotations

import logging
import sys
from typing import Any


def get(name: str) -> logging.Logger:
    """The logger of a module: `log.get(__name__)`."""
    return logging.getLogger(name)


def facts(**values: Any) -> str:
    """Facts for the end of a log line.

    >>> facts(model="fleet", rows=3)
    'model=fleet rows=3'
    """
    return " ".join(f"{key}={value}" for key, value in values.items())


def configure(level: str = "INFO") -> None:
    """Write `mlops.*` to standard error. Used by the command line, never under Airflow, which has its own handlers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s  %(message)s", "%H:%M:%S"))
    root = logging.getLogger("mlops")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
