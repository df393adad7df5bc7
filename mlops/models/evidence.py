"""The evidence a promotion stands on: all gates with their numbers, sealed, and as a page that a person reads.

One rule: equal evidence has equal bytes, so that the hash in the ledger speaks for every number in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from mlops.models.wording import number
from mlops.records import GateDecision, ModelVersion, TrainingSet, to_dict


@dataclass(frozen=True, slots=True)
class Evidence:
    """The bundle of one decision."""

    facts: dict[str, Any]  # JSON: `decision` (without its own hash and address), who, on what, by which settings, code
    hash: str  # sha256 over the canonical JSON of `facts`
    html: bytes  # the same as one self-contained page, UTF-8


def bundle(
    decision: GateDecision,
    *,
    challenger: ModelVersion,
    training_set: TrainingSet,
    champion: ModelVersion | None = None,
    settings: Mapping[str, Any] | None = None,
    code: Mapping[str, str] | None = None,
) -> Evidence:
    """The evidence of a decision.

    Args:
        decision: what the gates said; hash and address of the evidence are left out of it.
        challenger: the version that was judged.
        training_set: what it was trained and judged on.
        champion: the version it was judged against.
        settings: of the gates.
        code: what judged: `version` (the commit) and `gates` (hash of the files).
    """
    bare = dataclasses.replace(decision, evidence_uri="", evidence_hash="")
    # Where a version stands, and whether it was made or found, changes afterwards; what it is does not.
    judged = dataclasses.replace(challenger, stage="development", reused=False)
    facts = {
        "decision": to_dict(bare),
        "challenger": to_dict(judged),
        "champion": {"version": champion.version, "digest": champion.digest} if champion else None,
        "training_set": to_dict(training_set),
        "settings": dict(settings or {}),
        "code": dict(code or {}),
    }
    sealed = evidence_hash(facts)
    return Evidence(facts, sealed, _page(decision, challenger, training_set, sealed))


def evidence_hash(facts: dict[str, Any]) -> str:
    """sha256 over canonical JSON (keys sorted, no blanks), so that what is read back from storage can be checked."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _page(decision: GateDecision, challenger: ModelVersion, training_set: TrainingSet, sealed: str) -> bytes:
    opponent = (
        f"against champion version {decision.champion_version}" if decision.champion_version else "no champion yet"
    )
    page = _PAGE.render(
        decision=decision,
        headline=_HEADLINES[decision.verdict],
        opponent=opponent,
        metrics=sorted(challenger.metrics.items()),
        facts=_facts(challenger, training_set),
        sealed=sealed,
    )
    return page.encode()


def _facts(challenger: ModelVersion, training_set: TrainingSet) -> dict[str, str]:
    window = f"{training_set.window_start:%Y-%m-%d %H:%M} to {training_set.window_end:%Y-%m-%d %H:%M} UTC"
    return {
        "candidate": challenger.candidate,
        "window": f"{window}, holdout from {training_set.holdout_start:%Y-%m-%d %H:%M}",
        "rows": f"{training_set.rows:,} of {training_set.entities:,} entities: {training_set.fit_rows:,} to fit, "
        f"{training_set.calibration_rows:,} to calibrate, {training_set.holdout_rows:,} to judge",
        "labels": f"{training_set.labelled_rows:,} rows of the holdout, {training_set.positives:,} positive",
        "features": f"{len(training_set.features)}",
        "started by": training_set.reason,
        "training set": training_set.fingerprint,
        "run": challenger.run_id,
        "model files": challenger.digest,
    }


_HEADLINES = {
    "pass": "may be promoted",
    "fail": "is refused",
    "cannot_tell": "is not promoted: the evidence does not suffice",
}
_WORDS = {"pass": "pass", "fail": "fail", "cannot_tell": "cannot tell"}


def _shown(value: float | None) -> str:
    return "–" if value is None else number(value)


_ENVIRONMENT = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.filters["shown"] = _shown
_ENVIRONMENT.filters["word"] = _WORDS.__getitem__
_PAGE = _ENVIRONMENT.from_string("""\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{ decision.model }} version {{ decision.version }} {{ headline }}</title>
<style>
:root { --ink:#1d2433; --faint:#667085; --line:#e3e7ee; --pass:#1a7f4b; --fail:#b42318; --cannot_tell:#8a6100; }
body { font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif; color:var(--ink); background:#f6f7f9; margin:0; }
main { max-width:960px; margin:40px auto; padding:0 24px; }
header { background:#fff; border-left:8px solid var(--{{ decision.verdict }}); padding:24px 28px; border-radius:6px;
  box-shadow:0 1px 3px #1d243318; }
h1 { font-size:26px; line-height:1.25; margin:0 0 6px; }
h1 em { font-style:normal; color:var(--{{ decision.verdict }}); }
h2 { font-size:17px; margin:32px 0 8px; } p { margin:0; color:var(--faint); }
table { border-collapse:collapse; width:100%; background:#fff; border-radius:6px; box-shadow:0 1px 3px #1d243318; }
th,td { text-align:left; vertical-align:top; padding:10px 16px; border-top:1px solid var(--line); }
tr:first-child th { border-top:0; font-size:13px; color:var(--faint); font-weight:500; }
td.n,th.n { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
td.name { font-weight:600; white-space:nowrap; } td.wide { overflow-wrap:anywhere; }
.badge { color:#fff; border-radius:999px; padding:2px 12px; font-size:13px; font-weight:600; white-space:nowrap; }
.badge.pass { background:var(--pass); } .badge.fail { background:var(--fail); }
.badge.cannot_tell { background:var(--cannot_tell); }
.cards { display:grid; grid-template-columns:repeat(auto-fill,minmax(170px,1fr)); gap:12px; }
.cards div { background:#fff; border-radius:6px; padding:12px 16px; font-size:13px; color:var(--faint);
  box-shadow:0 1px 3px #1d243318; } .cards b { display:block; font-size:22px; color:var(--ink); }
footer { color:var(--faint); font-size:13px; margin:28px 0 60px; overflow-wrap:anywhere; }
</style></head><body><main>
<header><h1>{{ decision.model }} version {{ decision.version }} <em>{{ headline }}</em></h1>
<p>{{ decision.date }} · {{ opponent }} · {{ decision.gates|length }} gates</p></header>
<h2>Gates</h2>
<table><tr><th>gate</th><th>verdict</th><th class="n">value</th><th class="n">limit</th><th>why</th></tr>
{% for gate in decision.gates %}
<tr><td class="name">{{ gate.name.replace("_", " ") }}</td>
<td><span class="badge {{ gate.verdict }}">{{ gate.verdict|word }}</span></td>
<td class="n">{{ gate.value|shown }}</td><td class="n">{{ gate.limit|shown }}</td><td>{{ gate.reason }}</td></tr>
{% endfor %}
</table>
{% if metrics %}
<h2>Measured in training</h2>
<div class="cards">
{% for name, value in metrics %}
<div><b>{{ value|shown }}</b>{{ name.replace("_", " ") }}</div>
{% endfor %}
</div>
{% endif %}
<h2>What it stands on</h2>
<table>
{% for name, value in facts.items() %}
<tr><td class="name">{{ name }}</td><td class="wide">{{ value }}</td></tr>
{% endfor %}
</table>
<footer>Evidence sha256 {{ sealed }}</footer>
</main></body></html>
""")
