"""Experiments from start to end: ledger, routing table, nightly looks, and the promotion of a winner."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from scipy.stats import norm

from mlops.errors import ConfigError, RegistryError, SchemaError
from mlops.pipelines import ab_analysis, ab_canary, experiments, promotion
from mlops.pipelines.ab_records import ExperimentLook
from mlops.pipelines.experiment_state import ExperimentState
from mlops.records import StepReport, from_dict
from mlops.services import Services
from mlops.serving.log_writer import log_uri
from mlops.serving.routing import Assignment, assign
from mlops.serving.routing_canary import StepCounts
from mlops.serving.routing_table import read_table
from mlops.spec.experiment import ExperimentSpec
from tests.contenders import Contenders, with_clock

ROOT = Path(__file__).parents[3]
FIRST = date(2026, 3, 10)


@dataclass
class Trial:
    """Two versions of a model, an experiment between them, and a folder into which outcomes are delivered."""

    contenders: Contenders
    folder: Path
    units: int = 400

    @property
    def services(self) -> Services:
        """Of the installation."""
        return self.contenders.services

    def spec(self, **changes: Any) -> ExperimentSpec:
        """An experiment on a mean over 10 nights that promotes its winner."""
        plain: dict[str, Any] = {
            "name": "trial",
            "model": self.contenders.spec.name,
            "owner": "ann@example.com",
            "variants": [{"name": "champion", "version": "champion"}, {"name": "challenger", "version": "challenger"}],
            "metric": {"kind": "mean", "column": "gain", "minimum_effect": 0.2},
            "outcomes": {
                "source": {"kind": "csv", "uri": f"{self.folder}/{{date}}.csv"},
                "unit": "device_id",
            },
            "decision": {"days": 10, "min_units": 20, "on_win": "promote"},
        }
        for key, value in changes.items():
            plain[key] = plain[key] | value if isinstance(plain.get(key), dict) and value else value
        return ExperimentSpec.model_validate(plain)

    def start(self, **changes: Any) -> ExperimentState:
        """Start it."""
        return experiments.start(self.services, self.spec(**changes), FIRST)

    def deliver(self, night: int, effect: float = 0.0, *, seed: int = 0, drop: float = 0.0) -> None:
        """New units of a night, each with its assigned variant; `drop`: share of the treatment's that get lost."""
        route = experiments.find(self.services, "trial").route
        rng = np.random.default_rng([night, seed])
        rows = []
        for i in range(self.units):
            unit = f"d{night}-{i}"
            met: Assignment = assign(route, unit)
            treated = met.variant != route.control.name
            gain, lost = rng.normal(effect * treated, 1), rng.random()
            if not (treated and lost < drop):
                rows.append((unit, f"{FIRST + timedelta(days=night)}T10:00:00Z", met.variant, gain, rng.random()))
        names = ["device_id", "event_timestamp", "variant", "gain", "cost"]
        pd.DataFrame(rows, columns=names).to_csv(self.folder / f"{FIRST + timedelta(days=night)}.csv", index=False)

    def look(self, night: int) -> StepReport:
        """The look of a night."""
        return ab_analysis.run(self.services, self.contenders.spec, FIRST + timedelta(days=night))

    def live(self, nights: int, effect: float, **how: Any) -> list[StepReport]:
        """Nights, until it has ended."""
        answers = []
        for night in range(nights):
            self.deliver(night, effect, **how)
            answers.append(self.look(night))
            if experiments.find(self.services, "trial").status == "stopped":
                break
        return answers

    def last(self) -> ExperimentLook:
        """The newest look."""
        return experiments.find(self.services, "trial").looks[-1]


@pytest.fixture
def trial(contenders: Contenders, tmp_path: Path) -> Trial:
    """Version 1 is champion, version 2 has passed its gates."""
    models = tmp_path / "models"
    models.mkdir()
    fleet = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
    (models / f"{contenders.spec.name}.yaml").write_text(yaml.safe_dump(fleet | {"name": contenders.spec.name}))
    config = contenders.services.config.model_copy(update={"models_dir": models})
    contenders.services = with_clock(Services.open(config), contenders.services.clock)
    contenders.contender()
    promotion.run(contenders.services, contenders.spec, contenders.day(1), 1)
    contenders.contender()
    (tmp_path / "outcomes").mkdir()
    return Trial(contenders, tmp_path / "outcomes")


