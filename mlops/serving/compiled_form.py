"""A compiled form as a value, and what it is made of; the kernels themselves are made elsewhere.

One rule: nothing here imports a compiler, so that whoever asks for no kernel does not wait for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kernel = Callable[[Floats], Floats]  # rows, shape (n, features) -> answers, shape (n, classes or 1)
Number = NDArray[Any] | float | int | bool | str


class PlainUnit(Protocol):
    """What a fitted scorer has learned from one group of rows."""

    @property
    def medians(self) -> Floats: ...
    @property
    def center(self) -> Floats: ...
    @property
    def spread(self) -> Floats: ...
    @property
    def estimator(self) -> Any: ...


class NotCompiledError(Exception):
    """There is no compiled form of this estimator; its message says why."""


@dataclass(frozen=True, slots=True)
class Form:
    """A compiled form: what was learned, as numbers, and the kernel that answers by them."""

    kernel: Kernel
    numbers: tuple[Number, ...]  # all that decides its answers beside the code

    def __call__(self, rows: Floats) -> Floats:
        """The answers for rows."""
        return self.kernel(rows)

    def then(self, link: Kernel, *numbers: Number) -> Form:
        """The same with its answers through a link, and the numbers that this adds."""
        kernel = self.kernel
        return Form(lambda rows: link(kernel(rows)), (*self.numbers, *numbers))

    @property
    def digest(self) -> str:
        """sha256 over the numbers, their types and shapes."""
        total = hashlib.sha256()
        for number in self.numbers:
            if isinstance(number, np.ndarray):
                total.update(f"{number.dtype.str}{number.shape};".encode())
                total.update(np.ascontiguousarray(number).data)
            else:
                total.update(f"{type(number).__name__} {number!r};".encode())
        return total.hexdigest()


@dataclass(frozen=True, slots=True)
class Preparation:
    """What stands in for missing values, and the scale; each of shape (features,)."""

    medians: Floats
    center: Floats
    spread: Floats

    @classmethod
    def of(cls, unit: PlainUnit) -> Preparation:
        """That of a fitted unit, as arrays that a kernel can read."""
        return cls(*(np.ascontiguousarray(part, dtype=np.float64) for part in (unit.medians, unit.center, unit.spread)))

    @property
    def parts(self) -> tuple[Floats, Floats, Floats]:
        """As a kernel takes them."""
        return self.medians, self.center, self.spread
