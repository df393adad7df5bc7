"""Data docs: what was delivered, what became of it, and why, in pages that need nothing from elsewhere."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from mlops.api.data_docs import server
from mlops.errors import MLOpsError
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


def test_served_pages_show_what_was_delivered_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback alone: whoever opens the index sees a delivery that came after the start; its page is a link away."""
    plant = opened(tmp_path, monkeypatch)
    with server(plant.services, tmp_path / "docs", 0) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}"
        try:
            assert running.server_address[0] == "127.0.0.1"
            assert said(f"{address}/health") == "ok"
            assert "Nothing was delivered yet" in said(f"{address}/")
            plant.deliver(DAY)
            plant.ingest(DAY)
            (link,) = re.findall(r'href="([^"]+)"', said(f"{address}/"))
            assert "heat" in said(f"{address}/{link}")
            with pytest.raises(MLOpsError, match=f"Port {running.server_port} cannot be used.*Choose another"):
                server(plant.services, tmp_path / "docs", running.server_port)
            (tmp_path / "docs" / "index.html").unlink()
            (tmp_path / "docs" / "index.html").mkdir()
            with pytest.raises(urllib.error.HTTPError, match="500"):
                said(f"{address}/")
        finally:
            running.shutdown()


def said(url: str) -> str:
    """A page of this machine, without a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return str(answer.read().decode())


def built(tmp_path: Path) -> str:
    """The index, as the shell makes it."""
    answer = mlops("data", "docs", "-o", str(tmp_path / "docs"))
    assert answer.exit_code == 0
    return (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
