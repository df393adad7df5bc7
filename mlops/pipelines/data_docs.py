"""Data docs: every delivery of every model with its verdict, and the page of its contract's check, as static files.

Reads: partitions, quarantine, reports. Writes: a folder of HTML that needs nothing from elsewhere.

One rule: what is shown is what was kept; nothing is checked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import jinja2

from mlops.data import partitions, quarantine
from mlops.errors import StorageError
from mlops.pipelines.night import report_uri
from mlops.services import Services
from mlops.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Delivered:
    """A delivery as the index shows it."""

    date: date
    verdict: str  # kept, released or waits
    rows: int
    why: tuple[str, ...]  # rules that are broken or were set aside
    page: str  # relative to the index; "" if there is none


def build(services: Services, folder: Path) -> Path:
    """Write the pages of all models below `folder`.

    Returns:
        The index.

    Raises:
        StorageError: the folder cannot be written, or a page cannot be read.
    """
    models = {name: _deliveries(services, spec, folder) for name, spec in services.specs().items()}
    index = folder / "index.html"
    _write(index, _template().render(models=models).encode())
    return index


def _deliveries(services: Services, spec: ModelSpec, folder: Path) -> list[Delivered]:
    """Newest first; a date that waits while an earlier delivery of it is published is there twice."""
    storage = services.storage
    found = []
    for day in partitions.delivered_days(storage, spec.dataset):
        slice_ = partitions.published(storage, spec.dataset, day)
        if slice_ is not None:
            verdict = "released" if slice_.reasons else "kept"
            found.append(Delivered(day, verdict, slice_.rows, slice_.reasons, _page(services, spec, day, folder)))
    for day in quarantine.waiting_days(storage, spec.dataset):
        held = quarantine.waiting(storage, spec.dataset, day)
        if held is not None:
            found.append(Delivered(day, "waits", held.rows, held.reasons, _page(services, spec, day, folder)))
    return sorted(found, key=lambda one: (one.date, one.verdict), reverse=True)


def _page(services: Services, spec: ModelSpec, day: date, folder: Path) -> str:
    uri = report_uri(services, spec, day, "contract.html")
    if not services.storage.exists(uri):
        return ""
    name = f"{spec.name}/{day.isoformat()}.html"
    _write(folder / name, services.storage.read_bytes(uri))
    return name


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", hint="Name another folder: -o.") from error


@cache
def _template() -> jinja2.Template:
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_INDEX)


_INDEX = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Deliveries and their contracts</title>
<style>
:root { --ink: #1d2733; --soft: #64707d; --line: #e3e7ec; --paper: #fff; --ground: #f5f7f9; --link: #0b5cad;
        --good: #1a7f4b; --good-soft: #e4f4eb; --bad: #b3261e; --bad-soft: #fdecea;
        --idle: #fff3d6; --idle-ink: #7a5600 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaef; --soft: #98a3af; --line: #313a44; --paper: #1b222a; --ground: #12171d; --link: #7ab8ff;
          --good: #6fd39b; --good-soft: #17382a; --bad: #ff9d94; --bad-soft: #472421; --idle: #3d3214;
          --idle-ink: #ffd97a } }
* { box-sizing: border-box }
body { margin: 0; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { max-width: 66rem; margin: auto } h1 { font-size: 1.5rem } h2 { margin: 2rem 0 .7rem; font-size: 1.1rem }
p { color: var(--soft) } a { color: var(--link) }
.scroll { overflow-x: auto; border-radius: 12px; background: var(--paper) }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .5rem .9rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { color: var(--soft); font-size: .78rem; letter-spacing: .04em; text-transform: uppercase }
tbody tr:last-child td { border-bottom: 0 } td.n, th.n { text-align: right } td.day { white-space: nowrap }
.badge { padding: .12rem .55rem; border-radius: 99px; font-size: .8rem; font-weight: 600 }
.kept { background: var(--good-soft); color: var(--good) } .waits { background: var(--bad-soft); color: var(--bad) }
.released { background: var(--idle); color: var(--idle-ink) }
</style>
</head>
<body><main>
<h1>Deliveries and their contracts</h1>
{% for model, deliveries in models.items() %}
<h2>{{ model }}</h2>
{% if deliveries %}
<div class="scroll"><table>
<thead><tr><th>Date</th><th>Verdict</th><th class="n">Rows</th><th>Broken or set aside</th></tr></thead>
<tbody>
{% for one in deliveries %}
<tr><td class="day">{% if one.page %}<a href="{{ one.page }}">{{ one.date }}</a>{% else %}{{ one.date }}{% endif %}</td>
<td><span class="badge {{ one.verdict }}">{{ one.verdict }}</span></td><td class="n">{{ "{:,}".format(one.rows) }}</td>
<td>{% for reason in one.why %}{{ reason }}{% if not loop.last %}<br>{% endif %}{% endfor %}</td></tr>
{% endfor %}
</tbody></table></div>
{% else %}
<p>Nothing was delivered yet.</p>
{% endif %}
{% else %}
<p>There is no model.</p>
{% endfor %}
</main></body></html>
"""
