"""The shipped rules, routes and dashboards, held by promtool and amtool and against the names of the metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.metric_names import METRICS
from mlops.monitoring.dashboards import files
from tests.programs import program

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]

pytestmark = pytest.mark.integration


def told(*command: str | Path) -> tuple[int, str]:
    """Exit code and words of a program."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_promtool_accepts_configuration_and_rules() -> None:
    """What compose mounts is what Prometheus takes."""
    code, said = told(program("promtool"), "check", "config", PROMETHEUS / "prometheus.yml")
    assert code == 0, said
    assert f"SUCCESS: {len(RULES)} rules found" in said


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    """The unit tests beside the rules hold, and name every rule."""
    code, said = told(program("promtool"), "test", "rules", PROMETHEUS / "rules_test.yml")
    assert code == 0, said
    tests = (PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8")
    fired = tests.partition("# Steps:")[2]
    assert [rule["alert"] for rule in RULES if rule["alert"] not in fired] == []


@pytest.mark.parametrize(
    ("rule", "given", "mistaken"),
    [
        ("MlopsStepOverdue", "36 * 3600", "48 * 3600"),
        ("MlopsNoChampion", "unless on (model)", "and on (model)"),
        ("MlopsServingErrors", '{status=~"5.."}', '{status=~"4.."}'),
    ],
)
def test_a_mistaken_rule_breaks_its_tests(tmp_path: Path, rule: str, given: str, mistaken: str) -> None:
    """So the tests are not of the kind that cannot fail."""
    shutil.copy(PROMETHEUS / "rules_test.yml", tmp_path)
    text = (PROMETHEUS / "rules.yml").read_text(encoding="utf-8")
    head, name, tail = text.partition(f"alert: {rule}\n")
    assert given in tail.split("- alert:")[0]
    (tmp_path / "rules.yml").write_text(head + name + tail.replace(given, mistaken, 1), encoding="utf-8")
    code, said = told(program("promtool"), "test", "rules", tmp_path / "rules_test.yml")
    assert (code, rule in said) == (1, True), said


def test_amtool_accepts_the_routes_and_critical_ones_reach_who_is_on_call() -> None:
    """Each severity has its receiver."""
    code, said = told(program("amtool"), "check-config", ALERTMANAGER)
    assert code == 0, said
    for severity, receiver in (("critical", "on-call"), ("warning", "team"), ("info", "team")):
        given = ("config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}", "model=m")
        code, said = told(program("amtool"), *given)
        assert (code, said.splitlines()[0]) == (0, receiver)


def test_every_alert_says_what_happened_what_it_means_what_goes_on_and_what_to_do() -> None:
    """And links a chapter that is there; rules ask for metrics that exist, and mention only labels that they have."""
    known = {metric.name: metric for metric in METRICS}
    for rule in RULES:
        notes = rule["annotations"]
        assert set(notes) == {"summary", "means", "goes_on", "do", "runbook"}, rule["alert"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        page, _, anchor = notes["runbook"].partition("#")
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        headings = {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in lines if line[:1] == "#"
        }
        assert not anchor or anchor in headings, rule["alert"]
        used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"mlops_\w+", rule["expr"])}
        assert used, rule["alert"]
        assert used <= set(known), rule["alert"]
        labels = {label for name in used for label in known[name].labels}
        assert set(re.findall(r"\$labels\.(\w+)", str(notes))) <= labels, rule["alert"]


def test_the_dashboards_are_what_the_names_make_them() -> None:
    """`mlops metrics dashboards` leaves the files as they are, and there are no others."""
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == dict(files())
    for text in files().values():
        dashboard = json.loads(text)
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids) > 0
        places = [panel["gridPos"] for panel in dashboard["panels"]]
        cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
        assert len(set(cells)) == len(cells), "panels overlap"
        assert max(x for x, _ in cells) < 24
