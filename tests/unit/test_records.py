"""Records survive the way through Airflow's XCom."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

from mlops.records import (
    ColumnDrift,
    DriftReport,
    GateDecision,
    GateResult,
    PromotionRecord,
    StepReport,
    from_dict,
    to_dict,
)

GATES = (GateResult("auc", "pass", "fine", 0.9, 0.8), GateResult("rows", "cannot_tell", "3 rows"))


def test_a_record_survives_json() -> None:
    """What goes through JSON comes back equal, dates, tuples and nested records included."""
    decision = GateDecision("m", 2, None, "cannot_tell", GATES, date(2026, 3, 1), "d1")
    promotion = PromotionRecord("m", 2, 1, True, "better", "policy", datetime(2026, 3, 1, tzinfo=UTC))
    for record in (decision, promotion):
        assert from_dict(type(record), json.loads(json.dumps(to_dict(record)))) == record
    assert decision.reasons == ("rows: 3 rows",)


def test_cannot_tell_is_never_success() -> None:
    """Only done and nothing to do leave the shell with 0; a no and a cannot tell with 3."""
    codes = {
        outcome: StepReport("s", "m", date(2026, 3, 1), outcome, "").exit_code
        for outcome in ("done", "nothing_to_do", "no", "cannot_tell")
    }
    assert codes == {"done": 0, "nothing_to_do": 0, "no": 3, "cannot_tell": 3}


def test_the_strongest_drift_comes_first() -> None:
    """Columns in drift are named by how far they are beyond their own threshold."""
    columns = (
        ColumnDrift("a", "drift", "wasserstein", 0.3, 0.2),
        ColumnDrift("b", "no_drift", "wasserstein", 0.1, 0.2),
        ColumnDrift("c", "drift", "wasserstein", 0.9, 0.2),
    )
    assert DriftReport("m", 1, date(2026, 3, 1), "drift", "", columns).drifted == ("c", "a")
