"""The compose file, the image and their settings: that the wiring holds. No Docker is needed to read them."""

from __future__ import annotations

import http.server
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.config import MLOpsConfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"^[a-z./-]+:(\d+\.\d+(\.\d+)?-[a-z]+(-[a-z]+)?|v?\d+\.\d+\.\d+)$")


def _compose_command() -> list[str]:
    """Compose from version 2 on, as Docker's plugin or as a program of its own; empty if there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            version = re.match(r"v?(\d+)\.", asked.stdout)  # some commands without the plugin print their help instead
            if asked.returncode == 0 and version and int(version[1]) >= 2:
                return command
    return []


COMPOSE_COMMAND = _compose_command()


def _module(path: Path) -> Any:
    """A file of deploy/, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _settings(text: str) -> dict[str, str]:
    """The assignments of an .env file."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_all_parts_of_the_platform_are_there() -> None:
    """Airflow's processes with Celery, MLflow, PostgreSQL, Redis and what watches over them; nothing else."""
    airflow = {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
    watching = {"metrics", "prometheus", "alertmanager", "grafana"}
    assert set(SERVICES) == airflow | watching | {"mlflow", "postgres", "redis", "serving"}


def test_every_service_waits_for_services_that_exist_and_say_that_they_are_well() -> None:
    """A condition on health needs a health check; one on completion needs a service that ends."""
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for the health of {other}"
            else:
                assert (wait["condition"], SERVICES[other]["restart"]) == ("service_completed_successfully", "no")


def test_every_service_that_stays_has_a_health_check_and_is_restarted() -> None:
    """Only the one that prepares the database ends by itself."""
    for name, service in SERVICES.items():
        if name != "airflow-init":
            assert service["healthcheck"]["test"][0] == "CMD", name
            assert service["restart"] == "unless-stopped", name


def test_images_are_pinned() -> None:
    """Foreign images and the base image name an exact version; our own is built here."""
    for name, service in SERVICES.items():
        assert "build" in service or PINNED.match(service["image"]), name
    base = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert [bool(PINNED.match(image)) for image in base] == [True]


def test_every_variable_is_made_and_explained_by_make_env() -> None:
    """No `${NAME}` of the compose file is unknown to it, and none of its own is unused."""
    text = _module(ROOT / "deploy" / "compose" / "make_env.py").environment()
    used = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    assert used == set(_settings(text))
    assert text.count("# ") >= len(used) - 1


def test_required_secrets_have_no_default_and_are_new_each_time() -> None:
    """A forgotten secret stops compose; two installations share none; a password fits into a URL."""
    required = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    make = _module(ROOT / "deploy" / "compose" / "make_env.py")
    one, two = _settings(make.environment()), _settings(make.environment())
    assert required == {name for name in one if one[name] != two[name]}
    assert re.fullmatch(r"[0-9a-f]{32}", one["POSTGRES_PASSWORD"])
    assert not set(re.findall(r"\$\{([A-Z_]+):-", TEXT)) & required


def test_only_the_uis_are_published_and_only_on_loopback() -> None:
    """Databases and brokers are reachable inside alone."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"api-server", "mlflow", "grafana", "serving"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_what_prometheus_scrapes_are_services_that_listen_there() -> None:
    """Each job asks a service at the port of its command; a service is told well by whether it lives."""
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    for target in (target for job in jobs for each in job["static_configs"] for target in each["targets"]):
        name, _, port = target.partition(":")
        assert {"--host=0.0.0.0", f"--port={port}"} <= set(SERVICES[name]["command"])
    assert SERVICES["serving"]["healthcheck"]["test"][-1].endswith("/health/live")


def test_databases_named_in_urls_are_made() -> None:
    """Every database of a PostgreSQL URL is the image's own or stands in databases.sql."""
    urls = set(re.findall(r"@postgres:5432/([a-z]+)", TEXT))
    made = set(
        re.findall(r"CREATE DATABASE (\w+);", (ROOT / "deploy/compose/databases.sql").read_text(encoding="utf-8"))
    )
    assert urls == made | {SERVICES["postgres"]["environment"]["POSTGRES_DB"]}


def test_hosts_in_addresses_are_services() -> None:
    """No URL leads to a service that is not there; MLflow allows the name it is called by."""
    hosts = set(re.findall(r"(?://|@|FEAST_REDIS: )([a-z][a-z-]*):\d+", TEXT)) - {"localhost"}
    assert hosts == {"postgres", "redis", "mlflow", "api-server"}
    allowed = next(part for part in SERVICES["mlflow"]["command"] if part.startswith("--allowed-hosts="))
    assert SERVICES["worker"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://") in allowed


def test_what_watches_finds_what_it_watches() -> None:
    """Prometheus scrapes and alerts services that are there, on their ports; Grafana asks that Prometheus."""
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    targets = {t for job in prometheus["scrape_configs"] for group in job["static_configs"] for t in group["targets"]}
    assert targets == {"metrics:9108", "serving:8000"}
    assert "--port=9108" in SERVICES["metrics"]["command"]
    (alerting,) = prometheus["alerting"]["alertmanagers"]
    assert alerting["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    (source,) = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8")
    )["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/mlops.yaml").read_text(encoding="utf-8")
    )["providers"]
    folder = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]


