"""The most memory that a measuring process held."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_mb() -> float:
    """Peak of this program [MB]; `ru_maxrss` would also count its parent's, from before the program began."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
