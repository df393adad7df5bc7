"""Whatever happens to a step on the way, its retry leaves what one undisturbed run leaves; on SQLite and PostgreSQL.

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

from mlops.errors import MLOpsError
from tests.faults.children import ended, fork
from tests.faults.conftest import Prepared
from tests.faults.disturbances import FAULTS, POSTGRES_FAULTS, Calls, Writes, kill
from tests.faults.live import ACCIDENTS, MATRIX
from tests.faults.world import SECOND, STEPS, asked, state, work

pytestmark = pytest.mark.timeout(1800)  # the first test builds the world
on_postgresql = pytest.mark.xdist_group("postgresql")  # one process builds that world
EVERYWHERE = os.environ.get("MLOPS_FAULTS") == "all"
KILLS = 5  # points per step, spread evenly; all of them with MLOPS_FAULTS=all
IN_WORDS = 3  # exit code of a try that ends with one of the project's own errors, not with a traceback of others
# Who finds the server again may well go on; everything else ends the try, and what a driver says is put into words. So
# is what MLflow makes of an exception in the middle of its transaction.
ENDINGS = {"killed": (-signal.SIGKILL,), "exception": (1, IN_WORDS), "connections cut": (0, IN_WORDS)}
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
        try:
            work(world, services, step, SECOND)
        except MLOpsError:
            os._exit(IN_WORDS)

    return fork(body, world.root / f"answer{number}.json")


def retried(prepared: Prepared, step: str) -> Any:
    """What is there after the next try."""

    prepared.world.mend()

    def body() -> Any:
        services = prepared.world.services(9, step)
        work(prepared.world, services, step, SECOND)
        return state(services)

    return asked(prepared.world, body)


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
    disturb(prepared, step, fault, tell)


@pytest.mark.parametrize("step", STEPS)
def test_two_at_once_leave_what_one_leaves(prepared: Prepared, step: str, tell: Callable[..., None]) -> None:
    """The same step started twice at once: one works, the other waits for it, finds it done or is refused."""
    start_twice(prepared, step, tell)


@pytest.mark.parametrize("step", STEPS)
def test_an_orphan_beside_its_retry_changes_nothing(prepared: Prepared, step: str, tell: Callable[..., None]) -> None:
    """The supervisor alone was killed: the first try stands still, the second does it all, then the first goes on."""
    leave_orphan(prepared, step, tell)


@on_postgresql
@pytest.mark.parametrize("fault", POSTGRES_FAULTS)
@pytest.mark.parametrize("step", STEPS)
def test_on_postgresql_a_retry_leaves_what_an_undisturbed_run_leaves(
    prepared_on_postgresql: Prepared, step: str, fault: str, tell: Callable[..., None]
) -> None:
    """The same with ledger and MLflow on PostgreSQL, whose server ends connections in the middle of a transaction."""
    disturb(prepared_on_postgresql, step, fault, tell)


@on_postgresql
@pytest.mark.parametrize("step", STEPS)
def test_on_postgresql_two_at_once_leave_what_one_leaves(
    prepared_on_postgresql: Prepared, step: str, tell: Callable[..., None]
) -> None:
    """The same step started twice at once, where no file lock keeps two writers apart."""
    start_twice(prepared_on_postgresql, step, tell)


@on_postgresql
@pytest.mark.parametrize("step", STEPS)
def test_on_postgresql_an_orphan_beside_its_retry_changes_nothing(
    prepared_on_postgresql: Prepared, step: str, tell: Callable[..., None]
) -> None:
    """The orphan goes on after its retry, its connections still open."""
    leave_orphan(prepared_on_postgresql, step, tell)


# --- what the tests do, on either ------------------------------------------------------------------------------------


def disturb(prepared: Prepared, step: str, fault: str, tell: Callable[..., None]) -> None:
    """Meet the first try with a fault, and compare what the second leaves."""
    world, name = prepared.world, column(prepared, fault)
    tell(step, name, "DIFFERS")
    made = (POSTGRES_FAULTS if world.postgres else FAULTS)[fault](world)
    kills = 3 if world.postgres else KILLS
    where = points(prepared.writes[step], {"killed": kills, "connections cut": 2}.get(fault, 1))
    for at in where:
        world.restore(step)
        code = ended(attempt(prepared, step, 1, at, made))
        allowed = ENDINGS.get(fault, (IN_WORDS,)) + ((1,) if world.postgres else ())  # words are not demanded there
        assert code in allowed, f"{step} ended with {code} when disturbed at write {at}"
        verdict(prepared, step, name, f"write {at} of {prepared.writes[step]}", retried(prepared, step))
    tell(step, name, "same" if len(where) == 1 else f"same ({len(where)} of {prepared.writes[step]} writes)")


def start_twice(prepared: Prepared, step: str, tell: Callable[..., None]) -> None:
    """Start a step twice, and compare."""
    name = column(prepared, "two at once")
    tell(step, name, "DIFFERS")
    prepared.world.restore(step)
    both = [attempt(prepared, step, number) for number in (1, 1)]
    codes = [ended(pid) for pid in both]
    assert 0 in codes
    verdict(prepared, step, name, "the start", retried(prepared, step))
    tell(step, name, "same")


def leave_orphan(prepared: Prepared, step: str, tell: Callable[..., None]) -> None:
    """Stop the first try between two calls, have the second do all, let the first go on, and compare."""
    world, name = prepared.world, column(prepared, "orphan")
    tell(step, name, "DIFFERS")
    world.restore(step)
    total = asked(world, lambda: _calls(prepared, step))
    for at in points(total, 1 if world.postgres else 3):
        world.restore(step)
        orphan = fork(lambda at=at: _stopping(prepared, step, at), world.root / "orphan.json")
        _wait_until_stopped(orphan)
        try:
            retried(prepared, step)
        finally:
            os.kill(orphan, signal.SIGCONT)
            ended(orphan)
        found = asked(world, lambda: state(world.services(9, step)))
        verdict(prepared, step, name, f"call {at} of {total}", found)
    tell(step, name, "same")


def column(prepared: Prepared, fault: str) -> str:
    """What the matrix calls a fault."""
    return f"{fault}, PostgreSQL" if prepared.world.postgres else fault


def _calls(prepared: Prepared, step: str) -> int:
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
    own = ["two at once", "orphan"]
    tables = {
        "matrix": {(step, fault): "same" for step in STEPS for fault in [*FAULTS, *own]},
        "postgresql": {(step, fault): "same" for step in STEPS for fault in [*POSTGRES_FAULTS, *own]},
        "accidents": {(step, ACCIDENTS[accident]): "same" for step, accident in MATRIX},
    }
    made = PAGE.read_text(encoding="utf-8")
    for name, cells in tables.items():
        head, _, rest = made.partition(f"<!-- {name} -->\n")
        tail = rest.partition(f"<!-- /{name} -->")[2]
        made = "\n".join([f"{head}<!-- {name} -->", *table(cells), f"<!-- /{name} -->{tail}"])
    if os.environ.get("MLOPS_WRITE_DOCS") == "1":
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made