def test_files_that_services_use_are_in_the_image_or_mounted() -> None:
    """Every /opt/mlops/… path of a command is copied by the Dockerfile and let in by .dockerignore."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE) for name in line.split()[:-1]}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert copied == let_in
    for path in re.findall(r"/opt/mlops/((?:deploy|dags|plugins)[\w./-]*)", TEXT):
        assert (ROOT / path).exists()
        assert path.partition("/")[0] in copied
    for volume in (v for service in SERVICES.values() for v in service["volumes"]):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).exists()


def test_production_settings_load_with_what_compose_sets() -> None:
    """The worker's environment gives a whole configuration: no variable of production.yaml is missing."""
    environ = {
        key: re.sub(r"\$\{\w+:?[-?]?([^}]*)\}", r"\1", str(v)) for key, v in SERVICES["worker"]["environment"].items()
    }
    config = MLOpsConfig.load(environ | {"MLOPS_HOME": str(ROOT)})
    assert (config.env, config.var, str(config.state_dir)) == ("production", "/opt/mlops/var", "/opt/mlops/var")
    assert config.tracking_uri == "http://mlflow:5000"
    assert config.ledger_url.startswith("postgresql+psycopg://mlops:")
    assert (ROOT / "feature_repo" / config.feature_store_yaml).exists()
    config.expand((ROOT / "feature_repo" / config.feature_store_yaml).read_text(encoding="utf-8"))


def test_embedded_settings_change_nothing() -> None:
    """The file documents the defaults; it sets none, so that it can be deleted."""
    lines = (ROOT / "config/settings/embedded.yaml").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") for line in lines if line.strip())
    named = {match.group(1) for line in lines if (match := re.match(r"# ([a-z_]+): ", line))}
    assert named <= set(MLOpsConfig.model_fields)


def _schema_refuses(file: Path, schema: str) -> str:
    """What the published schema of that name has against a file; empty if nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, "--verbose", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr


def test_the_compose_specification_accepts_the_file() -> None:
    """The published schema knows every key and the type of every value."""
    assert _schema_refuses(ROOT / "docker-compose.yaml", "vendor.compose-spec") == ""


@pytest.mark.parametrize(
    ("given", "mistyped", "words"),
    [
        ("    stop_grace_period: 2m", "    stop_grace_periot: 2m", "stop_grace_periot"),
        ("      interval: 30s", "      intervall: 30s", "intervall"),
        ("      condition: service_healthy", "      condition: service_fine", "service_fine"),
        ("    restart: unless-stopped", "    restart: [unless-stopped]", "restart"),
    ],
)
def test_the_compose_specification_refuses_what_is_mistyped(
    tmp_path: Path, given: str, mistyped: str, words: str
) -> None:
    """A key or value that compose would stop at is found without compose."""
    assert given in TEXT
    (tmp_path / "docker-compose.yaml").write_text(TEXT.replace(given, mistyped), encoding="utf-8")
    assert words in _schema_refuses(tmp_path / "docker-compose.yaml", "vendor.compose-spec")


def test_the_published_schema_accepts_the_workflow_of_ci() -> None:
    """So that a mistyped key is found before a push."""
    assert _schema_refuses(ROOT / ".github" / "workflows" / "ci.yml", "vendor.github-workflows") == ""


def test_compose_accepts_the_file_with_what_make_env_writes(tmp_path: Path) -> None:
    """Values are filled in as compose does it, by compose itself where it is installed: the schema takes the result."""
    text = _module(ROOT / "deploy" / "compose" / "make_env.py").environment()
    if COMPOSE_COMMAND:
        (tmp_path / ".env").write_text(text)
        given = ["--file", str(ROOT / "docker-compose.yaml"), "--env-file", str(tmp_path / ".env")]
        run = subprocess.run([*COMPOSE_COMMAND, *given, "config"], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert "is not set" not in run.stderr  # a variable; what else a version of Compose warns of is its own affair
        filled = run.stdout
    else:
        filled = _filled(TEXT, _settings(text))
    assert "${" not in filled
    (tmp_path / "filled.yaml").write_text(filled, encoding="utf-8")
    assert _schema_refuses(tmp_path / "filled.yaml", "vendor.compose-spec") == ""
    assert set(yaml.safe_load(filled)["services"]) == set(SERVICES)


def test_a_missing_secret_stops_compose() -> None:
    """The rules of filling in: a value, a default for an empty one, an error for one that is required."""
    assert _filled("${A:-x} ${B:-x} ${A:?}", {"A": "1", "B": ""}) == "1 x 1"
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        _filled(TEXT, {})


def _filled(text: str, values: dict[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?message}` filled in; comments, which may show others, left out."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        found = values.get(name, "")
        if not found and operator != ":-":
            raise KeyError(name)
        return found or rest

    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"\$\{([A-Z_]+)(:[-?])?([^}]*)\}", value, "\n".join(lines))


@pytest.fixture
def server() -> Any:
    """A service that reports one healthy and one unhealthy component; yields its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 500)
            self.end_headers()
            self.wfile.write(json.dumps({"scheduler": {"status": "healthy"}, "triggerer": {"status": None}}).encode())

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_a_health_check_believes_only_what_is_said_to_be_healthy(server: str) -> None:
    """Answering is not enough for a component: it must be reported as healthy; an error or silence is not well."""
    is_healthy = _module(ROOT / "deploy" / "compose" / "health.py").is_healthy
    assert is_healthy(f"http://{server}/health")
    assert is_healthy(f"http://{server}/health", "scheduler")
    assert not is_healthy(f"http://{server}/health", "triggerer")
    assert not is_healthy(f"http://{server}/health", "dag_processor")
    assert not is_healthy(f"http://{server}/broken")
    assert is_healthy(f"tcp://{server}")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not is_healthy(f"tcp://127.0.0.1:{unused.getsockname()[1]}")
        assert not is_healthy(f"http://127.0.0.1:{unused.getsockname()[1]}/health")
