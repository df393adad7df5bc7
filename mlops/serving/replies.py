"""Answers as JSON.

One rule: what cannot be told is null, never a number that looks like an answer.
"""

from __future__ import annotations

from math import isnan
from typing import Any

import msgspec

from mlops.serving.answers import Answers
from mlops.serving.errors import RequestError
from mlops.serving.served import Live, moment
from mlops.serving.work import Done

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def confidence(answers: Answers) -> list[float | None] | None:
    """The probability of each row's label; None for a model without classes."""
    if answers.probabilities is None:
        return None
    binary = answers.flag is not None
    found: list[float | None] = []
    for row, flag in zip(answers.probabilities, answers.flag or [None] * len(answers.probabilities), strict=True):
        sure = (row[1] if flag else row[0]) if binary else max(row)
        found.append(None if isnan(sure) else sure)
    return found


def rows(done: Done, live: Live) -> list[dict[str, Any]]:
    """What is said of each row."""
    answers, fetched = done.answers, done.fetched
    said: list[dict[str, Any]] = [{"score": score} for score in answers.score]  # NaN is written as null
    if answers.flag is not None:
        for each, flag in zip(said, answers.flag, strict=True):
            each["flag"] = flag
    if answers.label is not None and answers.probabilities is not None:
        names = [str(name) for name in live.predictor.scorer.classes]
        for each, label, probabilities in zip(said, answers.label, answers.probabilities, strict=True):
            each["label"] = label
            each["probabilities"] = dict(zip(names, probabilities, strict=True))
    if done.contributions is not None:
        for each, contributions in zip(said, done.contributions.tolist(), strict=True):
            each["contributions"] = dict(zip(live.signature.features, contributions, strict=True))
    if fetched is not None:
        for each, happened, stale in zip(said, fetched.feature_us, fetched.stale.tolist(), strict=True):
            each["feature_timestamp"] = moment(happened)
            if stale:
                each["stale"] = True
    return said


def refusal(error: RequestError, request_id: str) -> bytes:
    """Why a request was not answered."""
    said: dict[str, Any] = {"detail": str(error), "request_id": request_id}
    if error.problems:
        said["problems"] = list(error.problems)
    return encode(said)
