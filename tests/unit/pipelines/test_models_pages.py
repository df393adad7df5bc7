"""Where the models stand, as pages: what they show, to whom, and that what came with the data cannot act on them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
import yaml
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient

from mlops.api.models import Sees, application
from mlops.pipelines import overview, promotion
from mlops.pipelines.night import report, report_uri
from mlops.records import Incident, Outcome
from mlops.services import Services
from tests.contenders import Contenders

ROOT = Path(__file__).parents[3]
NIGHT = date(2026, 3, 1)


class Visitor:
    """A browser whose rights can be changed."""

    def __init__(self, contenders: Contenders, folder: Path) -> None:
        """Its installation knows the model of the contenders and one that cannot be read."""
        self.name, self.hidden, self.logged_in = contenders.spec.name, set[str](), True
        fleet = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
        folder.mkdir()
        (folder / f"{self.name}.yaml").write_text(yaml.safe_dump(fleet | {"name": self.name}), encoding="utf-8")
        (folder / "torn.yaml").write_text("name: torn\nowner: <script>alert(1)</script>\n", encoding="utf-8")
        config = contenders.services.config.model_copy(update={"models_dir": folder})
        self.services = Services(config, contenders.services.clock)
        self.browser = TestClient(application(lambda: self.services, self._sees), follow_redirects=False)

    async def _sees(self, _: Request) -> Sees:
        if not self.logged_in:
            raise HTTPException(401, "Not authenticated")
        return lambda model: model not in self.hidden

    def get(self, path: str, code: int = 200) -> str:
        """The words of a page, spaces as one, tags and all."""
        answer = self.browser.get(path)
        assert answer.status_code == code, answer.text
        return re.sub(r"\s+", " ", answer.text)


@pytest.fixture
def visitor(contenders: Contenders, tmp_path: Path) -> Visitor:
    """A browser, and a model whose first version was promoted and whose second was refused."""
    spec, services = contenders.spec, contenders.services
    first = contenders.contender()
    promotion.run(services, spec, contenders.day(first.version))
    contenders.register()
    contenders.judge(2, "fail")
    services.storage.write_bytes(report_uri(services, spec, NIGHT, "evidence-v1.html"), b"<p>the evidence</p>")
    return Visitor(contenders, tmp_path / "models")


def test_all_models_are_on_one_page_and_a_broken_spec_hides_none(visitor: Visitor) -> None:
    """Champion, since when, by whom; a spec that cannot be read says so, and its words are no markup."""
    page = visitor.get("/models")
    assert f'<a href="models/{visitor.name}">' in page
    assert "version 1<small>promotion</small>" in page
    assert "by policy:automatic" in page
    assert "torn: " in page
    assert "<script>" not in page


def test_a_model_shows_its_nights_champions_and_evidence(visitor: Visitor) -> None:
    """The night of the promotion, the night of the refusal with its reason, and links to what was kept."""
    page = visitor.get(f"/models/{visitor.name}")
    assert "<b>Version 1 is champion</b>" in page
    assert f'<a href="{visitor.name}/{NIGHT}/evidence-v1.html">The evidence it stands on</a>' in page
    assert page.index("version 2 refused") < page.index("version 1 passed"), "the newest night comes first"
    assert "better than champion: AUC .91 against .88." in page
    links = set(re.findall(r'href="([^"]+)"', page)) - {"../models"}
    assert f"{visitor.name}/{NIGHT}/evidence-v1.html" in links
    for link in links:
        assert visitor.get(f"/models/{link}")


def test_steps_incidents_and_what_waits_are_shown(visitor: Visitor, contenders: Contenders) -> None:
    """How each step ended last, by its date and not by when it was worked on; incidents until they are over."""
    spec, services = contenders.spec, visitor.services
    later, earlier = date(2026, 3, 3), date(2026, 3, 2)
    ended: tuple[tuple[date, Outcome], ...] = ((later, "no"), (earlier, "done"))
    for day, outcome in ended:
        services.step_log.note(report("monitoring", spec, day, outcome, "Said."), at=services.clock())
    services.alerts.raise_incident(
        Incident(
            f"{spec.name}/drift", spec.name, "drift", later, "normal", "Moved <b>far</b>.", "It may be wrong.", "Look."
        )
    )
    page = visitor.get(f"/models/{visitor.name}")
    assert re.search(r"monitoring</td> <td>2026-03-03</td>.{0,120}>no</span>", page)
    assert "Moved &lt;b&gt;far&lt;/b&gt;." in page
    assert "1 incident" in visitor.get("/models")
    services.alerts.resolve_by_hand(services.alerts.find(f"{spec.name}/drift").number, by="ann")
    assert "1 incident" not in visitor.get("/models")
    assert [step.tone for step in overview.overview(services, services.spec(visitor.name)).steps][-1] == "bad"


def test_what_may_not_be_seen_is_as_if_it_were_not_there(visitor: Visitor) -> None:
    """Neither named nor served; who is not logged in sees nothing at all."""
    paths = (f"/models/{visitor.name}", f"/models/{visitor.name}/{NIGHT}/evidence-v1.html")
    visitor.hidden = {visitor.name}
    assert visitor.name not in visitor.get("/models")
    assert "is no model" in visitor.get(paths[0], 404)
    assert "the evidence" not in visitor.get(paths[1], 404)
    assert visitor.get(paths[0], 404).replace(visitor.name, "") == visitor.get("/models/nobody", 404).replace(
        "nobody", ""
    )
    visitor.logged_in = False
    for path in ("/models", *paths):
        assert "Log in first" in visitor.get(path, 401)


def test_only_pages_among_the_reports_of_the_night_are_served(visitor: Visitor) -> None:
    """No other file, no way out of the folder; and what is there is named."""
    night = f"/models/{visitor.name}/{NIGHT}"
    assert "Pages of that night: evidence-v1.html" in visitor.get(f"{night}/evidence-v9.html", 404)
    visitor.get(f"{night}/evidence.json", 404)
    visitor.get(f"{night}/..%2F2026-03-02%2Fevidence.html", 404)
    visitor.get(f"/models/{visitor.name}/2026-13-01/evidence.html", 422)
    visitor.get(f"/models/{visitor.name}?nights=0", 422)


def test_a_kept_page_is_in_a_sandbox_and_ours_run_no_script(visitor: Visitor) -> None:
    """A report may hold what came with the data: it gets neither the cookies of the address nor a network."""
    kept = visitor.browser.get(f"/models/{visitor.name}/{NIGHT}/evidence-v1.html")
    policy = kept.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    own = visitor.browser.get("/models").headers
    assert "script-src" not in own["content-security-policy"]
    assert own["content-security-policy"].startswith("default-src 'none'")
    assert (own["x-content-type-options"], own["cache-control"]) == ("nosniff", "no-store")


def test_a_dag_leads_to_its_model(visitor: Visitor) -> None:
    """The tab on a DAG's page; a DAG of no model leads to all of them."""
    for dag, place in ((f"training__{visitor.name}", f"/models/{visitor.name}"), ("maintenance", "/models")):
        answer = visitor.browser.get(f"/dags/{dag}")
        assert (answer.status_code, answer.headers["location"]) == (307, place)


def test_half_a_report_hides_no_other_night_and_says_so(visitor: Visitor, contenders: Contenders) -> None:
    """What cannot be read says that it cannot; a folder of somebody else, or a page as its own, disturbs nothing."""
    spec, services = contenders.spec, visitor.services
    services.storage.write_bytes(report_uri(services, spec, NIGHT, "drift.json"), b'{"verdict": "dri')
    services.storage.write_bytes(report_uri(services, spec, NIGHT, "performance.json"), b"[1]")
    services.storage.write_bytes(services.storage.uri("reports", spec.name, "notes", "mine.html"), b"hello")
    page = visitor.get(f"/models/{visitor.name}")
    assert page.count("cannot be read") == 2
    assert "version 1 passed" in page
    assert "version 2 refused" in page
