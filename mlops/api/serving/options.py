"""What `mlops serve` was asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve."""

    models: tuple[str, ...] = ()  # names; none: all that have a spec
    lookups: bool = True  # whether features are looked up by entity
    log: bool = True  # whether predictions are kept
    poll_seconds: float = 0.5  # how often the registry is asked who is champion [s]
    max_body_bytes: int = 8 * 1024 * 1024
    max_rows: int = 10_000  # in one request
    timeout_seconds: float = 5.0  # longest wait in the queue [s]
    metrics_folder: str = ""  # of the numbers of all processes; "": there is one process