def champion(trial: Trial) -> int | None:
    """Who is champion."""
    return trial.services.registry.aliases(trial.contenders.spec.name).get("champion")


def test_a_start_resolves_aliases_and_routes_units(trial: Trial) -> None:
    """The ledger holds spec and versions; the routing table follows; a second start changes nothing."""
    state = trial.start()
    assert [(v.name, v.version) for v in state.variants] == [("champion", 1), ("challenger", 2)]
    assert read_table(trial.services.storage).routes == {"trial": state.route}
    entries = trial.services.ledger.entries()
    assert trial.start() == state
    assert trial.services.ledger.entries() == entries
    assert (entries[-1].kind, entries[-1].actor) == ("experiment_start", "ann")


def test_a_changed_file_does_not_touch_an_experiment_that_runs(trial: Trial) -> None:
    """Started, it keeps the spec it was started with."""
    trial.start()
    assert trial.start(decision={"alpha": 0.2}).spec.decision.alpha == 0.05


def test_a_stop_gives_units_back_and_a_new_start_deals_them_anew(trial: Trial) -> None:
    """Stopped it routes nobody; started again it is number 2, with other units in the treatment."""
    first = trial.start()
    stopped = experiments.stop(trial.services, first, reason="enough")
    assert (stopped.status, stopped.reason) == ("stopped", "enough")
    assert read_table(trial.services.storage).routes == {}
    assert experiments.stop(trial.services, first, reason="again").reason == "enough"
    second = trial.start()
    assert second.number == 2
    units = [f"u{i}" for i in range(200)]
    same = sum(assign(first.route, u).variant == assign(second.route, u).variant for u in units)
    assert 60 < same < 140


def test_experiments_that_would_share_units_do_not_run_together(trial: Trial) -> None:
    """One layer and slices that overlap are refused, slices apart are not; two layers of one model are refused."""
    trial.start(slice=(0.0, 0.5))
    for changes in ({"slice": (0.4, 1.0)}, {"layer": "other"}):
        with pytest.raises(ConfigError, match="trial and second"):
            experiments.start(trial.services, trial.spec(name="second", **changes), FIRST)
    second = experiments.start(trial.services, trial.spec(name="second", slice=(0.5, 1.0)), FIRST)
    assert set(read_table(trial.services.storage).routes) == {"trial", second.spec.name}


def test_versions_that_cannot_be_compared_are_refused(trial: Trial) -> None:
    """No challenger, an unknown version, or the same version twice: nothing is started."""
    one = {"name": "a", "version": 1}
    for other, said in (("champion", "with itself"), (99, "99"), (1, "with itself")):
        with pytest.raises(RegistryError, match=said):
            trial.start(variants=[one, {"name": "b", "version": other}])
    assert experiments.all_states(trial.services) == ()


def test_a_better_treatment_wins_and_is_promoted(trial: Trial) -> None:
    """After some nights the boundary is crossed: look, promotion, end, page, and the table is empty."""
    trial.start()
    answers = trial.live(10, 0.4)
    found = trial.last()
    assert 1 < len(answers) < 10
    assert (found.decision, found.winner, found.version) == ("winner", "challenger", 2)
    assert answers[-1].outcome == "done"
    assert (answers[-1].record["promoted"], answers[-1].record["version"]) == (True, 2)
    assert champion(trial) == 2
    state = experiments.find(trial.services, "trial")
    assert (state.status, state.winner) == ("stopped", "challenger")
    assert read_table(trial.services.storage).routes == {}
    page = trial.services.storage.read_bytes(found.report_uri).decode()
    assert "is decided" in page
    assert page.count("<svg") == 2
    assert trial.services.storage.read_json(found.report_uri.replace(".html", ".json"))["winner"] == "challenger"


def test_a_worse_treatment_loses_and_nothing_is_promoted(trial: Trial) -> None:
    """Two-sided, the lower boundary ends it, too: the control stays."""
    trial.start()
    trial.live(10, -0.4)
    assert (trial.last().decision, trial.last().winner, champion(trial)) == ("winner", "champion", 1)


