"""Half a minute of the soak that `python -m benchmarks soak` lives through in ten: nothing refused, mixed or lost."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import soak
from benchmarks.soak_judged import report
from tests.conftest import absent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_soak_holds() -> None:
    """Two promotions, a lost Redis, a killed worker, a rollback under load: every promise of the soak holds.

    Memory is still growing in the first minute, and a busy machine is slow to see a promotion: these two limits are
    wide here, and their own in the ten minutes.
    """
    if shutil.which("redis-server") is None:
        absent("redis-server is not installed: apt-get install redis-server")
    found = soak.run(36, rate=60, peak_seconds=2, growth_mb=150, live_seconds=10)
    assert found.faults == [], report(found)
    happened = {"version 2 promoted", "Redis away", "Redis back", "version 3 promoted", "worker killed", "rolled back"}
    assert happened <= set(found.moments)
    assert len(found.heard.answered) > 500
    assert any(status == 503 and kind == "entity" for _, status, kind, _ in found.heard.refused)
    assert not all(ready for _, _, ready in found.health)
