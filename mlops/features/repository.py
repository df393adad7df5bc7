"""Reads `feature_repo/`: the Feast configuration, and the objects that its Python files declare.

Feast's own loader imports the files by their path from the working directory and keeps them for the life of the
process. Here they are read afresh each time, for the given root of tables, and leave nothing behind.

One rule: reading a repository has no effect on it, on the process, or on any store.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, FeatureError, did_you_mean
from mlops.features.derived import Derivation, derivation_of

_IMPORTING = threading.RLock()
_UNKNOWN_FEATURE = re.compile(r"Feature (\S+) does not exist in this feature view")


def feast_settings(config: MLOpsConfig) -> dict[str, Any]:
    """What the Feast configuration file says, with `${NAME}` replaced.

    Raises:
        ConfigError: the file is not there, not readable as YAML, or uses a variable without value.
    """
    path = config.feature_repo / config.feature_store_yaml
    if not path.exists():
        known = [found.name for found in config.feature_repo.glob("*.yaml")]
        hint = did_you_mean(path.name, known)
        raise ConfigError(f"The Feast configuration {path} does not exist.", hint=hint)
    try:
        loaded = yaml.safe_load(config.expand(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(loaded, dict) or "project" not in loaded:
        raise ConfigError(f"{path} names no project.", hint="Add `project: <name>`.")
    return loaded


def fingerprint(config: MLOpsConfig, root: str) -> str:
    """sha256 over all that decides what an apply registers: the Python files, the configuration, where tables lie."""
    digest = hashlib.sha256(f"{root}|{feast_settings(config)}|".encode())
    for path in python_files(config.feature_repo):
        body = path.read_bytes()
        digest.update(f"{path.relative_to(config.feature_repo)}|{len(body)}|".encode() + body)
    return digest.hexdigest()


def python_files(folder: Path) -> list[Path]:
    """The files that declare something, sorted."""
    return sorted(path for path in folder.rglob("*.py") if not any(p.startswith((".", "__")) for p in path.parts[-2:]))


def declared(folder: Path, root: str) -> list[Any]:
    """The Feast objects that the repository's files hold at top level, each once.

    Args:
        folder: the repository.
        root: below which the views' tables lie.

    Raises:
        FeatureError: a file cannot be imported, or two different objects of one kind share a name.
    """
    from feast import Entity, FeatureService, FeatureView
    from feast.data_source import DataSource

    from mlops.features.views import rooted_at

    found: dict[tuple[str, str], Any] = {}
    with _IMPORTING, rooted_at(root), _alone_on_the_path(folder):
        for path in python_files(folder):
            for thing in vars(_imported(path, folder)).values():
                kind = next(
                    (k for k in (Entity, FeatureView, FeatureService, DataSource) if isinstance(thing, k)), None
                )
                if kind is None:
                    continue
                before = found.setdefault((kind.__name__, thing.name), thing)
                if before is not thing and before != thing:
                    raise FeatureError(
                        f"{path.name} declares another {kind.__name__} named {thing.name!r}.",
                        hint="Rename one of them.",
                    )
    return list(found.values())


def column_functions(folder: Path) -> dict[str, Derivation]:
    """The columns that the repository's files make by functions, by `module:function`.

    Raises:
        FeatureError: a file cannot be imported.
    """
    from mlops.features.views import rooted_at

    with _IMPORTING, rooted_at(""), _alone_on_the_path(folder):
        things = [thing for path in python_files(folder) for thing in vars(_imported(path, folder)).values()]
    return {made.path: made for made in map(derivation_of, things) if made is not None}


def _imported(path: Path, folder: Path) -> Any:
    name = ".".join(path.relative_to(folder).with_suffix("").parts)
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise FeatureError(
            f"{path} cannot be imported: {type(error).__name__}: {error}",
            hint=f"{_meant(error)} Correct the file, then run again.".strip(),
        ) from error


def _meant(error: Exception) -> str:
    """The feature that was meant, where a service asks a view for one that it does not have.

    Feast's error names the feature, not the view; the view is the object that raised it.
    """
    unknown = _UNKNOWN_FEATURE.search(str(error))
    frames = list(traceback.walk_tb(error.__traceback__))
    if unknown is None or not frames:
        return ""
    view = frames[-1][0].f_locals.get("self")
    return did_you_mean(unknown.group(1), [field.name for field in getattr(view, "features", [])])


@contextmanager
def _alone_on_the_path(folder: Path) -> Iterator[None]:
    """Let the files import one another, whatever else has their names, and forget them afterwards."""
    names = {path.relative_to(folder).with_suffix("").parts[0] for path in python_files(folder)}
    aside = {key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] in names}
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writes
        for key in [key for key in sys.modules if key.split(".")[0] in names]:
            del sys.modules[key]
        sys.modules.update(aside)