def test_equal_variants_end_without_a_difference_at_the_planned_night(trial: Trial) -> None:
    """Ten nights are looked at, and the tenth is the last."""
    trial.start()
    answers = trial.live(12, 0.0, seed=1)
    assert len(answers) == 10
    assert (trial.last().decision, trial.last().spent_at, champion(trial)) == ("no_difference", 1.0, 1)
    assert [look.number for look in experiments.find(trial.services, "trial").looks] == list(range(1, 11))


def test_lower_is_better_where_the_spec_says_so(trial: Trial) -> None:
    """An outcome that falls makes the treatment win, with the interval in the outcome's own direction."""
    trial.start(metric={"better": "lower"})
    trial.live(10, -0.4)
    (effect,) = trial.last().effects
    assert (trial.last().winner, effect.crossed) == ("challenger", "above")
    assert effect.high is not None
    assert effect.effect_size < effect.high < 0


def test_a_guardrail_keeps_a_treatment_out(trial: Trial) -> None:
    """It gains, but its cost is shown to rise: the control stays."""
    trial.start(guardrails=[{"name": "gain again", "column": "gain", "better": "lower"}], decision={"days": 1})
    trial.live(1, 1.0)
    (effect,) = trial.last().effects
    assert (effect.crossed, effect.harmed) == ("above", ("gain again",))
    assert (trial.last().winner, champion(trial)) == ("champion", 1)


def test_a_night_is_looked_at_once(trial: Trial) -> None:
    """Repeated, also after its outcomes were changed, it says the same and adds no entry; an earlier night is not
    looked at afterwards."""
    trial.start()
    trial.deliver(0)
    trial.deliver(1)
    first = trial.look(1)
    entries = trial.services.ledger.entries()
    trial.deliver(1, effect=3.0)
    assert trial.look(1) == first
    assert trial.services.ledger.entries() == entries
    assert trial.look(0).outcome == "cannot_tell"
    assert "already" in trial.look(0).reason
    assert trial.services.ledger.entries() == entries


