"""Where the models stand, as pages that a person opens in Airflow: all of them, and one with its nights.

One rule: a page shows what `mlops.pipelines.overview` found and nothing else, and needs no network and no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import jinja2

from mlops.pipelines.overview import Night, Overview, Step, Word

REFRESH_SECONDS = 60
_COLUMNS = ("delivery", "challenger", "champion", "predictions", "drift", "performance")


def index(models: Sequence[Overview], *, at: datetime, broken: Sequence[str] = ()) -> str:
    """All models on one page.

    Args:
        models: where each stands.
        at: when it was looked up (UTC).
        broken: specs that cannot be read, in words.
    """
    return _ENVIRONMENT.get_template("index").render(models=models, at=at, broken=broken, refresh=REFRESH_SECONDS)


def model(one: Overview, nights: Sequence[Night], *, at: datetime, more: int = 0) -> str:
    """One model: champion, incidents, its nights, its champions.

    Args:
        one: where it stands.
        nights: newest first.
        at: when it was looked up (UTC).
        more: how many nights to offer instead; 0 offers none.
    """
    shown = {"one": one, "nights": nights, "columns": _COLUMNS, "at": at, "more": more, "refresh": REFRESH_SECONDS}
    return _ENVIRONMENT.get_template("model").render(shown)


def refusal(title: str, words: str) -> str:
    """What cannot be shown, and why."""
    return _ENVIRONMENT.get_template("refusal").render(title=title, words=words, refresh=0)


def _cell(night: Night, column: str) -> Word:
    found: Word = getattr(night, column)
    return found


_BASE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
{% if refresh %}
<meta http-equiv="refresh" content="{{ refresh }}">
{% endif %}
<title>{% block title %}{% endblock %}</title>
<style>
:root { color-scheme:light dark; --ink:#1d2433; --faint:#667085; --line:#e3e7ee; --card:#fff; --ground:#f6f7f9;
  --link:#1f5fbf; --good:#1a7f4b; --bad:#b42318; --unsure:#8a6100; --quiet:#98a2b3; --shade:#1d243318; }
@media (prefers-color-scheme:dark) { :root { --ink:#e6e9f0; --faint:#98a2b3; --line:#2b3242; --card:#171c28;
  --ground:#0f131c; --link:#7fb2ff; --good:#4cc38a; --bad:#ff7b6e; --unsure:#e0b252; --quiet:#667085; --shade:#0006; } }
body { font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif; color:var(--ink); background:var(--ground);
  margin:0; }
main { max-width:1180px; margin:28px auto 60px; padding:0 24px; }
a { color:var(--link); text-decoration:none; } a:hover { text-decoration:underline; }
h1 { font-size:24px; line-height:1.25; margin:0 0 4px; } h2 { font-size:16px; margin:30px 0 8px; }
p { margin:0; } .faint,footer { color:var(--faint); }
.card,.table { background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); }
.card { padding:20px 24px; margin:12px 0; border-left:6px solid var(--quiet); }
.card.good { border-color:var(--good); } .card.bad { border-color:var(--bad); }
.card.unsure { border-color:var(--unsure); }
.card b { font-weight:600; } .card p + p { margin-top:4px; }
.table { overflow-x:auto; } table { border-collapse:collapse; width:100%; }
th,td { text-align:left; vertical-align:top; padding:9px 14px; border-top:1px solid var(--line); }
tr:first-child th { border-top:0; font-size:13px; color:var(--faint); font-weight:500; white-space:nowrap; }
td { font-variant-numeric:tabular-nums; } td.name { font-weight:600; } td.name,td.short { white-space:nowrap; }
td a { text-decoration:underline dotted; text-underline-offset:3px; }
.good { color:var(--good); } .bad { color:var(--bad); } .unsure { color:var(--unsure); } .quiet { color:var(--ink); }
.card.good,.card.bad,.card.unsure { color:inherit; }
.steps { white-space:nowrap; } .steps span { display:inline-block; width:1.5em; text-align:center; font-weight:700;
  cursor:help; } .steps .quiet { color:var(--quiet); }
small { color:var(--faint); display:block; font-size:13px; font-weight:400; }
small.why { display:-webkit-box; -webkit-line-clamp:2; -webkit-box-orient:vertical; overflow:hidden; max-width:34em; }
footer { font-size:13px; margin-top:28px; } code { font-size:13px; }
@media (max-width:620px) { main { margin:16px auto; padding:0 12px; } }
</style></head><body><main>
{% block body %}{% endblock %}
</main></body></html>
"""

