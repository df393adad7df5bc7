"""`mlops incidents`: what people read of incidents, and what they do about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import ConfigError, IncidentError
from mlops.services import Services
from tests.plant import DAY, Plant, mlops, opened
from tests.receivers import http_receiver


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """An installation with one model, one delivery of which broke its contract."""
    made = opened(tmp_path, monkeypatch)
    made.refused()
    return made


def shown(reference: str = "pumps/quarantine") -> dict[str, Any]:
    """What `show --json` says."""
    found: dict[str, Any] = json.loads(mlops("incidents", "show", reference, "--json").stdout)
    return found


def test_a_broken_delivery_is_listed_shown_and_over_when_a_good_one_comes(plant: Plant) -> None:
    """What it means, what goes on, what to do, whose it is; released, it is gone from the list."""
    listed = mlops("incidents", "list")
    assert (listed.exit_code, "quarantine" in listed.stdout, "heat" in listed.stdout) == (0, True, True)
    told = mlops("incidents", "show", "1").stdout
    for words in ("What it means", "What goes on", "The champion stays", "What to do", "team@example.com", str(DAY)):
        assert words in told
    assert shown()["owner"] == "team@example.com"
    plant.deliver()
    assert plant.ingest().outcome == "done"
    assert mlops("incidents", "list").stdout == "No incident is open.\n"
    assert json.loads(mlops("incidents", "list", "pumps", "--all", "--json").stdout)[0]["state"] == "resolved"
    assert [act["what"] for act in shown()["history"]] == ["opened", "resolved"]


def test_people_act_under_their_name_and_say_why(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledge, silence, resolve: state, name and reason are kept; the same again says so and ends well."""
    answer = mlops("incidents", "ack", "1", "--reason", "on it")
    assert (answer.exit_code, answer.stdout) == (0, "1  pumps/quarantine: acknowledged. ann looks after it.\n")
    monkeypatch.setenv("MLOPS_ACTOR", "bob")
    assert mlops("incidents", "ack", "1").stdout.endswith("Somebody does already.\n")
    words = ("--until", "2999-01-01", "--reason", "pumps are replaced", "--json")
    silenced = json.loads(mlops("incidents", "silence", "1", *words).stdout)
    assert (silenced["state"], silenced["by"], silenced["note"]) == ("silenced", "bob", "pumps are replaced")
    assert mlops("incidents", "resolve", "1").stdout.endswith("resolved. It is over.\n")
    assert mlops("incidents", "resolve", "1").stdout.endswith("It was over.\n")
    assert [(act["what"], act["by"]) for act in shown()["history"]] == [
        ("opened", ""), ("acknowledged", "ann"), ("silenced until 2999-01-01", "bob"), ("resolved", "bob"),
    ]  # fmt: skip


def test_what_is_wrong_is_an_error(plant: Plant) -> None:
    """An unknown incident, a model that is none, a silence without reason, end or with a past one."""
    assert isinstance(mlops("incidents", "show", "7").exception, IncidentError)
    assert "Did you mean 'pumps/quarantine'" in str(mlops("incidents", "ack", "pumps/quarantin").exception)
    assert isinstance(mlops("incidents", "list", "pump").exception, ConfigError)
    assert mlops("incidents", "silence", "1", "--until", "2999-01-01").exit_code == 2
    assert mlops("incidents", "silence", "1", "--until", "soon", "--reason", "x").exit_code == 2
    past = mlops("incidents", "silence", "1", "--until", "2020-01-01", "--reason", "x")
    assert isinstance(past.exception, IncidentError)
    assert shown()["state"] == "open"


def test_deliver_ends_with_3_until_a_channel_takes_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step went on without it; `status` and `show` say what nobody has been told; then it is told."""
    monkeypatch.setattr("mlops.monitoring.alerts.PAUSES", ())
    monkeypatch.setenv("HOOK_KEY", "k")
    with http_receiver() as receiver:
        hook = {"hook": {"type": "webhook", "url": receiver.url, "secret": "${HOOK_KEY}"}}
        monkeypatch.setenv("MLOPS_CHANNELS", json.dumps(hook))
        plant = opened(tmp_path, monkeypatch, alerts={"channels": ["log", "hook"]})
        receiver.answers = [(503, "down")] * 2
        plant.refused()
        assert [(left["channel"], left["attempts"]) for left in shown()["not_told_yet"]] == [("hook", 1)]
        waits = mlops("incidents", "deliver")
        assert (waits.exit_code, waits.stdout) == (3, "0 told, 1 still to be told.\n")
        monkeypatch.setenv("MLOPS_CLOCK_OFFSET_SECONDS", "100")
        waits = mlops("incidents", "deliver")
        assert (waits.exit_code, "503" in waits.stdout) == (3, True)
        monkeypatch.setenv("MLOPS_CLOCK_OFFSET_SECONDS", "1000")
        assert (mlops("incidents", "deliver").exit_code, shown()["not_told_yet"]) == (0, [])
        assert len(receiver.requests) == 3


def test_channels_of_the_settings_reach_airflows_tasks_without_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings as an environment variable says them are the same settings; the secret is looked up there."""
    from mlops.airflow_settings import airflow_environment
    from mlops.config import MLOpsConfig

    monkeypatch.setenv("CHAT_URL", "https://hooks.example.com/T0/very-secret")
    monkeypatch.setenv("MLOPS_CHANNELS", "chat: {type: slack, url: '${CHAT_URL}'}")
    plant = opened(tmp_path, monkeypatch)
    written = airflow_environment(plant.services.config)
    assert "very-secret" not in written["MLOPS_CHANNELS"]
    again = MLOpsConfig.load({"MLOPS_HOME": str(tmp_path), "MLOPS_CHANNELS": written["MLOPS_CHANNELS"]})
    assert again.channels == plant.services.config.channels == {"chat": {"type": "slack", "url": "${CHAT_URL}"}}
    monkeypatch.setenv("MLOPS_CHANNELS", "chat: {type: slack, url: 'https://hooks.example.com/T0/very-secret'}")
    with pytest.raises(ConfigError, match="is secret"):
        Services.open()