def test_a_kill_between_look_and_promotion_is_finished_by_the_retry(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after the look was written: the retry promotes and stops, without another look."""
    trial.start()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ab_analysis, "_follow", killed)
        for night in range(3):
            trial.deliver(night, 1.0)
        with pytest.raises(KeyboardInterrupt):
            trial.look(2)
    assert (trial.last().decision, champion(trial)) == ("winner", 1)
    looks = len(experiments.find(trial.services, "trial").looks)
    assert trial.look(2).record["promoted"]
    assert champion(trial) == 2
    state = experiments.find(trial.services, "trial")
    assert (state.status, len(state.looks)) == ("stopped", looks)
    again = trial.look(2)
    assert (again.outcome, champion(trial)) == ("done", 2)


def test_lost_units_make_it_invalid(trial: Trial) -> None:
    """A third of the treatment's units never arrive: mismatch, stopped without a winner, an incident."""
    trial.start()
    answers = trial.live(10, 0.0, drop=0.33)
    assert answers[-1].outcome == "no"
    assert trial.last().decision == "invalid"
    assert "shares are not those that were assigned" in trial.last().reason
    assert (experiments.find(trial.services, "trial").status, champion(trial)) == ("stopped", 1)
    (incident,) = trial.services.alerts.list_incidents(trial.contenders.spec.name)
    assert incident.kind == "experiment_trial"


def test_units_that_met_what_they_were_not_assigned_make_it_invalid(trial: Trial) -> None:
    """Rows whose variant is not what the digest says betray a broken log or another router."""
    trial.start()
    trial.deliver(0)
    path = trial.folder / f"{FIRST}.csv"
    rows = pd.read_csv(path)
    rows.loc[:9, "variant"] = rows.loc[:9, "variant"].map({"champion": "challenger", "challenger": "champion"})
    rows.to_csv(path, index=False)
    trial.look(0)
    assert trial.last().decision == "invalid"
    assert "10 units met a variant that they were not assigned" in trial.last().reason


def test_a_few_units_that_met_something_else_count_as_assigned(trial: Trial) -> None:
    """Where the champion stood in for a moment nobody is left out: shares and effect are by assignment."""
    trial.start()
    trial.deliver(0)
    path = trial.folder / f"{FIRST}.csv"
    rows = pd.read_csv(path)
    due = rows["variant"].value_counts().to_dict()
    rows.loc[rows.index[rows["variant"] == "challenger"][:3], "variant"] = "stand-in"
    rows.to_csv(path, index=False)
    trial.look(0)
    assert trial.last().units == due
    assert trial.last().decision == "continue"


def test_rows_from_before_every_process_knew_do_not_count(trial: Trial) -> None:
    """Started at noon, the morning's rows and those of the first minutes are left out; of other dates nothing is."""
    noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
    trial.contenders.services = with_clock(Services.open(trial.services.config), lambda: noon)
    trial.start()
    trial.deliver(0)  # rows of ten o'clock
    assert trial.look(0).outcome == "cannot_tell"
    path = trial.folder / f"{FIRST}.csv"
    pd.read_csv(path).assign(event_timestamp=f"{FIRST}T12:04:00Z").to_csv(path, index=False)
    assert trial.look(0).outcome == "cannot_tell"
    pd.read_csv(path).assign(event_timestamp=f"{FIRST}T12:06:00Z").to_csv(path, index=False)
    assert trial.look(0).outcome == "done"
    assert sum(trial.last().units.values()) == trial.units


def test_too_little_is_no_look_and_spends_nothing(trial: Trial) -> None:
    """No rows, or too few units: cannot tell, no entry; the night after looks for the first time."""
    trial.start()
    assert trial.look(0).outcome == "cannot_tell"
    trial.units = 10
    trial.deliver(0)
    assert "20 are needed" in trial.look(0).reason
    assert experiments.find(trial.services, "trial").looks == ()
    trial.units = 400
    trial.deliver(1)
    assert trial.look(1).record["looks"][0]["number"] == 1


def test_no_experiment_is_nothing_to_do(trial: Trial) -> None:
    """Neither before the start nor for canaries."""
    assert trial.look(0).outcome == "nothing_to_do"


def test_a_column_that_is_not_there_is_told(trial: Trial) -> None:
    """With the one that was probably meant."""
    trial.start(metric={"column": "gian"})
    trial.deliver(0)
    with pytest.raises(SchemaError, match="Did you mean 'gain'"):
        trial.look(0)


@pytest.mark.parametrize(
    "metric",
    [
        {"kind": "proportion", "column": "gain"},
        {"kind": "ratio", "column": "gain", "denominator": "cost"},
        {"kind": "mean", "column": "gain", "covariate": "cost"},
        {
            "kind": "ratio",
            "column": "gain",
            "denominator": "cost",
            "covariate": "cost",
            "covariate_denominator": "cost",
        },
    ],
)
def test_every_kind_of_metric_is_looked_at(trial: Trial, metric: dict[str, Any]) -> None:
    """Proportions, ratios and covariates come through to an effect with an interval or a boundary to come."""
    trial.start(metric=metric)
    for night in range(4):
        trial.deliver(night)
    look = from_dict(ExperimentLook, trial.look(3).record["looks"][0])
    (effect,) = look.effects
    assert look.number == 1
    assert 0 <= effect.pvalue <= 1
    assert sum(look.units.values()) == 4 * trial.units


def test_looks_hold_the_promised_error_rate(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole path on equal variants in 80 worlds of 5 nights: no more are decided than 5 % explain."""
    from mlops.pipelines.ab_judging import judge
    from mlops.pipelines.ab_outcomes import Outcomes

    state = trial.start(decision={"days": 5})
    rng, decided = np.random.default_rng(7), 0
    for _ in range(80):
        now, frames = state, []
        for night in range(5):
            variant = np.where(rng.random(200) < 0.5, "champion", "challenger")
            gain = rng.normal(size=200)
            part = pd.DataFrame({"variant": variant, "gain": gain, "gain:max": gain, "gain:rows": 1})
            frames.append(part)
            day = FIRST + timedelta(days=night)
            found = judge(now, Outcomes(pd.concat(frames), 0, FIRST, day), day)
            now = ExperimentState(
                **{f: getattr(now, f) for f in now.__dataclass_fields__} | {"looks": (*now.looks, found)}
            )
            if found.decision == "winner":
                decided += 1
                break
    assert decided <= 11  # P(Binomial(80, .05) > 11) = .001


def test_several_treatments_share_alpha(trial: Trial) -> None:
    """With two treatments, each has the boundary of half of alpha; the better one wins."""
    trial.contenders.register()
    extra = [{"name": "champion", "version": 1}, {"name": "b", "version": 2}, {"name": "c", "version": 3}]
    trial.start(variants=extra, decision={"days": 1, "on_win": "report"})
    trial.deliver(0, 0.8)
    trial.look(0)
    look = trial.last()
    assert [effect.bound for effect in look.effects] == pytest.approx([norm.isf(0.0125)] * 2, abs=1e-6)
    best = max(look.effects, key=lambda effect: effect.statistic)
    assert (look.decision, look.winner, champion(trial)) == ("winner", best.variant, 1)


def test_a_canary_grows_by_ledger_entries_and_is_taken_back(trial: Trial) -> None:
    """Its weights are the step's; errors end it, and the champion answers everybody."""
    state = trial.start(kind="canary", metric=None, canary={"steps": [0.1, 0.5], "min_units": 50})
    assert [v.weight for v in state.variants] == [0.9, 0.1]
    first = StepCounts(0.1, (900, 100))
    grown, decision = experiments.observe(trial.services, "trial", [first])
    assert (decision.action, grown.step, [v.weight for v in grown.variants]) == ("advance", 1, [0.5, 0.5])
    assert read_table(trial.services.storage).routes["trial"] == grown.route
    with pytest.raises(ConfigError, match="at step 2"):
        experiments.observe(trial.services, "trial", [first])
    bad = StepCounts(0.5, (200, 200), errors=(2, 60))
    ended, decision = experiments.observe(trial.services, "trial", [first, bad])
    assert (decision.action, ended.status, ended.winner) == ("rollback", "stopped", "champion")
    assert read_table(trial.services.storage).routes == {}


def test_a_bandit_starts_with_its_arms(trial: Trial) -> None:
    """Its state is there, with the variants as arms."""
    trial.start(kind="bandit")
    assert list(trial.services.bandits.state("trial/1").arms) == ["champion", "challenger"]


def test_a_bandit_learns_every_night_and_shifts_units_to_the_better_arm(trial: Trial) -> None:
    """Rewards are better under the challenger: its share grows, the floor stays, a repeated night is the same."""
    trial.start(kind="bandit", bandit={"kind": "thompson_gaussian", "floor": 0.1})
    for night in range(3):
        trial.deliver(night, 0.5)
        assert trial.look(night).outcome == "done"
    state = experiments.find(trial.services, "trial")
    weights = {variant.name: variant.weight for variant in state.variants}
    assert 0.08 <= weights["champion"] <= 0.13
    assert trial.services.bandits.state("trial/1").rewards == 3 * trial.units
    assert read_table(trial.services.storage).routes["trial"] == state.route
    entries = trial.services.ledger.entries()
    assert trial.look(2).outcome == "done"
    assert trial.look(3).outcome == "cannot_tell"
    assert trial.services.ledger.entries() == entries
    assert entries[-1].kind == "experiment_step"
    trial.deliver(1, 0.5, seed=9)  # corrected later: a reward counts as it was first told
    trial.deliver(3, 0.5)
    assert trial.look(3).outcome == "done"
    assert trial.services.bandits.state("trial/1").rewards == 4 * trial.units


def with_answers(trial: Trial, night: int, *, errors: float = 0.01, slow: float = 0.01, shift: float = 0.0) -> None:
    """Answers of a night of a canary: of the treatment so many errors and slow ones, and scores moved."""
    trial.deliver(night)
    path = trial.folder / f"{FIRST + timedelta(days=night)}.csv"
    rows = pd.read_csv(path)
    rng, treated = np.random.default_rng(night), (rows["variant"] == "challenger").to_numpy()
    rows["error"] = (rng.random(len(rows)) < np.where(treated, errors, 0.01)).astype(int)
    rows["latency_ms"] = np.where(rng.random(len(rows)) < np.where(treated, slow, 0.01), 500.0, 5.0)
    rows["score"] = rng.normal(np.where(treated, shift, 0.0), 1)
    rows.to_csv(path, index=False)


CANARY = {"steps": [0.2, 0.5], "min_units": 100}


def test_a_canary_that_harms_nothing_grows_night_by_night_and_is_promoted(trial: Trial) -> None:
    """Enough units a step: on to the next; after the last one the winner goes through the normal promotion."""
    trial.start(kind="canary", metric=None, canary=CANARY)
    told = []
    for night in range(8):
        with_answers(trial, night)
        answer = trial.look(night)
        state = experiments.find(trial.services, "trial")
        told.append(state.variants[1].weight)
        if state.status == "stopped":
            break
        assert trial.look(night).outcome == answer.outcome
    assert told[0] == 0.2
    assert told[-1] == 0.5
    assert (answer.record["promoted"], answer.record["version"], champion(trial)) == (True, 2, 2)
    kinds = [entry.kind for entry in trial.services.ledger.entries() if entry.kind.startswith("experiment")]
    assert kinds == ["experiment_start", "experiment_step", "experiment_stop"]


@pytest.mark.parametrize("harm", [{"errors": 0.4}, {"slow": 0.4}, {"shift": 3.0}])
def test_a_canary_that_harms_is_taken_back_and_told(trial: Trial, harm: dict[str, float]) -> None:
    """Errors, slow answers or other scores end it within nights; the champion stays, and there is an incident."""
    trial.start(kind="canary", metric=None, canary=CANARY)
    for night in range(4):
        with_answers(trial, night, **harm)
        trial.look(night)
        if experiments.find(trial.services, "trial").status == "stopped":
            break
    state = experiments.find(trial.services, "trial")
    assert (state.status, state.winner, champion(trial)) == ("stopped", "champion", 1)
    assert "is taken back" in state.reason
    (incident,) = trial.services.alerts.list_incidents(trial.contenders.spec.name)
    assert "canary trial was stopped" in incident.summary


def test_a_canary_that_harms_is_taken_back_while_the_day_is_under_way(trial: Trial) -> None:
    """Watched again and again a harmless one changes nothing, not even its step; one that harms ends at once."""
    trial.start(kind="canary", metric=None, canary=CANARY)
    spec = trial.contenders.spec
    with_answers(trial, 0)
    entries = trial.services.ledger.entries()
    assert [ab_analysis.watch(trial.services, spec, FIRST).outcome for _ in range(3)] == ["done"] * 3
    assert trial.services.ledger.entries() == entries
    with_answers(trial, 0, errors=0.5)
    answer = ab_analysis.watch(trial.services, spec, FIRST)
    assert (answer.outcome, answer.exit_code) == ("no", 3)
    assert read_table(trial.services.storage).routes == {}
    assert len(trial.services.alerts.list_incidents(spec.name)) == 1
    assert ab_analysis.watch(trial.services, spec, FIRST).outcome == "nothing_to_do"


def test_a_canary_that_does_not_answer_is_seen_in_the_prediction_log(trial: Trial) -> None:
    """Without a table of outcomes, no score in the log is an error: a treatment that fails is taken back."""
    services, spec = trial.services, trial.contenders.spec
    canary = {"steps": [0.5], "min_units": 100}
    route = trial.start(kind="canary", metric=None, canary=canary, outcomes={"source": None, "unit": ""}).route
    when, rows = pd.Timestamp(FIRST, tz="UTC") + pd.Timedelta(hours=8), []
    for i in range(300):
        met = assign(route, f"d{i}")
        score = None if met.variant == "challenger" and i % 4 == 0 else 0.5
        rows.append((f"r{i}", 0, when, met.version, met.variant, f"d{i}", when, 900.0, score, None, None))
    names = ["request_id", "row", "predicted_at", "model_version", "variant", spec.entity, "event_timestamp"]
    table = pd.DataFrame(rows, columns=[*names, "latency_us", "score", "flag", "label"])
    uri = f"{log_uri(services.storage, spec.name)}/date={FIRST}/one"
    services.storage.write_table(uri, pa.Table.from_pandas(table, preserve_index=False))
    (step,) = ab_canary.counts(services, spec, experiments.find(services, "trial"), FIRST)
    silent = sum(row[8] is None for row in rows)
    assert step.errors == (0, silent)
    assert silent > 20
    answer = ab_analysis.watch(services, spec, FIRST)
    assert (answer.outcome, "errors" in answer.reason) == ("no", True)


def test_a_unit_counts_in_the_step_in_which_it_came_first(trial: Trial) -> None:
    """Units of the first step that come again in the second are not counted again, whatever they meet there."""
    trial.start(kind="canary", metric=None, canary=CANARY)
    for night in range(2):
        with_answers(trial, night)
        trial.look(night)
    state = experiments.find(trial.services, "trial")
    assert state.step == 1
    again = pd.concat([pd.read_csv(path) for path in sorted(trial.folder.glob("*.csv"))]).assign(error=1)
    again["event_timestamp"] = f"{FIRST + timedelta(days=2)}T10:00:00Z"
    again.to_csv(trial.folder / f"{FIRST + timedelta(days=2)}.csv", index=False)
    first, second = ab_canary.counts(trial.services, trial.contenders.spec, state, FIRST + timedelta(days=2))
    assert sum(first.units) == 2 * trial.units
    assert (second.units, second.errors) == ((0, 0), (0, 0))


def test_a_one_sided_experiment_has_its_picture_and_an_open_end(trial: Trial) -> None:
    """Only better is a finding: the interval ends below alone, and the page draws it up to the estimate."""
    trial.start(decision={"sides": 1, "days": 1})
    trial.live(1, 0.6)
    (effect,) = trial.last().effects
    assert effect.low is not None
    assert (effect.high, trial.last().winner) == (None, "challenger")
    page = trial.services.storage.read_bytes(trial.last().report_uri).decode()
    assert page.count('class="dot"') == 2
    assert "open" in page


def test_the_prediction_log_is_where_outcomes_come_from_by_default(trial: Trial) -> None:
    """Logged answers, joined with the labels that have matured: each device's rightly judged rows are compared."""
    services, spec = trial.services, trial.contenders.spec
    route = trial.start(outcomes={"source": None, "unit": ""}, metric={"column": "correct"}).route
    rng = np.random.default_rng(3)
    rows, truth = [], []
    for i in range(300):
        met, bad = assign(route, f"d{i}"), bool(rng.random() < 0.5)
        right = rng.random() < (0.9 if met.variant == "challenger" else 0.6)
        when = pd.Timestamp(FIRST, tz="UTC") + pd.Timedelta(minutes=i)
        rows.append((f"r{i}", 0, when, met.version, met.variant, f"d{i}", when, 900.0, 0.5, bad == right, None))
        truth.append((f"d{i}", when, when, float(bad)))
    for request, devices in (("batch", ["d1000", "d1001", "d1002"]), ("nobody", [None])):
        met = assign(route, devices[0] or request)  # a request meets one variant, by its first row
        rows += [
            (request, i, when, met.version, met.variant, device, when, 900.0, 0.5, True, None)
            for i, device in enumerate(devices)
        ]
    names = ["request_id", "row", "predicted_at", "model_version", "variant", spec.entity, "event_timestamp"]
    table = pd.DataFrame(rows, columns=[*names, "latency_us", "score", "flag", "label"])
    uri = f"{log_uri(services.storage, spec.name)}/date={FIRST}/one"
    services.storage.write_table(uri, pa.Table.from_pandas(table, preserve_index=False))
    assert spec.label is not None
    assert spec.label.source is not None
    inbox = Path(spec.label.source.uri.replace("{date}", str(FIRST)))
    inbox.parent.mkdir(parents=True, exist_ok=True)
    labels = pd.DataFrame(truth, columns=[spec.entity, "event_timestamp", "labelled_at", "is_anomaly"])
    labels.to_parquet(inbox)
    assert trial.look(0).outcome == "cannot_tell"  # labels mature a day later
    answer = trial.look(2)
    (effect,) = from_dict(ExperimentLook, answer.record["looks"][0]).effects
    assert effect.effect_size == pytest.approx(0.3, abs=0.12)
    assert answer.record["looks"][0]["decision"] != "invalid"
    assert sum(answer.record["looks"][0]["units"].values()) == 302
    assert effect.units <= answer.record["looks"][0]["units"]["challenger"] <= effect.units + 2


def test_the_table_is_brought_up_to_the_ledger(trial: Trial) -> None:
    """Lost or behind, it is written anew from the entries."""
    state = trial.start()
    trial.services.storage.delete(trial.services.storage.uri("routing"))
    experiments.publish(trial.services)
    assert json.loads(trial.services.storage.read_bytes(trial.services.storage.uri("routing", "table.json")))
    assert read_table(trial.services.storage).routes == {"trial": state.route}
