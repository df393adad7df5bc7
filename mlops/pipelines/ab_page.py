"""A look at an experiment as a page that a person reads: the verdict, the interval over all looks, units, and words.

One rule: the page shows what the looks say and nothing else, and needs no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from mlops.models.intervals import Bar, picture
from mlops.models.page_style import STYLE
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
        style=STYLE,
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
{{ style|safe }}
header p + p { margin-top:10px; color:var(--ink); } svg .limit { stroke:none; }
.table { overflow-x:auto; background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); }
th,td { padding:9px 16px; white-space:nowrap; }
@media (max-width:620px) { th,td { padding:8px 12px; } }
</style></head><body><main>
<header class="{{ kind }}"><h1>{{ look.experiment }} <em>{{ headline }}</em></h1>
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
