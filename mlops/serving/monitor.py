"""Accounting for every prediction of a model: the log, the numbers, and what has shifted of late.

One rule: what is asked on every prediction stays within microseconds; what is read is computed when it is read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from mlops.serving import replies
from mlops.serving.answers import Answers
from mlops.serving.log_frames import Rows
from mlops.serving.log_spool import Spool
from mlops.serving.metrics import ServingMetrics
from mlops.serving.requests import Asked
from mlops.serving.served import Choice, Live, Served
from mlops.serving.sketch import LiveDrift
from mlops.serving.work import Done

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE = timedelta(microseconds=1)


class ModelMonitor:
    """Accounts for the predictions of one model.

    Args:
        served: the model.
        metrics: of the process.
        spool: keeps what was answered; None: nothing is kept.
    """

    def __init__(self, served: Served, metrics: ServingMetrics, spool: Spool | None = None) -> None:
        self._served = served
        self._metrics = metrics
        self._spool = spool

    def log_prediction(self, live: Live, asked: Asked, done: Done, *, choice: Choice, began: float) -> None:
        """Keep and count the rows of one request; afterwards the caller may have the answer.

        Args:
            live: the version that answered.
            asked: the request.
            done: the answer, and what it was made of.
            choice: why this version answered.
            began: when the request was whole, by `time.perf_counter`.
        """
        seconds = time.perf_counter() - began
        answers = done.answers
        sure = replies.confidence(answers)
        scores = self._keep(live, asked, done, choice=choice, seconds=seconds, sure=sure)
        self._metrics.request(self._served.name, 200)
        self._metrics.answered(self._served.name, live.version, answers, sure, seconds)
        if live.sketch is not None and not choice.experiment:
            live.sketch.add(done.rows, scores)

    def log_failure(self, live: Live, asked: Asked, *, choice: Choice, began: float) -> None:
        """Keep the rows of a request that a variant of an experiment could not answer, without a score.

        An experiment that did not count them would not see that a variant fails.
        """
        size = asked.size
        rows = np.full((size, len(live.signature.features)), np.nan) if asked.rows is None else asked.rows
        nothing = Answers([math.nan] * size, live.predictor.scorer.threshold)
        seconds = time.perf_counter() - began
        self._keep(live, asked, Done(rows, nothing), choice=choice, seconds=seconds, sure=None)

    def _keep(
        self,
        live: Live,
        asked: Asked,
        done: Done,
        *,
        choice: Choice,
        seconds: float,
        sure: list[float | None] | None,
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The rows in the log, if there is one; their scores."""
        answers = done.answers
        scores = np.array(answers.score)
        if self._spool is not None:
            fetched, mask = done.fetched, live.mask
            frame = Rows(
                live.number,
                asked.request_id or "",
                choice.variant,
                time.time_ns() // 1000,
                1e6 * seconds,
                mask.values(done.rows),
                scores.tobytes(),
                mask.entities(asked.entities),
                _microseconds(asked.event_at),
                fetched.feature_us if fetched is not None else None,
                fetched.known_us if fetched is not None else None,
                [None if each is None else str(each) for each in answers.label] if answers.label is not None else None,
                sure,
                mask.hashes(done.rows),
                choice.experiment or None,
            )
            self._spool.append(live.number, frame, asked.size)
        return scores

    def get_metrics(self) -> dict[str, Any]:
        """Requests by status, predictions by class, latency, confidence: of all processes."""
        found: dict[str, Any] = self._metrics.summary()["models"].get(self._served.name, {})
        return found

    def detect_drift(self) -> tuple[LiveDrift, ...]:
        """How far what came in of late is from what was learned from, in this process; () without a reference."""
        live = self._served.live
        return live.sketch.drift() if live is not None and live.sketch is not None else ()


def _microseconds(moments: Sequence[datetime | None]) -> list[int | None] | None:
    """As the log keeps them; None if there is none. A time without a zone is UTC."""
    if not any(moments):
        return None
    zoned = (each if each is None or each.tzinfo else each.replace(tzinfo=UTC) for each in moments)
    return [None if each is None else (each - _EPOCH) // _ONE for each in zoned]
