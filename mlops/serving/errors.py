"""What a service says when it does not answer: a status, a sentence, and the field if it is about one.

One rule: what the caller did is 4xx and names what was expected and what came; 5xx is ours, and says when to come back.
"""

from __future__ import annotations

from mlops.errors import MLOpsError


class RequestError(MLOpsError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: what happened.
        hint: what to do.
        problems: one sentence per field, if it is about fields.
        retry_after: when to come back [s].
    """

    def __init__(
        self, status: int, message: str, *, hint: str = "", problems: tuple[str, ...] = (), retry_after: int = 0
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.problems = problems
        self.retry_after = retry_after
        self.model = ""  # that it was about, once that is known

    @classmethod
    def of(cls, problems: tuple[str, ...]) -> RequestError:
        """A request that is not by the model's signature (422), by its problems."""
        return cls(422, f"The request is not as expected: {' '.join(problems)}", problems=problems)


def too_busy(message: str, *, retry_after: int) -> RequestError:
    """More is waiting than may wait."""
    return RequestError(429, message, hint=f"Come back in {retry_after} s.", retry_after=retry_after)


def not_ready(message: str, *, hint: str = "", retry_after: int = 1) -> RequestError:
    """Something that an answer needs is not there at the moment."""
    return RequestError(503, message, hint=hint, retry_after=retry_after)
