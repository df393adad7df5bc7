"""What a batch of requests becomes: features of all looked up at once, rows of a version scored at once.

One rule: a request that is refused refuses itself alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlops.errors import FeatureError
from mlops.serving.answers import Answers
from mlops.serving.compiled_form import Floats
from mlops.serving.errors import RequestError, not_ready
from mlops.serving.requests import Asked
from mlops.serving.served import Fetched, Live, Served, moment

Stale = Literal["refuse", "mark", "allow"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a process takes on."""

    max_rows: int = 10_000  # in one request
    inline_rows: int = 256  # more are answered in the thread, even if compiled
    inline_seconds: float = 0.005  # what takes longer, too, by what one row took when the version was loaded [s]
    max_waiting_rows: int = 20_000
    max_batch_rows: int = 2_048
    timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A request in the queue."""

    live: Live
    asked: Asked


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a job."""

    rows: Floats
    answers: Answers
    fetched: Fetched | None = None
    contributions: Floats | None = None


_Ready = tuple[Floats, Fetched | None]  # rows that can be scored, and where they come from


def scored(live: Live, asked: Asked, rows: Floats, fetched: Fetched | None = None) -> Done:
    """The answers for rows.

    Raises:
        RequestError: 404 an entity without a model, 422 the estimator refuses the rows.
    """
    predictor = live.predictor
    if predictor.scorer.per_entity:
        for entity in asked.entities:
            if not predictor.knows(entity):
                raise RequestError(404, f"The model has none for {live.signature.entity} {entity!r}.")
    try:
        answers = predictor.answers(rows, asked.entities)
        contributions = predictor.contributions(rows, asked.entities) if asked.contributions else None
    except (ValueError, TypeError, ArithmeticError) as error:  # what an estimator says of rows that it refuses
        raise RequestError(422, f"The model refuses these rows: {error}") from error
    return Done(rows, answers, fetched, contributions)


@dataclass(frozen=True)
class Work:
    """Answers the requests of a batch, in a thread.

    Args:
        served: the model.
        stale: what becomes of features past their time to live.
    """

    served: Served
    stale: Stale

    def __call__(self, jobs: Sequence[Job]) -> list[Done | Exception]:
        """What becomes of each."""
        found: dict[int, Done | Exception] = {}
        ready: dict[int, _Ready] = {
            i: (job.asked.rows, None) for i, job in enumerate(jobs) if job.asked.rows is not None
        }
        for live in {id(job.live): job.live for job in jobs}.values():
            mine = [i for i, job in enumerate(jobs) if job.live is live]
            self._look_up(live, jobs, [i for i in mine if i not in ready], ready, found)
            self._score(live, jobs, [i for i in mine if i in ready], ready, found)
        return [found.get(i, not_ready("There was no answer.")) for i in range(len(jobs))]

    def _look_up(
        self,
        live: Live,
        jobs: Sequence[Job],
        which: list[int],
        ready: dict[int, _Ready],
        found: dict[int, Done | Exception],
    ) -> None:
        keys = [key for i in which for key in jobs[i].asked.keys or ()]
        if not keys or self.served.fetch is None:
            return
        try:
            fetched = self.served.fetch(live.signature.features, keys)
        except FeatureError as error:
            refusal = not_ready(f"Features cannot be looked up: {error.message}", hint=error.hint)
            found.update(dict.fromkeys(which, refusal))
            return
        start = 0
        for i in which:
            stop = start + jobs[i].asked.size
            mine = fetched.part(start, stop)
            start = stop
            if (refusal_of_one := self._refused(jobs[i].asked, mine)) is not None:
                found[i] = refusal_of_one
            else:
                ready[i] = mine.rows, mine

    def _refused(self, asked: Asked, fetched: Fetched) -> RequestError | None:
        """Why features that were looked up are not scored."""
        entity = self.served.entity
        for i, key in enumerate(asked.keys or ()):
            if not fetched.found[i]:
                hint = "Is the key right, and the online store filled?"
                return RequestError(404, f"No features are known of {entity} {key!r}.", hint=hint)
            if fetched.stale[i] and self.stale == "refuse":
                newest = moment(fetched.feature_us[i])
                return RequestError(
                    409,
                    f"The features of {entity} {key!r} are past their time to live; the newest are of {newest}.",
                    hint="Run the features step, or send the features. The setting stale_features decides.",
                )
        return None

    def _score(
        self,
        live: Live,
        jobs: Sequence[Job],
        which: list[int],
        ready: dict[int, _Ready],
        found: dict[int, Done | Exception],
    ) -> None:
        """Score together; where that fails, one by one."""
        together = [i for i in which if not jobs[i].asked.contributions]
        if len(together) > 1:
            asked = Asked(None, None, [entity for i in together for entity in jobs[i].asked.entities], [])
            try:
                answers = scored(live, asked, np.concatenate([ready[i][0] for i in together])).answers
            except RequestError:
                together = []
            start = 0
            for i in together:
                rows, fetched = ready[i]
                found[i] = Done(rows, answers.part(start, start + len(rows)), fetched)
                start += len(rows)
        for i in which:
            if i not in found:
                try:
                    found[i] = scored(live, jobs[i].asked, *ready[i])
                except RequestError as error:
                    found[i] = error
