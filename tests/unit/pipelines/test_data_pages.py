"""Data docs: what was delivered, what became of it, and why, in pages that need nothing from elsewhere."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from mlops.pipelines import quarantine
from tests.plant import DAY, mlops, opened


def test_every_delivery_is_there_with_its_verdict_and_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept, released and waiting ones, newest first; every link leads to a page, none to another machine."""
    plant = opened(tmp_path, monkeypatch)
    assert "Nothing was delivered yet" in built(tmp_path)
    plant.refused()
    quarantine.release(plant.services, plant.spec, DAY, "fine")
    plant.deliver(DAY + timedelta(days=1))
    plant.ingest(DAY + timedelta(days=1))
    plant.deliver(DAY + timedelta(days=2), heat=-5.0)
    plant.ingest(DAY + timedelta(days=2))
    index = built(tmp_path)
    assert re.findall(r'badge (\w+)"', index) == ["waits", "kept", "released"]
    assert "largest 500" in index
    links = re.findall(r'href="([^"]+)"', index)
    assert links == [f"pumps/{DAY + timedelta(days=days)}.html" for days in (2, 1, 0)]
    for page in (tmp_path / "docs").rglob("*.html"):
        assert not re.search(r"https?:|src=|@import|url\(", page.read_text(encoding="utf-8")), page
    assert all((tmp_path / "docs" / link).exists() for link in links)


def built(tmp_path: Path) -> str:
    """The index, as the shell makes it."""
    answer = mlops("data", "docs", "-o", str(tmp_path / "docs"))
    assert answer.exit_code == 0
    return (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
