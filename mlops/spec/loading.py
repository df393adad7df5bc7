"""Spec files, read and checked; what is wrong is said in words, with the name that was probably meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from mlops.config import expand
from mlops.errors import ConfigError, SpecError, did_you_mean
from mlops.spec.model import ModelSpec
from mlops.spec.retraining import BacktestPolicy, PoliciesSpec

S = TypeVar("S", bound=BaseModel)
# The same safe loader in C where PyYAML was built with it: 200 specs in .1 s instead of .9 s.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_spec(path: Path, variables: Mapping[str, str]) -> ModelSpec:
    """Read and check one spec.

    Args:
        path: the YAML file.
        variables: values for `${NAME}` in it.

    Raises:
        SpecError: not readable, not YAML, or not a valid spec; the message names every wrong key.
    """
    spec = read(path, variables, ModelSpec, "model spec")
    if spec.name != path.stem:
        raise SpecError(
            f"{path} names the model {spec.name!r}.", hint=f"Rename the file to {spec.name}.yaml, or the model."
        )
    return spec


def read(path: Path, variables: Mapping[str, str], kind: type[S], what: str) -> S:
    """Read and check a file of any kind of spec.

    Args:
        path: the YAML file.
        variables: values for `${NAME}` in it.
        kind: what it must be.
        what: the same, for messages.

    Raises:
        SpecError: not readable, not YAML, or not what it must be; the message names every wrong key.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(loaded, dict):
        raise SpecError(
            f"{path} holds {type(loaded).__name__}, expected keys and values.", hint="See README, 'Your own data'."
        )
    try:
        return kind.model_validate(_expanded(loaded, variables))
    except ConfigError as error:
        raise SpecError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(dict(item), kind)}" for item in error.errors())
        raise SpecError(f"{path} is not a valid {what}:\n{lines}") from error


def load_policies(path: Path) -> dict[str, BacktestPolicy]:
    """The policies of a file for `mlops backtest`, in its order.

    Raises:
        SpecError: not readable, not YAML, or not policies; the message names every wrong key.
    """
    return read(path, {}, PoliciesSpec, "file of policies").policies


def load_specs(folder: Path, variables: Mapping[str, str]) -> dict[str, ModelSpec]:
    """All specs of a folder by name, sorted. The first wrong one raises `SpecError`."""
    return {path.stem: load_spec(path, variables) for path in sorted(folder.glob("*.yaml"))}


def find_spec(folder: Path, name: str, variables: Mapping[str, str]) -> ModelSpec:
    """The spec of one model by its name.

    Raises:
        SpecError: there is none of that name, or it is wrong.
    """
    return load_spec(file_of(folder, name, "model"), variables)


def file_of(folder: Path, name: str, what: str) -> Path:
    """The file `<name>.yaml` of a folder.

    Args:
        folder: where the files are.
        name: which.
        what: of what it is the spec, for messages.

    Raises:
        SpecError: there is none; the message has the name that was probably meant.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = [p.stem for p in folder.glob("*.yaml")]
        raise SpecError(f"No {what} {name!r} in {folder}.", hint=did_you_mean(name, known))
    return path


def _expanded(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return expand(value, variables)
    if isinstance(value, dict):
        return {key: _expanded(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, variables) for item in value]
    return value


def _explain(item: dict[str, Any], root: type[BaseModel]) -> str:
    """One validation error in words: where, what was wrong, what was given, what was probably meant."""
    where = ".".join(str(part) for part in item["loc"]) or "spec"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key. {did_you_mean(str(item['loc'][-1]), _keys_at(item['loc'][:-1], root))}"
    if item["type"] == "missing":
        return f"{where}: missing. Add it."
    message = str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    return f"{where}: {message}" + (f" (given: {given!r})." if isinstance(given, str | int | float | bool) else ".")


def _keys_at(loc: tuple[Any, ...], root: type[BaseModel]) -> list[str]:
    """Names of the keys allowed at a location, found by walking the types."""
    kind: Any = root
    for part in loc:
        model = _model_in(kind)
        if isinstance(part, str) and model is not None and part in model.model_fields:
            kind = model.model_fields[part].annotation
        elif get_args(kind):
            kind = get_args(kind)[-1] if get_origin(kind) is dict else get_args(kind)[0]
    model = _model_in(kind)
    return list(model.model_fields) if model is not None else []


def nested_spec(kind: Any) -> type[BaseModel] | None:
    """The part of a spec that a type annotation holds: itself, or inside a list, a mapping or an optional."""
    found = _model_in(kind)
    return found or next((inner for arg in get_args(kind) if (inner := nested_spec(arg)) is not None), None)


def _model_in(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) in (Union, UnionType):
        return next((found for arg in get_args(kind) if (found := _model_in(arg)) is not None), None)
    return None
