"""How aliases and stages move: by legal steps, and read back.

One rule: a move that does not read back as it was made is an error.
"""

from __future__ import annotations

import re

from mlops.errors import PromotionError, RegistryError, did_you_mean
from mlops.models.index import Found, Index
from mlops.models.version_tags import PREFIX, record_of
from mlops.records import ModelVersion, Stage

# archived → production is the way back of a rollback
LEGAL_MOVES: dict[Stage, tuple[Stage, ...]] = {
    "development": ("staging", "archived"),
    "staging": ("production", "archived"),
    "production": ("archived",),
    "archived": ("production",),
}
_ALIAS = re.compile(r"^[a-z][a-z_]{0,62}$")


def existing(index: Index, model: str, version: int) -> Found:
    """A version that must be there.

    Raises:
        RegistryError: there is none of that number.
    """
    if (found := index.version(model, version)) is not None:
        return found
    known = [str(item.version) for item in index.versions(model)]
    words = f"Known: {', '.join(known)}." if known else "Nothing has been registered under that name."
    raise RegistryError(f"{model} has no version {version}.", hint=words)


def set_alias(index: Index, model: str, alias: str, version: int) -> None:
    """Point an alias to a version; see `ModelRegistry.set_alias`."""
    if not _ALIAS.match(alias):
        raise RegistryError(
            f"{alias!r} is no alias: only lower case letters and _; MLflow keeps 'champion' and 'Champion' apart.",
            hint=did_you_mean(alias.lower(), ["champion", "challenger"]),
        )
    existing(index, model, version)
    index.set_alias(model, alias, version)
    found = index.aliases(model).get(alias)
    if found != version:
        raise RegistryError(
            f"{model}: the alias {alias} was set to version {version}, but reads back as {found}.",
            hint="Somebody moved it at the same time; look at the ledger and run the step again.",
        )


def drop_alias(index: Index, model: str, alias: str) -> None:
    """Take an alias away; see `ModelRegistry.drop_alias`."""
    if alias not in index.aliases(model):
        return
    index.delete_alias(model, alias)
    if alias in index.aliases(model):
        raise RegistryError(f"{model}: the alias {alias} was deleted, but is still there.", hint="Try again.")


def set_stage(index: Index, model: str, version: int, stage: Stage) -> ModelVersion:
    """Move a version to a stage; see `ModelRegistry.set_stage`."""
    current = record_of(existing(index, model, version))
    if current.stage == stage:
        return current
    allowed = LEGAL_MOVES.get(current.stage, tuple(LEGAL_MOVES))  # what is no stage was written by hand
    if stage not in allowed:
        raise PromotionError(
            f"{model} version {version} is in {current.stage} and cannot move to {stage}.",
            hint=f"From {current.stage} it can move to {' or '.join(allowed)}.",
        )
    index.set_tag(model, version, f"{PREFIX}stage", stage)
    moved = record_of(existing(index, model, version))
    if moved.stage != stage:
        raise RegistryError(f"{model} version {version} was moved to {stage}, but reads back as {moved.stage}.")
    return moved
