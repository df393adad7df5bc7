"""Rules as checks of Great Expectations, on whatever engine an asset of it stands for.

One rule: a check that could not be carried out is an error of ours, never "bad data".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlops.data.rule import Result, Rule, not_carried_out


def context() -> Any:
    """A context of Great Expectations that keeps nothing and prints nothing."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return made


def measured(asset: Any, frame: Any, rules: Sequence[Rule], *, shown: int = 20) -> dict[int, tuple[bool, Result]]:
    """For each rule, by its identity: whether it holds, and what was measured.

    Args:
        asset: of Great Expectations, for whole frames of one kind.
        frame: what the rules' columns are in.
        rules: what is asked.
        shown: examples of values that break a rule.

    Raises:
        DataError: a check could not be carried out; this says nothing about the data.
    """
    import great_expectations as gx

    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite("contract", expectations=[_expectation(rule) for rule in rules])
    outcome = batch.validate(suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": shown})
    found = {}
    for item in outcome.results:
        rule = next(r for r in rules if id(r) == item.expectation_config.meta["rule"])
        if errors := list(_exceptions(item.exception_info)):
            raise not_carried_out(rule, errors[0])
        found[id(rule)] = (bool(item.success), item.result)
    return found


def _expectation(rule: Rule) -> Any:
    from great_expectations import expectations

    try:
        return getattr(expectations, rule.expectation)(**rule.settings, meta={"rule": id(rule)})
    except (TypeError, ValueError) as error:
        raise not_carried_out(rule, str(error)) from error


def _exceptions(info: Any) -> Iterator[str]:
    """Messages of exceptions: Great Expectations keeps one, or one per metric, and calls both a failed check."""
    if not isinstance(info, Mapping):
        return
    if "raised_exception" in info:
        if info["raised_exception"]:
            yield str(info.get("exception_message"))
        return
    for inner in info.values():
        yield from _exceptions(inner)
