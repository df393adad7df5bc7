"""A first look as YAML for people to edit: the contract alone, or the skeleton of a whole spec.

One rule: what was guessed says so, beside the key to change.
"""

from __future__ import annotations

from typing import Any

import yaml

from mlops.data.profile import Profile


def facts(profile: Profile) -> dict[str, Any]:
    """The proposal as plain values, as they stand in a spec."""
    source: dict[str, Any] = {"kind": profile.kind, "uri": profile.uri}
    if profile.kind == "sql":
        known = profile.keys.arrival or profile.keys.event
        source["query"] = f"SELECT * FROM … WHERE {known} >= :start AND {known} < :end"
    if profile.timezone:
        source["timezone"] = profile.timezone
    timestamps = {"event": profile.keys.event} | ({"arrival": profile.keys.arrival} if profile.keys.arrival else {})
    contract = profile.contract.model_dump(mode="json", exclude_defaults=True)
    contract["columns"] = {
        name: column.model_dump(mode="json", exclude_defaults=True) for name, column in profile.contract.columns.items()
    }
    return {"entity": profile.keys.entity, "timestamps": timestamps, "source": source, "contract": contract}


def contract_yaml(profile: Profile) -> str:
    """The parts of a spec that say where data comes from and what it promises."""
    return f"{_seen(profile)}{_dump(facts(profile))}"


def spec_yaml(profile: Profile, name: str) -> str:
    """A whole spec: what data cannot say is filled in with the simplest that works, and marked."""
    head = {"name": name, "owner": "you@example.com", "task": "anomaly"}
    tail = {
        "features": {"service": f"{name}_v1"},
        "candidates": [{"algorithm": "isolation_forest"}, {"algorithm": "hbos"}],
    }
    advice = (
        "# To be said by you: the owner; the task (anomaly, classification, regression), the last two with a label;\n"
        f"# and the feature service {name}_v1 in feature_repo/, see README, 'Your own data'.\n"
    )
    return f"{_seen(profile)}{advice}{_dump(head | facts(profile) | tail)}"


def summary(profile: Profile) -> dict[str, Any]:
    """What was seen, as plain values."""
    return {
        "rows": profile.rows,
        "entities": profile.entities,
        "first_day": profile.days[0].isoformat(),
        "last_day": profile.days[-1].isoformat(),
        "days": len(profile.days),
        "interval_minutes": profile.interval_minutes,
        "entity_candidates": [profile.keys.entity, *profile.keys.candidates],
        "left_out": profile.left_out,
        "broken": {day: list(reasons) for day, reasons in profile.broken.items()},
    }


def _seen(profile: Profile) -> str:
    interval = f", one reading every {profile.interval_minutes:g} min" if profile.interval_minutes else ""
    lines = [
        f"Proposed from {profile.rows:,} rows of {profile.entities:,} entities, {profile.days[0]} to {profile.days[-1]}"
        f"{interval}.",
        "It says what was, with head-room, not what may be: edit it, then `mlops spec check`.",
    ]
    if profile.keys.candidates:
        lines.append(f"entity: {profile.keys.entity} is a guess; others: {', '.join(profile.keys.candidates)}.")
    if profile.timezone:
        lines.append(f"timezone: times carry no zone; {profile.timezone} is an assumption.")
    if not profile.keys.arrival:
        lines.append("timestamps: no column says when a row arrived; it counts as known when it happened.")
    lines += [f"{name} is left out: {why}." for name, why in profile.left_out.items()]
    lines += [f"{day} does not keep it: {'; '.join(reasons)}" for day, reasons in profile.broken.items()]
    return "".join(f"# {line}\n" for line in lines)


def _dump(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
