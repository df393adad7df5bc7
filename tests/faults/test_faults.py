"""Whatever happens to a step on the way, its retry leaves what one undisturbed run leaves.

At a chosen write of the first attempt something goes wrong; then the step is tried again, as Airflow does. Versions,
champion, runs by status, logged models, tables by content, reports and the ledger must be those of a quiet night.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Prepared
from tests.faults.disturbances import FAULTS, Calls, Writes, kill
from tests.faults.world import SECOND, STEPS, asked, ended, fork, state, work

pytestmark = pytest.mark.timeout(1800)  # the first test builds the world
EVERYWHERE = os.environ.get("MLOPS_FAULTS") == "all"
KILLS = 5  # points per step, spread evenly; all of them with MLOPS_FAULTS=all
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def points(writes: int, most: int) -> list[int]:
    """Where to strike: before the first write, before the last, and between."""
    if EVERYWHERE or writes <= most:
        return list(range(1, writes + 1))
    return sorted({1 + round(i * (writes - 1) / (most - 1)) for i in range(most)}) if most > 1 else [1 + writes // 2]


def attempt(prepared: Prepared, step: str, number: int, at: int = 0, strike: Callable[[], None] = kill) -> int:
    """Start a try of a step in a child, with something going wrong right before a write."""
    world = prepared.world

    def body() -> None:
        services = world.services(number, step)
        Writes(str(world.var), at, strike)
        work(world, services, step, SECOND)

    return fork(body, world.root / f"answer{number}.json")


def retried(prepared: Prepared, step: str) -> Any:
    """What is there after the next try."""

    def body() -> Any:
        services = prepared.world.services(9, step)
        work(prepared.world, services, step, SECOND)
        return state(services)

    return asked(prepared.world, body)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Puts a cell into the matrix that is printed at the end, from whichever process the test runs in."""
    return lambda step, fault, text: record_property("faults", [step, fault, text])


def table(cells: dict[tuple[str, str], str]) -> list[str]:
    """A matrix step × fault as Markdown."""
    faults = list(dict.fromkeys(fault for _, fault in cells))
    steps = list(dict.fromkeys(step for step, _ in cells))
    head = ["| | " + " | ".join(faults) + " |", "|---" * (len(faults) + 1) + "|"]
    return head + [f"| {step} | " + " | ".join(cells.get((step, f), "") for f in faults) + " |" for step in steps]


def verdict(prepared: Prepared, step: str, fault: str, where: str, found: Any) -> None:
    """The state is the expected one, or the error says where it differs."""
    expected = prepared.expected[step]
    for name in expected:
        assert found[name] == expected[name], f"{step}, {fault} at {where}: {name}"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_retry_leaves_what_an_undisturbed_run_leaves(
    prepared: Prepared, step: str, fault: str, tell: Callable[..., None]
) -> None:
    """For each step and fault: disturb the first try at a write, try again, compare everything."""
    tell(step, fault, "DIFFERS")
    where = points(prepared.writes[step], KILLS if fault == "killed" else 1)
    for at in where:
        prepared.world.restore(step)
        code = ended(attempt(prepared, step, 1, at, FAULTS[fault]))
        assert code == (-signal.SIGKILL if fault == "killed" else 1), f"{step} was not disturbed at write {at}"
        verdict(prepared, step, fault, f"write {at} of {prepared.writes[step]}", retried(prepared, step))
    tell(step, fault, "same" if len(where) == 1 else f"same ({len(where)} of {prepared.writes[step]} writes)")


@pytest.mark.parametrize("step", STEPS)
def test_two_at_once_leave_what_one_leaves(prepared: Prepared, step: str, tell: Callable[..., None]) -> None:
    """The same step started twice at once: one works, the other waits for it, finds it done or is refused."""
    tell(step, "two at once", "DIFFERS")
    prepared.world.restore(step)
    both = [attempt(prepared, step, number) for number in (1, 1)]
    codes = [ended(pid) for pid in both]
    assert 0 in codes
    verdict(prepared, step, "two at once", "the start", retried(prepared, step))
    tell(step, "two at once", "same")


@pytest.mark.parametrize("step", STEPS)
def test_an_orphan_beside_its_retry_changes_nothing(prepared: Prepared, step: str, tell: Callable[..., None]) -> None:
    """The supervisor alone was killed: the first try stands still, the second does it all, then the first goes on."""
    tell(step, "orphan", "DIFFERS")
    world = prepared.world
    total = asked(world, lambda: _calls(prepared, step))
    for at in points(total, 3):
        world.restore(step)
        orphan = fork(lambda at=at: _stopping(prepared, step, at), world.root / "orphan.json")
        _wait_until_stopped(orphan)
        try:
            retried(prepared, step)
        finally:
            os.kill(orphan, signal.SIGCONT)
            ended(orphan)
        found = asked(world, lambda: state(world.services(9, step)))
        verdict(prepared, step, "orphan", f"call {at} of {total}", found)
    tell(step, "orphan", "same")


def _calls(prepared: Prepared, step: str) -> int:
    prepared.world.restore(step)
    counted = Calls()
    work(prepared.world, prepared.world.services(1, step), step, SECOND)
    return counted.count


def _stopping(prepared: Prepared, step: str, at: int) -> None:
    services = prepared.world.services(1, step)
    Calls(at, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    work(prepared.world, services, step, SECOND)


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if done:
            assert os.WIFSTOPPED(status), "the orphan ended before it was stopped"
            return
        time.sleep(0.01)
    raise AssertionError("the orphan was not stopped")


def test_the_page_shows_the_matrix_that_is_tested() -> None:
    """docs/faults.md names every step and every fault of this suite; `MLOPS_WRITE_DOCS=1` writes it anew."""
    faults = [*FAULTS, "two at once", "orphan"]
    lines = "\n".join(table({(step, fault): "same" for step in STEPS for fault in faults}))
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition("<!-- matrix -->\n")
    tail = rest.partition("<!-- /matrix -->")[2]
    made = f"{head}<!-- matrix -->\n{lines}\n<!-- /matrix -->{tail}"
    if os.environ.get("MLOPS_WRITE_DOCS") == "1":
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made
