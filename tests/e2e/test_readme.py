"""What README says is true: its spec and feature view work as written, its commands exist, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command

from mlops.cli.__main__ import app
from mlops.spec import reference

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    """The one code block of a language that contains a text."""
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in b]
    assert len(found) == 1, f"{len(found)} blocks with {containing!r}"
    return found[0]


def deliver(folder: Path, first: date, days: int) -> None:
    """The CSV files that README speaks of."""
    folder.mkdir()
    for day in (first + timedelta(days=i) for i in range(days)):
        rng = np.random.default_rng(day.toordinal())
        times = pd.date_range(datetime(day.year, day.month, day.day, tzinfo=UTC), periods=48, freq="30min")
        frame = pd.DataFrame(
            [(f"m{i}", at) for i in range(6) for at in times], columns=["machine_id", "event_timestamp"]
        )
        frame["load"] = rng.uniform(0, 100, len(frame))
        frame["heat"] = rng.normal(60, 20, len(frame)).clip(-40, 190)
        risk = 1 / (1 + np.exp(-(frame["load"] + frame["heat"] - 130) / 12))
        frame["failing"] = (rng.uniform(size=len(frame)) < risk).astype(int)
        frame.to_csv(folder / f"{day}.csv", index=False)


@pytest.mark.timeout(1500)
def test_own_data_works_as_written(tmp_path: Path) -> None:
    """The view, the spec and the commands of README, copied out of it, make a champion in a fresh folder."""
    repo, models = tmp_path / "feature_repo", tmp_path / "models"
    shutil.copytree(ROOT / "feature_repo", repo)
    models.mkdir()
    (repo / "machines.py").write_text(block("python", "machines_v1"))
    (models / "machines.yaml").write_text(block("yaml", "name: machines"))
    deliver(tmp_path / "sales", date(2026, 1, 5), 9)
    environ = os.environ | {
        "MLOPS_HOME": str(ROOT),
        "MLOPS_VAR": str(tmp_path / "var"),
        "MLOPS_MODELS_DIR": str(models),
        "MLOPS_FEATURE_REPO": str(repo),
        "MLOPS_CODE_VERSION": "test",
        "SALES": str(tmp_path / "sales"),
    }
    told = ""
    for line in block("console", "mlops status machines").splitlines():
        if line.startswith("$ mlops "):
            command = [sys.executable, "-W", "ignore", "-m", "mlops.cli", *line.removeprefix("$ mlops ").split()]
            done = subprocess.run(
                command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode in (0, 3), f"{line}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == 0 or "all" in line, f"{line}\n{done.stdout}"
            told += done.stdout
    assert "is the first champion" in told
    assert "champion       version 1" in re.sub(r" {2,}", "       ", told)


def test_every_command_of_readme_exists() -> None:
    """No `mlops …` or `make …` is named that cannot be called."""
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"(?:^\$ |`)mlops ([a-z]+)", README, re.MULTILINE))
    assert named
    assert named <= commands
    tasks = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`)make ([a-z]+)", README, re.MULTILINE)) <= tasks


def test_every_link_leads_somewhere() -> None:
    """Relative links of README and the docs point at files that exist."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_spec_reference_is_up_to_date() -> None:
    """docs/model-spec.md is what `mlops spec reference` prints."""
    assert (ROOT / "docs" / "model-spec.md").read_text(encoding="utf-8") == reference.markdown()


@pytest.mark.parametrize("command", ["ingest", "promotion2"])
def test_a_mistyped_pipeline_is_a_usage_error(command: str) -> None:
    """A wrong pipeline name leaves with 2 and names the nearest."""
    done = subprocess.run(
        [sys.executable, "-m", "mlops.cli", "run", command, "fleet_anomaly"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Did you mean" in re.sub(r"[│╭╮╰╯─\s]+", " ", done.stderr)


def test_an_error_leaves_with_one_and_says_what_to_do(tmp_path: Path) -> None:
    """A model that does not exist is an error, not a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "mlops.cli", "status", "fleet_anomly"],
        cwd=ROOT, env=os.environ | {"MLOPS_VAR": str(tmp_path)}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Did you mean 'fleet_anomaly'?" in done.stderr
    assert "Traceback" not in done.stderr
