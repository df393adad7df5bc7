"""Settings of one installation: where state lives and which adapters are used.

Precedence: environment variables `MLOPS_*`, then `config/settings/<environment>.yaml`, then the embedded defaults,
which need no server, no Docker and no account and keep all state under `var/`.

One rule: this module is the only reader of environment variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from mlops.channel_settings import channel_settings
from mlops.deployment_settings import DeploymentSettings, deployment_settings
from mlops.errors import ConfigError, did_you_mean

_PREFIX = "MLOPS_"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class MLOpsConfig(BaseModel):
    """Settings of one installation. Every field `x` can be set by the environment variable `MLOPS_X`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(description="Root of the repository: holds config/, feature_repo/ and dags/.")
    env: str = Field("embedded", description="Name of the settings file config/settings/<env>.yaml.")
    var: str = Field(
        "", description="URI of tables and artifacts: a local path or s3://bucket/prefix. Default: <home>/var."
    )
    state_dir: Path = Field(Path(), description="Local folder of SQLite files and process ids. Default: var, if local.")
    models_dir: Path = Field(Path(), description="Folder of model specs. Default: <home>/config/models.")
    experiments_dir: Path = Field(
        Path(), description="Folder of experiments (docs/ab.md). Default: <home>/config/experiments."
    )
    feature_repo: Path = Field(Path(), description="Folder of the Feast repository. Default: <home>/feature_repo.")
    feature_store_yaml: str = Field("feature_store.yaml", description="Feast configuration, within feature_repo.")
    tracking_uri: str = Field("", description="MLflow tracking and registry. Default: SQLite in state_dir.")
    artifact_uri: str = Field("", description="Root of MLflow artifacts. Default: <state_dir>/mlflow/artifacts.")
    ledger_url: str = Field("", description="SQLAlchemy URL of the ledger. Default: SQLite in state_dir.")
    labels_url: str = Field(
        "", description="SQLAlchemy URL of the label store. Default: the ledger's database, or SQLite in state_dir."
    )
    keys_dir: Path = Field(Path(), description="Keys that sign versions and are trusted. Default: state_dir/keys.")
    signing_key_file: Path = Field(Path(), description="Private key that signs. Default: <keys_dir>/signing.key.")
    create_keys: bool = Field(True, description="Make keys when they are first needed, without `mlops keys create`.")
    trusted_types: tuple[str, ...] = Field(
        (),
        description="Types that a model may hold beside those of mlops/models/trusted_types.py. From the "
        "environment: separated by commas.",
    )
    allow_pickle: bool = Field(True, description="Load (signed) versions that skops cannot hold from a pickle.")
    ledger_key_file: Path = Field(
        Path(), description="Key that seals ledger entries. Default: state_dir/keys/ledger.key, made on first use."
    )
    stale_features: Literal["refuse", "mark", "allow"] = Field(
        "refuse",
        description="Online values past their view's time to live: refuse (null, as offline), mark (handed out with a "
        "column feature_stale) or allow.",
    )
    code_version: str = Field("", description="Git commit of the code, for lineage. Default: asked of git.")
    actor: str = Field("", description="Who decides, as written into the ledger. Default: the operating system's user.")
    clock_offset_seconds: float = Field(
        0.0, description="Added to the wall clock in records [s]: for simulations that live through nights in seconds."
    )
    roles: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Who holds which role, for approvals: {model-approver: [alice, bob]}. In the environment as YAML.",
    )
    allow_auto_approve: bool = Field(
        False, description="Tests and CI may approve without a person; refused where env is production."
    )
    engine: Literal["duckdb", "spark"] = Field(
        "duckdb", description="What tables are computed on: duckdb (this process), or spark (docs/scaling.md)."
    )
    spark: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Settings of Spark, `spark.` may be left out: {master: 'spark://head:7077', executor.memory: 4g}. "
        "In the environment as YAML.",
    )
    incidents_url: str = Field(
        "", description="SQLAlchemy URL of the incidents. Default: the ledger's database, or SQLite in state_dir."
    )
    channels: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Where alerts go beside the log, by name: {chat: {type: slack, url: '${SLACK_URL}'}} "
        "(docs/incidents.md). In the environment as YAML.",
    )
    deployment: DeploymentSettings = Field(
        default_factory=DeploymentSettings,
        description="Where services run: {target: kubernetes, image: registry.example/mlops:1.4, namespace: models} "
        "(docs/deployment.md). In the environment as YAML.",
    )
    variables: dict[str, str] = Field(default_factory=dict, description="Values for ${NAME} in model specs.")

    @field_validator("deployment", mode="before")
    @classmethod
    def _is_deployment(cls, value: Any) -> Any:
        given = yaml.safe_load(value) if isinstance(value, str) else value
        return deployment_settings(given) if isinstance(given, Mapping) else given

    @field_validator("roles", "spark", "channels", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return yaml.safe_load(value) if isinstance(value, str) else value

    @field_validator("channels")
    @classmethod
    def _are_channels(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, given in value.items():
            channel_settings(name, given)
        return value

    @field_validator("allow_auto_approve")
    @classmethod
    def _never_in_production(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("env") == "production":
            raise ValueError("approvals without a person are for tests and CI, not for env production")
        return value

    @field_validator("trusted_types", mode="before")
    @classmethod
    def _by_commas(cls, given: object) -> object:
        return tuple(filter(None, re.split(r"[,\s]+", given))) if isinstance(given, str) else given

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> MLOpsConfig:
        """The settings for this process.

        Args:
            environ: environment variables; default `os.environ`.

        Raises:
            ConfigError: an unknown setting, a wrong value, or no repository found.
        """
        environ = os.environ if environ is None else environ
        home = find_home(environ)
        env = environ.get(f"{_PREFIX}ENV", "embedded")
        values: dict[str, Any] = _read_settings(home / "config" / "settings" / f"{env}.yaml", environ)
        known = set(cls.model_fields) - {"variables"}
        for name, value in environ.items():
            if name.startswith(_PREFIX) and value and (key := name.removeprefix(_PREFIX).lower()) in known:
                values[key] = value
        values |= {"home": home, "env": env}
        return cls.build(values, environ)

    @classmethod
    def build(cls, values: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> MLOpsConfig:
        """Fill in the defaults that depend on other settings. `values` must hold `home`."""
        filled = dict(values)
        home = Path(filled["home"]).absolute()
        var = str(filled.get("var") or home / "var")
        if "://" not in var:
            var = str(Path(var).absolute())
        state = Path(filled.get("state_dir") or (var if "://" not in var else home / "var")).absolute()
        filled |= {"home": home, "var": var, "state_dir": state}
        defaults = {
            "models_dir": home / "config" / "models",
            "experiments_dir": home / "config" / "experiments",
            "feature_repo": home / "feature_repo",
            "tracking_uri": f"sqlite:///{state}/mlflow/mlflow.db",
            "artifact_uri": f"{state}/mlflow/artifacts",
            "ledger_key_file": state / "keys" / "ledger.key",
            "ledger_url": f"sqlite:///{state}/ledger/ledger.db",
            "keys_dir": state / "keys",
        }
        defaults["signing_key_file"] = Path(str(filled.get("keys_dir") or state / "keys")) / "signing.key"
        ledger = str(filled.get("ledger_url") or "")
        shared = ledger and not ledger.startswith("sqlite")
        for name in ("labels", "incidents"):
            defaults[f"{name}_url"] = ledger if shared else f"sqlite:///{state}/{name}/{name}.db"
        for key, default in defaults.items():
            filled[key] = filled.get(key) or default
        own = {f"{_PREFIX}VAR": var, f"{_PREFIX}STATE_DIR": str(state), f"{_PREFIX}HOME": str(home)}
        filled["variables"] = dict(environ or {}) | own
        try:
            return cls(**filled)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            hint = did_you_mean(key, cls.model_fields) if first["type"] == "extra_forbidden" else ""
            raise ConfigError(f"Setting {key!r}: {first['msg']}.", hint=hint) from error

    def expand(self, text: str) -> str:
        """Replace `${NAME}` by its value.

        Raises:
            ConfigError: a name without a value.
        """
        return expand(text, self.variables)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME}` by its value.

    >>> expand("${ROOT}/in", {"ROOT": "/data"})
    '/data/in'
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables:
            raise ConfigError(
                f"{text!r} uses ${{{name}}}, which has no value.", hint=f"Set the environment variable {name}."
            )
        return variables[name]

    return _VARIABLE.sub(value, text)


def find_home(environ: Mapping[str, str]) -> Path:
    """The repository: `MLOPS_HOME`, else the nearest folder upwards with config/models, else beside this package.

    Raises:
        ConfigError: none of the three is one.
    """
    if given := environ.get(f"{_PREFIX}HOME"):
        return Path(given).absolute()
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).parents[1]):
        if (folder / "config" / "models").is_dir():
            return folder
    raise ConfigError(
        f"No config/models found in {here} or above it.", hint="Run inside the repository, or set MLOPS_HOME to it."
    )


def _read_settings(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    if not path.exists():
        if path.stem == "embedded":
            return {}
        known = [p.stem for p in path.parent.glob("*.yaml")]
        raise ConfigError(f"MLOPS_ENV={path.stem}: {path} does not exist.", hint=did_you_mean(path.stem, known))
    loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} holds {type(loaded).__name__}, expected keys and values.")
    return {key: expand(value, environ) if isinstance(value, str) else value for key, value in loaded.items()}
