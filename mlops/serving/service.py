"""Answers requests: decode, choose the version, score, account, reply.

A row whose scorer is compiled is answered where the request is read, in microseconds. Whatever takes longer (features
looked up, plain scorers, many rows) goes through the model's queue, one thread at a time.

One rule: what was answered is in the log before the caller has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import msgspec

from mlops.errors import did_you_mean
from mlops.serving import replies
from mlops.serving.batching import Batcher
from mlops.serving.compiled_form import Floats
from mlops.serving.errors import RequestError, not_ready
from mlops.serving.log_spool import Spool
from mlops.serving.lookups import Lookups
from mlops.serving.metrics import ServingMetrics
from mlops.serving.monitor import ModelMonitor
from mlops.serving.requests import Asked
from mlops.serving.routing_shadow import Shadow
from mlops.serving.served import CHAMPION, Choice, Live, Served
from mlops.serving.work import Done, Job, Limits, Work, scored
from mlops.serving.wrong_requests import shown


class _Head(msgspec.Struct):
    model: str | None = None


Read = Callable[[Live], Asked]  # a request, as a version reads it


class Service:
    """The models of a process.

    Args:
        models: by name; the first is asked where a request names none.
        metrics: of the process.
        worker: prefix of request ids, of this process alone.
        spool: keeps what was answered; None: nothing is kept.
        limits: how much it takes on.
        stale: what becomes of features past their time to live.
    """

    def __init__(
        self,
        models: Sequence[Served],
        *,
        metrics: ServingMetrics,
        worker: str,
        spool: Spool | None = None,
        limits: Limits | None = None,
        stale: Literal["refuse", "mark", "allow"] = "refuse",
    ) -> None:
        self.models = {served.name: served for served in models}
        self.metrics = metrics
        self.spool = spool
        self.limits = limits or Limits()
        self.shadows: dict[int, Shadow] = {}  # by version
        self._stale = stale
        self._worker, self._count = worker, 0
        self._first = models[0]
        self._head: Any = msgspec.json.Decoder(_Head)
        self._thread = ThreadPoolExecutor(1, "scoring")
        self.monitors = {served.name: ModelMonitor(served, metrics, spool) for served in models}
        self.queues = {served.name: self._queue(served) for served in models}

    def new_id(self) -> str:
        """A request id that nobody else has."""
        self._count += 1
        return f"{self._worker}-{self._count:x}"

    async def predict(self, body: bytes, request_id: str, began: float, model: str | None = None) -> bytes:
        """The answer for one row.

        Args:
            body: JSON.
            request_id: of a caller that gives none in the body.
            began: when the request was whole, by `time.perf_counter`.
            model: that the address names; None: the body may name one.

        Raises:
            RequestError: it cannot be answered.
        """
        served = self._named(body, model)
        read = lambda live: live.signature.one(body)  # noqa: E731 - it is one line, and passed on
        return await self._answered(served, self._predict_one, read, request_id, began)

    async def predict_batch(self, body: bytes, request_id: str, began: float, model: str | None = None) -> bytes:
        """The answers for several rows; see `predict`."""
        served = self._named(body, model)
        most = self.limits.max_rows
        read = lambda live: live.signature.batch(body, max_rows=most)  # noqa: E731 - it is one line, and passed on
        return await self._answered(served, self._predict_many, read, request_id, began)

    async def answer(self, served: Served, read: Read, began: float) -> tuple[Live, Done]:
        """The answers for rows that are read in another way, by the champion."""
        try:
            live = self.live(served)
            asked = read(live)
            done = await self._done(served, live, asked)
        except RequestError as error:
            error.model = served.name
            raise
        self._account(served, live, asked, done, Choice(CHAMPION, live.version), began)
        return live, done

    def look(self, name: str) -> Future[None]:
        """Have the thread that asks the online store ask whether it answers for a model."""
        served = self.models[name]
        if not isinstance(served.fetch, Lookups):
            raise TypeError(f"{name} looks nothing up.")
        features = served.live.signature.features if served.live is not None else ()
        return self._thread.submit(served.fetch.look, features)

    def model(self, name: str | None) -> Served:
        """A model by name; the first if none is named.

        Raises:
            RequestError: 404 it is not served here.
        """
        if name is None:
            return self._first
        try:
            return self.models[name]
        except KeyError:
            raise RequestError(
                404, f"Model {shown(name)!r} is not served here.", hint=did_you_mean(shown(name), self.models)
            ) from None

    def live(self, served: Served) -> Live:
        """The version that answers for a model; a RequestError (503) if there is none yet."""
        if served.live is None:
            raise not_ready(f"{served.name} cannot answer yet. {served.problem}".strip())
        return served.live

    async def close(self) -> None:
        """Answer what waits, and close the log."""
        for queue in self.queues.values():
            await queue.drained()
        self._thread.shutdown()
        for shadow in self.shadows.values():
            shadow.close(1.0)
        if self.spool is not None:
            self.spool.close()

    # --- one request --------------------------------------------------------------------------------------------------

    async def _answered(
        self,
        served: Served,
        said: Callable[[Live, Done], dict[str, Any]],
        read: Read,
        request_id: str,
        began: float,
    ) -> bytes:
        try:
            live = self.live(served)
            asked = read(live)
            if asked.model is not None and asked.model != served.name:
                raise self._other_model(served, asked.model)
            if asked.request_id is None:
                asked = replace(asked, request_id=request_id)
            choice, chosen = self._choose(served, live, asked)
            if chosen.signature.features != live.signature.features:
                asked = replace(read(chosen), request_id=asked.request_id)
            try:
                done = await self._done(served, chosen, asked)
            except Exception as error:
                if choice.experiment and _its_own(error):
                    self.monitors[served.name].log_failure(chosen, asked, choice=choice, began=began)
                raise
        except RequestError as error:
            error.model = served.name
            raise
        self._account(served, chosen, asked, done, choice, began)
        about: dict[str, Any] = {
            "request_id": asked.request_id,
            "model": served.name,
            "version": chosen.version,
            "variant": choice.variant,
        }
        if choice.experiment:
            about["experiment"] = choice.experiment
        if done.answers.flag is not None:
            about["threshold"] = done.answers.threshold
        return replies.encode(about | said(chosen, done))

    def _predict_one(self, live: Live, done: Done) -> dict[str, Any]:
        return replies.rows(done, live)[0]

    def _predict_many(self, live: Live, done: Done) -> dict[str, Any]:
        return {"predictions": replies.rows(done, live)}

    def _named(self, body: bytes, model: str | None) -> Served:
        """The model that a request names; the first where the body cannot be read, which says why by itself."""
        if model is not None:
            return self.model(model)
        if len(self.models) == 1:
            return self._first
        try:
            return self.model(self._head.decode(body).model)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._first

    def _other_model(self, served: Served, name: str) -> RequestError:
        """Why a body that names another model than was taken for meant is refused."""
        try:
            self.model(name)  # where one model is served, the name was not looked at before
        except RequestError as unknown:
            return unknown
        return RequestError(422, f"model: the address names {served.name!r}, the body {name!r}.")

    def _choose(self, served: Served, live: Live, asked: Asked) -> tuple[Choice, Live]:
        """Who answers."""
        if served.router is None:
            return Choice(CHAMPION, live.version), live
        first = asked.entities[0]
        return served.choose(asked.unit or (str(first) if first is not None else "") or asked.request_id or "", live)

    async def _done(self, served: Served, live: Live, asked: Asked) -> Done:
        size = asked.size
        weight = size * (len(live.signature.features) + 1) if asked.contributions else size
        predictor, limits = live.predictor, self.limits
        quick = weight <= limits.inline_rows and weight * predictor.row_seconds <= limits.inline_seconds
        if asked.rows is not None and predictor.compiled and (quick or weight == 1):
            return scored(live, asked, asked.rows)
        if asked.keys is not None and served.fetch is None:
            raise RequestError(
                422, f"{served.name}: features are not looked up here.", hint="Send the features themselves."
            )
        return await self.queues[served.name].ask(Job(live, asked), weight)

    def _queue(self, served: Served) -> Batcher[Job, Done]:
        return Batcher(
            Work(served, self._stale),
            self._thread,
            max_waiting_rows=self.limits.max_waiting_rows,
            max_batch_rows=self.limits.max_batch_rows,
            timeout_seconds=self.limits.timeout_seconds,
        )

    def _account(self, served: Served, live: Live, asked: Asked, done: Done, choice: Choice, began: float) -> None:
        self.monitors[served.name].log_prediction(live, asked, done, choice=choice, began=began)
        if choice.shadow is not None and (other := served.others.get(choice.shadow)) is not None:
            self._compare(other, live, asked, done)

    def _compare(self, shadow: Live, live: Live, asked: Asked, done: Done) -> None:
        """Have a shadow answer the same rows, later; it is told apart by what it says, never waited for."""
        if shadow.signature.features != live.signature.features:
            return
        watch = self.shadows.setdefault(shadow.version, Shadow())
        for i, score in enumerate(done.answers.score):
            row, whose = done.rows[i : i + 1], asked.entities[i : i + 1]
            if score == score and not watch.submit(score, partial(_score, shadow, row, whose)):  # noqa: PLR0124 - NaN
                return


def _its_own(error: Exception) -> bool:
    """Whether a request was not answered for what the version did, not for what the caller asked."""
    return not isinstance(error, RequestError) or error.status == 422 or error.status >= 500


def _score(live: Live, row: Floats, whose: Sequence[Any]) -> float:
    return live.predictor.answers(row, whose).score[0]
