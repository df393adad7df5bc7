"""What a person sees while the demo runs, where output is a file."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from datetime import date

import pytest

from demo.plan import Plan
from demo.summary import Expectation, Summary
from demo.terminal import Screen


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def screen() -> tuple[Screen, io.StringIO]:
    """A screen that writes into memory."""
    file = io.StringIO()
    return Screen(file), file


def test_each_step_is_one_plain_line_with_outcome_reason_and_seconds(summary: Summary) -> None:
    """Without a terminal there are no colours and no moving parts: one line per step."""
    shown, file = screen()
    for step in summary.nights[0].steps:
        shown.step(step)
    lines = file.getvalue().splitlines()
    assert len(lines) == len(summary.nights[0].steps)
    assert "\x1b" not in file.getvalue()
    assert re.fullmatch(r"  ingestion  ✓ valid +3,456 rows of 24 entities keep .* 1\.0 s", lines[0])
    assert len({len(line) for line in lines}) == 1


def test_a_long_reason_is_cut_and_keeps_the_line_whole(summary: Summary) -> None:
    """A reason longer than the page ends in an ellipsis; seconds stay visible, line breaks do not."""
    shown, file = screen()
    shown.step(replace(summary.nights[0].steps[0], reason="long " * 100 + "\nsecond line"))
    (line,) = file.getvalue().splitlines()
    assert "…" in line
    assert line.endswith("1.0 s")


def test_markup_in_a_reason_is_text(summary: Summary) -> None:
    """Square brackets in a reason are shown, not read as colours."""
    shown, file = screen()
    shown.step(replace(summary.nights[0].steps[0], reason="columns [red] and [/] are missing"))
    assert "columns [red] and [/] are missing" in file.getvalue()


def test_on_a_terminal_the_running_task_is_shown_and_libraries_are_not(plan: Plan) -> None:
    """The live line tells of the task; what anybody prints meanwhile does not get onto the page."""
    file = Terminal()
    shown = Screen(file)
    with shown.night(plan.nights[0]):
        shown.task("ingestion__fleet_anomaly", "each_day.ingest")
        print("a library prints")  # noqa: T201 - this is what a library does
        sys.stderr.write("a library warns")
        shown.console.print("end")
    assert "ingestion · ingest" in file.getvalue()
    assert "a library" not in file.getvalue()


def test_a_night_opens_with_what_arrives(plan: Plan) -> None:
    """The head of a night names its date and its deliveries."""
    shown, file = screen()
    for number, night in enumerate(plan.nights[2:5]):
        moved = date(2026, 3, 14 + number)
        deliveries = tuple(replace(d, date=moved - (night.date - d.date)) for d in night.deliveries)
        dated = replace(night, date=moved, deliveries=deliveries)
        with shown.night(dated):
            shown.task("ingestion__fleet_anomaly", "each_day.ingest")
    told = [line for line in file.getvalue().splitlines() if line.strip()]
    assert told == [
        "Night 3  Sat 14 Mar 2026  a corrupt delivery",
        "Night 4  Sun 15 Mar 2026  14 Mar once more, whole, and a normal delivery",
        "Night 5  Mon 16 Mar 2026  a delivery from a fleet that now runs hotter and faster",
    ]


def test_the_table_has_a_row_per_night_with_its_champion(summary: Summary) -> None:
    """The table shows outcome words per step; a night with several different outcomes shows them in order."""
    shown, file = screen()
    shown.table(summary)
    rows = {line[0]: line for line in file.getvalue().splitlines() if re.match(r"\d", line)}
    assert sorted(rows) == list("12345678")
    assert re.search(r"! quarantined +– +· nothing to do +– +– +– +– +v1", rows["3"])
    assert "! drift  ✓ no drift" in rows["7"]
    assert "v7" in rows["7"]


def test_on_a_narrow_page_the_table_shows_signs_and_fits(summary: Summary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty columns hold the whole table: nothing is cut, and the signs are explained."""
    monkeypatch.setenv("COLUMNS", "80")
    shown, file = screen()
    shown.table(summary)
    lines = [line for line in file.getvalue().splitlines() if line]
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert "…" not in file.getvalue()
    rows = {line[0]: line.split() for line in lines if re.match(r"\d", line)}
    assert rows["3"][3:11] == ["!", "–", "·", "–", "–", "–", "–", "v1"]
    assert rows["7"].count("✓") > rows["6"].count("✓")
    assert "! no" in lines[-1]
    assert "– not run" in lines[-1]


def test_a_broken_expectation_is_told_with_what_was_found(summary: Summary) -> None:
    """What did not happen is told beside what did."""
    shown, file = screen()
    shown.expectations(replace(summary, expectations=(Expectation("It rains.", held=False, found="It snows."),)))
    assert "✗ Expected: It rains.\n  Found: It snows." in file.getvalue()


def test_the_end_tells_where_things_are(summary: Summary) -> None:
    """Addresses are not broken, however long."""
    shown, file = screen()
    address = "/a/very/long/folder" * 12
    shown.end(summary, {"the nights as pictures": f"{address}/report.html"}, {"where it stands": "mlops status"})
    assert f"{address}/report.html" in file.getvalue()
    assert "131 s in all, 912 MB at most." in file.getvalue()
