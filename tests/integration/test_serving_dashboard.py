"""The dashboard of what serves: no panel of it is empty while a Prometheus scrapes a service that is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.monitoring.serving_dashboard import SERVING
from mlops.services import Services
from mlops.serving.log_spool import Spool
from mlops.serving.sketch import Sketch
from tests.programs import waited_for
from tests.prometheus import panels, prometheus
from tests.serving_models import FEATURES, fitted, house, listening, live, post, rows


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_panel_is_empty(services: Services, tmp_path: Path) -> None:
    """A model that has answered and refused, with everything on: every query of every panel has an answer."""
    spool = Spool(tmp_path / "spool", "w")
    scorer = fitted("hbos")
    known = rows(2_000).dropna()
    reference = np.ascontiguousarray(known[list(FEATURES)].to_numpy())
    made = house(services, {"pumps": live(scorer, spool=spool)}, spool=spool)
    served = made.service.models["pumps"]
    assert served.live is not None
    sketch = Sketch.of(FEATURES, reference, np.asarray(scorer.score(known)))
    served.live = type(served.live)(served.live.predictor, served.live.signature, served.live.mask, 1, sketch)
    made.service.metrics.version.labels("pumps", "champion").set(1)
    made.service.metrics.takeovers.labels("pumps", "took over").inc()

    def ask() -> None:
        """Some hundred rows, and one wrong question."""
        batch = {"columns": list(FEATURES), "data": (reference[:300] + 1).tolist()}
        assert post(made, "/predict/batch", batch).status_code == 200
        assert post(made, "/predict/batch", batch).status_code == 200
        assert post(made, "/predict", {}).status_code == 422
        made.worker._count()

    left: list[str] = []
    with listening(made) as url, prometheus(tmp_path, [url.removeprefix("http://")]) as server:

        def full() -> bool:
            """Whether no panel is empty; what is, is kept. Each look asks anew, so that there are rates."""
            ask()
            queries = panels((SERVING,))
            assert len(queries) > 8
            left[:] = [where for where, _, expr in queries if not told(server.ask(expr))]
            return not left

        try:
            waited_for(full, "every panel has something", 60)
        except AssertionError:
            pytest.fail(f"nothing in the panels {left}")


def told(answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines that have a number: a share of nothing has none."""
    return [line for line in answer if line["value"][1] != "NaN"]
