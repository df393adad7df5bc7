"""What a retrieval asks of one feature view, in the names that its source uses.

One rule: names are settled here; nobody behind this file knows of projections, mappings or prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mlops.errors import FeatureError

_DUMMY = "__dummy_id"  # Feast's join key for views without entities; no source has it


@dataclass(frozen=True, slots=True)
class Question:
    """One view's part of a point-in-time join."""

    view: str
    source: Any  # feast.FileSource
    keys: dict[str, str]  # column of the source -> column of the rows to join
    event: str  # column of the source: when it happened
    created: str | None  # column of the source: when it became known
    features: dict[str, str]  # column of the answer -> column of the source, in the order asked for
    values: tuple[str, ...]  # columns of the source that hold the view's features, by name: they break the last ties
    ttl: timedelta  # zero: never too old

    @property
    def columns(self) -> list[str]:
        """Columns of the source that are needed."""
        wanted = [*self.keys, self.event, *filter(None, [self.created]), *self.features.values(), *self.values]
        return list(dict.fromkeys(wanted))


def questions(views: Sequence[Any], references: Sequence[str], *, full_names: bool) -> list[Question]:
    """What is asked of each view, in the order of the views.

    Args:
        views: `feast.FeatureView`s with the projections of the request.
        references: Feast's names `view:feature`; those of on-demand views are passed over.
        full_names: whether features come out as `view__feature`.

    Raises:
        FeatureError: a view has no source, or no event time.
    """
    return [_question(view, references, full_names) for view in views]


def _question(view: Any, references: Sequence[str], full_names: bool) -> Question:
    source = view.batch_source
    if source is None:
        raise FeatureError(
            f"View {view.name!r} has no batch source, so it has no history.", hint="Declare FeatureView(source=…)."
        )
    if not source.timestamp_field:
        raise FeatureError(
            f"Source {source.name!r} of view {view.name!r} does not say when its rows happened.",
            hint="Declare FileSource(timestamp_field=…); without it nobody can tell past from future.",
        )
    column = _columns_of(source.field_mapping)
    used, shown = view.projection.name_to_use(), view.projection.name_alias or view.name
    known = [field.name for field in view.features]
    asked = [ref.partition(":")[2] for ref in references if ref.startswith(f"{used}:")]
    renamed = view.projection.join_key_map or {}
    return Question(
        view=view.name,
        source=source,
        keys={column(k.name): renamed.get(k.name, k.name) for k in view.entity_columns if k.name != _DUMMY},
        event=column(source.timestamp_field),
        created=column(source.created_timestamp_column) if source.created_timestamp_column else None,
        features={f"{shown}__{name}" if full_names else name: column(name) for name in asked},
        values=tuple(column(name) for name in sorted({*known, *asked})),
        ttl=view.ttl or timedelta(0),
    )


def _columns_of(field_mapping: Mapping[str, str] | None) -> Callable[[str], str]:
    """Names in a source, by the names in its view."""
    names = {shown: column for column, shown in (field_mapping or {}).items()}
    return lambda name: names.get(name, name)
