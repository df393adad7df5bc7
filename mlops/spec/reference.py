"""The reference of model specs, written from the model itself: `docs/model-spec.md` is this module's output."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mlops.spec.experiment import ExperimentSpec
from mlops.spec.loading import nested_spec
from mlops.spec.model import ModelSpec

_HEAD = """# The model spec

One YAML file per model in `config/models/`, named after the model. `mlops spec check` validates it, `mlops spec schema`
prints the JSON schema for editors. `${NAME}` is filled in from the environment; `${MLOPS_VAR}` is the state folder.
This page is written by `mlops spec reference`.
"""


_EXPERIMENTS = """# The experiment spec

One YAML file per experiment in `config/experiments/`, named after the experiment. `mlops ab check` validates them.
`${NAME}` is filled in from the environment. What experiments are and how they are judged: [ab.md](ab.md). This page is
written by `mlops ab reference`.
"""


def experiments() -> str:
    """All keys of an experiment with their meaning and default, as Markdown.

    >>> "| `variants` | required |" in experiments()
    True
    """
    return "\n".join([_EXPERIMENTS, *_section("", ExperimentSpec, "The experiment")]).rstrip() + "\n"


def markdown() -> str:
    """All keys with their meaning and default, as Markdown.

    >>> "| `owner` | required |" in markdown()
    True
    """
    parts = [_HEAD, *_section("", ModelSpec)]
    return "\n".join(parts).rstrip() + "\n"


def _section(path: str, model: type[BaseModel], whole: str = "The model") -> list[str]:
    title = f"## `{path}`" if path else f"## {whole}"
    lines = [
        title,
        "",
        f"{(model.__doc__ or '').strip().splitlines()[0]}",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    below: list[str] = []
    for name, field in model.model_fields.items():
        inner = nested_spec(field.annotation)
        full = f"{path}.{name}" if path else name
        meaning = _escape(
            field.description or (f"See [`{full}`](#{full.replace('.', '')})." if inner else _choices(field))
        )
        lines.append(f"| `{name}` | {_default(field)} | {meaning} |")
        if inner is not None and not (path and inner is model) and full not in ("label.source", "drift.retrain_split"):
            below += ["", *_section(full, inner)]
    return [*lines, *below]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return "its own defaults"
    if value is None or value in ("", ()):
        return "none"
    return _escape(f"`{list(value) if isinstance(value, tuple) else value}`")


def _choices(field: FieldInfo) -> str:
    args = [str(arg) for arg in getattr(field.annotation, "__args__", ())]
    return "One of " + ", ".join(f"`{arg}`" for arg in args) + "." if args else ""


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