_INDEX = """{% extends "base" %}
{% block title %}Models{% endblock %}
{% block body %}
<h1>Models</h1>
<p class="faint">{{ models|length }} of this installation, {{ at.strftime("%Y-%m-%d %H:%M:%S") }} UTC</p>
{% for words in broken %}
<div class="card bad"><p>{{ words }}</p></div>
{% endfor %}
{% if models %}
<h2>Where they stand</h2>
<div class="table"><table>
<tr><th>model</th><th>champion</th><th>since</th><th>last: ingestion … monitoring</th><th>not over</th>
<th>owner</th></tr>
{% for one in models %}
<tr><td class="name"><a href="models/{{ one.model }}">{{ one.model }}</a><small>{{ one.task }}</small></td>
{% if one.champion %}
<td class="short">version {{ one.champion.version }}<small>{{ one.champion.kind }}</small></td>
<td class="short">{{ one.champion.from_at|moment }}<small>by {{ one.champion.by }}</small></td>
{% else %}
<td colspan="2" class="faint">none yet</td>
{% endif %}
<td class="steps">
{% for step in one.steps %}
<span class="{{ step.tone }}" title="{{ step|told }}">{{ step.glyph }}</span>
{% endfor %}
</td>
<td>
{% if one.incidents %}
<span class="bad">{{ one.incidents|length }} incident{{ "s" if one.incidents|length > 1 }}</span>
<small>{{ one.incidents[0].summary }}</small>
{% else %}
<span class="faint">nothing</span>
{% endif %}
{% for words in one.waiting %}
<small class="unsure">waits for people: {{ words }}</small>
{% endfor %}
{% for words in one.unknown %}
<small class="bad">{{ words }}</small>
{% endfor %}
</td>
<td>{{ one.owner }}</td></tr>
{% endfor %}
</table></div>
{% elif not broken %}
<div class="card"><p>There is no model yet, or none that you may see. A model is one file in config/models/.</p></div>
{% endif %}
<footer>✓ done · ! no · ? cannot tell. Point at a mark to read what the step said.</footer>
{% endblock %}
"""

