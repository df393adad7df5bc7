"""A look at an experiment as a page that a person reads: the verdict, the interval over all looks, units, and words.

One rule: the page shows what the looks say and nothing else, and needs no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from mlops.models.intervals import Bar, picture
from mlops.models.wording import number, signed
from mlops.pipelines.ab_records import ExperimentLook
from mlops.pipelines.experiment_state import ExperimentState

_KIND = {"winner": "pass", "continue": "cannot_tell", "no_difference": "cannot_tell", "invalid": "fail"}
_HEADLINE = {
    "winner": "is decided",
    "continue": "goes on",
    "no_difference": "ends without a difference",
    "invalid": "is invalid",
    "cannot_tell": "cannot tell yet",
}
_MOST = 40  # looks that are drawn


def page(state: ExperimentState, looks: Sequence[ExperimentLook]) -> bytes:
    """One self-contained HTML page, UTF-8.

    Args:
        state: the experiment.
        looks: oldest first; the last one is tonight's.
    """
    last = looks[-1]
    figures = [(v.name, _figure(v.name, looks, state)) for v in state.variants[1:]]
    shown = _PAGE.render(
        state=state,
        look=last,
        kind=_KIND.get(last.decision, "cannot_tell"),
        headline=_HEADLINE[last.decision],
        figures=[(name, svg) for name, svg in figures if svg],
        metric=state.spec.metric,
        versions={variant.name: variant.version for variant in state.variants},
        nights=(last.date - state.started_on).days + 1,
    )
    return shown.encode()


def _figure(variant: str, looks: Sequence[ExperimentLook], state: ExperimentState) -> str:
    """The repeated confidence interval of each look; an open end is drawn up to the estimate."""
    metric = state.spec.metric
    sign = -1.0 if metric is not None and metric.better == "lower" else 1.0
    bars = []
    for each in looks:
        for effect in each.effects:
            if effect.variant != variant or (effect.low is None and effect.high is None):
                continue
            ends = [effect.effect_size if end is None else end for end in (effect.low, effect.high)]
            kind = "fail" if effect.crossed == "below" or effect.harmed else "cannot_tell"
            low, high = sorted(sign * end for end in ends)
            bars.append(
                Bar(
                    name=f"{each.date:%Y-%m-%d}",
                    low=low,
                    estimate=sign * effect.effect_size,
                    high=high,
                    limit=0.0,
                    kind="pass" if effect.crossed == "above" and not effect.harmed else kind,
                    note=f"Look {each.number}: Z {effect.statistic:.2f}, boundary {effect.bound or 0:.2f}",
                )
            )
    return picture(bars[-_MOST:], f"{variant} against {looks[-1].control}") if bars else ""


def _shown(value: float | None) -> str:
    return "open" if value is None else number(value)


def _signed(value: float | None) -> str:
    return "open" if value is None else signed(value)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shown": _shown, "signed": _signed}
    return environment


_PAGE = _environment().from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{ look.experiment }} {{ headline }}</title>
<style>
:root { color-scheme:light dark; --ink:#1d2433; --faint:#667085; --line:#e3e7ee; --card:#fff; --ground:#f6f7f9;
  --pass:#1a7f4b; --fail:#b42318; --cannot_tell:#8a6100; --shade:#1d243318; }
@media (prefers-color-scheme:dark) { :root { --ink:#e6e9f0; --faint:#98a2b3; --line:#2b3242; --card:#171c28;
  --ground:#0f131c; --pass:#4cc38a; --fail:#ff7b6e; --cannot_tell:#e0b252; --shade:#0006; } }
body { font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif; color:var(--ink); background:var(--ground);
  margin:0; }
main { max-width:960px; margin:40px auto; padding:0 24px; }
header,.figure,.table { background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); }
header { border-left:8px solid var(--{{ kind }}); padding:24px 28px; }
h1 { font-size:26px; line-height:1.25; margin:0 0 6px; } h1 em { font-style:normal; color:var(--{{ kind }}); }
h2 { font-size:17px; margin:32px 0 8px; } p { margin:0; color:var(--faint); } header p + p { margin-top:10px;
  color:var(--ink); }
.figure { padding:16px 20px 8px; margin:12px 0; } .figure h2 { margin:0; }
svg { display:block; width:100%; height:auto; margin-top:10px; font:13px system-ui,sans-serif; }
svg.narrow { display:none; } svg text { fill:var(--ink); } svg .tick { fill:var(--faint); font-size:12px; }
svg .label { paint-order:stroke; stroke:var(--card); stroke-width:4px; }
svg .value { font-variant-numeric:tabular-nums; }
svg .grid { stroke:var(--line); } svg .zero { stroke:var(--faint); stroke-width:1.5; }
svg .limit { stroke:none; } svg .bar { stroke-width:5; stroke-linecap:round; opacity:.45; }
svg .pass .bar { stroke:var(--pass); } svg .fail .bar { stroke:var(--fail); }
svg .cannot_tell .bar { stroke:var(--cannot_tell); }
svg .pass .dot { fill:var(--pass); } svg .fail .dot { fill:var(--fail); }
svg .cannot_tell .dot { fill:var(--cannot_tell); }
.key { font-size:13px; margin:4px 0 0; }
.table { overflow-x:auto; } table { border-collapse:collapse; width:100%; }
th,td { text-align:left; padding:9px 16px; border-top:1px solid var(--line); white-space:nowrap; }
tr:first-child th { border-top:0; font-size:13px; color:var(--faint); font-weight:500; }
td.n,th.n { text-align:right; font-variant-numeric:tabular-nums; } td.name { font-weight:600; }
footer { color:var(--faint); font-size:13px; margin:28px 0 60px; overflow-wrap:anywhere; }
@media (max-width:620px) { body { font-size:15px; } main { margin:16px auto; padding:0 12px; } header { padding:16px; }
  h1 { font-size:21px; } .figure { padding:14px 12px 4px; } svg.wide { display:none; } svg.narrow { display:block; }
  th,td { padding:8px 12px; } }
</style></head><body><main>
<header><h1>{{ look.experiment }} <em>{{ headline }}</em></h1>
<p>{{ look.model }} · {{ look.date }} · night {{ nights }} of {{ state.spec.decision.days }}{% if look.number %}
 · look {{ look.number }}{% endif %}</p>
<p>{{ look.reason }}</p></header>
{% for name, svg in figures %}
<div class="figure"><h2>{{ name }} against {{ look.control }}: {{ metric.column }}</h2>
{{ svg|safe }}</div>
{% endfor %}
{% if figures %}
<p class="key">Dot: the difference so far, right is better. Band: the interval at
{{ "%g"|format(100 * (1 - state.spec.decision.alpha)) }} % for all looks together; green once it leaves 0.
{% if state.spec.decision.sides == 1 %}One-sided: from its bound to the difference.{% endif %}</p>
{% endif %}
<h2>Variants</h2>
<div class="table"><table><tr><th>variant</th><th class="n">version</th><th class="n">units</th>
<th class="n">{{ metric.column }}</th><th class="n">difference</th><th class="n">from</th><th class="n">to</th>
<th class="n">p</th></tr>
<tr><td class="name">{{ look.control }}</td><td class="n">{{ versions[look.control] }}</td>
<td class="n">{{ "{:,}".format(look.units.get(look.control, 0)) }}</td>
<td class="n">{{ look.control_value|shown if look.control_value is not none else "–" }}</td>
<td class="n"></td><td class="n"></td><td class="n"></td><td class="n"></td></tr>
{% for effect in look.effects %}
<tr><td class="name">{{ effect.variant }}</td><td class="n">{{ versions[effect.variant] }}</td>
<td class="n">{{ "{:,}".format(look.units.get(effect.variant, 0)) }}</td><td class="n">{{ effect.value|shown }}</td>
<td class="n">{{ effect.effect_size|signed }}</td><td class="n">{{ effect.low|signed }}</td>
<td class="n">{{ effect.high|signed }}</td><td class="n">{{ effect.pvalue|shown }}</td></tr>
{% endfor %}
</table></div>
<footer>{% if look.mismatch_pvalue is not none %}Shares of units: p = {{ look.mismatch_pvalue|shown }}. {% endif %}
Started {{ state.started_on }} by {{ state.started_by }}; {{ state.key }}</footer>
</main></body></html>
""")
