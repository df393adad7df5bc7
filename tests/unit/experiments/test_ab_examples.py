"""The examples in docstrings and in docs/ab.md are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import mlops.experiments.ab as package

ROOT = Path(__file__).parents[3]
MODULES = [f"mlops.experiments.ab.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
OTHERS = ["mlops.experiments.ab_test", "mlops.experiments.bandits", "mlops.serving.routing"]


@pytest.mark.parametrize("name", [*MODULES, *OTHERS, "mlops.serving.routing_canary", "mlops.spec.reference"])
def test_the_examples_of_a_module_are_true(name: str) -> None:
    """What a docstring shows is what comes out."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_examples_of_the_page_run() -> None:
    """The Python of docs/ab.md, copied out of it."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "ab.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/ab.md", "exec"), {})