_MODEL = """{% extends "base" %}
{% block title %}{{ one.model }}{% endblock %}
{% block body %}
<p><a href="../models">Models</a></p>
<h1>{{ one.model }}</h1>
<p class="faint">{{ one.task }} · {{ one.owner }} · {{ at.strftime("%Y-%m-%d %H:%M:%S") }} UTC</p>
{% if one.champion %}
<div class="card good"><p><b>Version {{ one.champion.version }} is champion</b>
since {{ one.champion.from_at|moment }} UTC, \
{{ one.champion.kind }} by {{ one.champion.by }}.</p><p>{{ one.champion.reason }}</p>
{% if one.champion.evidence_uri|page %}
<p><a href="{{ one.champion.evidence_uri|page }}">The evidence it stands on</a></p>
{% endif %}
</div>
{% else %}
<div class="card unsure"><p><b>There is no champion yet.</b></p>
<p>The first comes with the first training whose version passes its gates.</p></div>
{% endif %}
{% for words in one.waiting %}
<div class="card unsure"><p><b>Waits for people:</b> {{ words }}</p></div>
{% endfor %}
{% for words in one.unknown %}
<div class="card bad"><p>{{ words }}</p></div>
{% endfor %}
{% for incident in one.incidents %}
<div class="card {{ "unsure" if incident.state != "open" else "bad" }}">
<p><b>{{ incident.summary }}</b></p><p>{{ incident.consequence }} {{ incident.goes_on }}</p>
<p>{{ incident.action }}
{% if incident.evidence_uri|page %}
<a href="{{ incident.evidence_uri|page }}">Open the page.</a>
{% endif %}
</p>
<p class="faint">incident {{ incident.number }} · {{ incident.state }} · {{ incident.urgency }} · {{ incident.kind }}\
{% if incident.first_seen_at %} · since {{ incident.first_seen_at|moment }} UTC{% endif %}\
{% if incident.runbook %} · {{ incident.runbook }}{% endif %}</p></div>
{% endfor %}
<h2>Nights</h2>
{% if nights %}
<div class="table"><table>
<tr><th>date</th>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for night in nights %}
<tr><td class="name">{{ night.date }}
{% for page in night.pages %}
<small><a href="{{ one.model }}/{{ night.date }}/{{ page }}">{{ page.removesuffix(".html") }}</a></small>
{% endfor %}
</td>
{% for column in columns %}
{% set word = night|cell(column) %}
<td{% if column in ("predictions", "delivery", "performance") %} class="short"{% endif %}>{% if word %}
{% if word.page %}<a class="{{ word.tone }}" href="{{ one.model }}/{{ night.date }}/{{ word.page }}">{{ word.text }}</a>
{% else %}<span class="{{ word.tone }}">{{ word.text }}</span>{% endif %}
{% if word.why %}<small class="why" title="{{ word.why }}">{{ word.why }}</small>{% endif %}
{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</table></div>
{% if more %}
<p><a href="?nights={{ more }}">Show {{ more }} nights</a></p>
{% endif %}
{% else %}
<div class="card"><p>Nothing has been delivered yet.</p></div>
{% endif %}
<h2>Last time each step was at work</h2>
<div class="table"><table>
<tr><th>step</th><th>for</th><th>ended</th><th>took</th><th>outcome</th></tr>
{% for step in one.steps %}
<tr><td class="name">{{ step.name }}</td>
{% if step.result %}
<td>{{ step.result.date }}</td><td>{{ step.result.at|moment }} UTC</td>
<td>{{ "%.1f"|format(step.result.seconds) }} s</td>
<td><span class="{{ step.tone }}">{{ step.result.outcome.replace("_", " ") }}</span></td>
{% else %}
<td colspan="4" class="faint">not yet</td>
{% endif %}
</tr>
{% endfor %}
</table></div>
{% if one.reigns %}
<h2>Champions</h2>
<div class="table"><table>
<tr><th>version</th><th>from</th><th>to</th><th>how</th><th>why</th><th>ledger</th></tr>
{% for reign in one.reigns|reverse %}
<tr><td class="name">{{ reign.version }}</td><td>{{ reign.from_at|moment }}</td>
<td>{% if reign.until_at %}{{ reign.until_at|moment }}{% else %}now{% endif %}</td>
<td>{{ reign.kind }}<small>{{ reign.by }}</small></td>
<td>{{ reign.reason }}
{% if reign.evidence_uri|page %}
<small><a href="{{ reign.evidence_uri|page }}">evidence</a> {{ reign.evidence_hash[:12] }}</small>
{% endif %}
</td>
<td>entry {{ reign.entry_seq }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
<footer><code>mlops status {{ one.model }}</code> · <code>mlops champion {{ one.model }} --history</code> ·
<code>mlops rollback {{ one.model }}</code>, or the DAG <code>rollback__{{ one.model }}</code></footer>
{% endblock %}
"""

_REFUSAL = """{% extends "base" %}
{% block title %}{{ title }}{% endblock %}
{% block body %}
<h1>{{ title }}</h1><div class="card bad"><p>{{ words }}</p></div>
{% endblock %}
"""


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _kept_page(uri: str) -> str:
    """Where a kept report is shown, seen from the model's page; empty if it is not one of ours."""
    parts = uri.split("/")[-4:]
    if len(parts) != 4 or parts[0] != "reports" or not parts[-1].endswith((".html", ".json")):
        return ""
    return f"{'/'.join(parts[1:]).rpartition('.')[0]}.html"


def _told(step: Step) -> str:
    if step.result is None:
        return f"{step.name}: not yet"
    outcome = step.result.outcome.replace("_", " ")
    return f"{step.name}: {outcome} for {step.result.date}, at {_moment(step.result.at)} UTC"


def _environment() -> jinja2.Environment:
    pages = {"base": _BASE, "index": _INDEX, "model": _MODEL, "refusal": _REFUSAL}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(pages), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    told = {"told": _told, "moment": _moment, "page": _kept_page, "cell": _cell}
    environment.filters.update(told)
    return environment


_ENVIRONMENT = _environment()
