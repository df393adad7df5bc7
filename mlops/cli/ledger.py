"""`mlops ledger …`: read what was decided, and find out whether somebody has changed it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mlops.cli.app import Json, app
from mlops.errors import LedgerError, did_you_mean

if TYPE_CHECKING:
    from mlops.governance.chain import Verification
    from mlops.governance.ledger import Entry

ledger_app = typer.Typer(no_args_is_help=True, help="What was decided, by whom, when and on what evidence.")
app.add_typer(ledger_app, name="ledger")

_COLOURS = {"whole": "green", "broken": "red", "cannot_tell": "magenta"}


@ledger_app.command("verify")
def verify(
    file: Annotated[Path | None, typer.Option("--file", help="Verify an exported file instead.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="An earlier export: say which of its entries differ or are gone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow the chain from the first entry to the last and say which entry was edited, dropped, moved or forged.

    Exit code 0: whole; 3: broken, or cannot tell because a key is missing.
    """
    from mlops.services import Services

    ledger = Services.open().ledger
    found = ledger.check() if file is None else ledger.check_file(file)
    if against is not None:
        gone = tuple(ledger.differences(against))
        found = dataclasses.replace(found, problems=(*found.problems, *gone))
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found) | {"verdict": found.verdict}, indent=2))
    else:
        _print(found)
    raise typer.Exit(0 if found.verdict == "whole" else 3)


@ledger_app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="Entries about this model. Default: all.")] = "",
    kind: Annotated[str, typer.Option(help="Entries of this kind: promotion, rollback, approval, …")] = "",
    last: Annotated[int, typer.Option("--last", min=1, help="At most this many, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """Show entries, the oldest first."""
    from mlops.services import Services

    services = Services.open()
    found = services.ledger.entries(model or None, kind or None)
    if not found and (model or kind):
        _say_what_is_known(services.ledger.entries(), model, kind)
    found = found[-last:]
    if as_json:
        shown = [dataclasses.asdict(entry) | {"at": entry.at.isoformat()} for entry in found]
        typer.echo(json.dumps(shown, indent=2))
        return
    table = Table("entry", "at (UTC)", "model", "kind", "by", "says", box=None, header_style="bold", pad_edge=False)
    for entry in found:
        moment = f"{entry.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(entry.seq), moment, entry.model, entry.kind, entry.actor, _words(entry))
    Console().print(table)


@ledger_app.command("export")
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write. Default: print.")] = None,
) -> None:
    """Write all entries as JSON lines; `mlops ledger verify --file` verifies them without the database."""
    from mlops.services import Services

    lines = Services.open().ledger.export()
    if output is None:
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            count = sum(1 for line in lines if file.write(f"{line}\n"))
        temporary.replace(output)
    except OSError as error:
        raise LedgerError(f"{output} cannot be written: {error.strerror}.", hint="Name another file.") from error
    finally:
        temporary.unlink(missing_ok=True)
    typer.echo(f"{max(count - 1, 0):,} entries written to {output}.")


@ledger_app.command("rotate-key")
def rotate_key() -> None:
    """Seal entries with a new key from now on; older ones stay in the file, to verify what they sealed."""
    from mlops.services import Services

    services = Services.open()
    new = services.ledger.rotate_key(actor=services.actor, at=services.clock())
    typer.echo(f"Entries are sealed with key {new} from now on. Back up {services.config.ledger_key_file}.")


def _print(found: Verification) -> None:
    console = Console(soft_wrap=True, highlight=False)
    colour, verdict = _COLOURS[found.verdict], found.verdict.replace("_", " ")
    sealed = f", {found.sealed:,} sealed with {', '.join(found.keys)}" if found.sealed else ""
    console.print(
        f"[{colour}]{verdict}[/]  {found.entries:,} entries{sealed}; the last is {found.last_hash[:16] or 'none'}"
    )
    for line in (*found.problems, *found.unknown, *found.notes):
        console.print(f"  {line}", markup=False)
    if found.more_problems:
        console.print(f"  and {found.more_problems:,} more")
    if found.verdict == "broken":
        console.print("  What to do: docs/runbook.md, 'the ledger is broken'.")


def _words(entry: Entry) -> str:
    """What an entry says, in a line: its reason, else its facts."""
    body: dict[str, Any] = entry.body
    version = f"v{body['version']}" if "version" in body else ""
    facts = ", ".join(f"{key} {value}" for key, value in body.items() if isinstance(value, (str, int, float)) and value)
    words = str(body.get("reason") or body.get("comment") or facts)
    told = f"{version} {words}".strip() if not words.startswith("Version") else words
    return told if len(told) <= 160 else f"{told[:159]}…"


def _say_what_is_known(entries: list[Entry], model: str, kind: str) -> None:
    models, kinds = {entry.model for entry in entries}, {entry.kind for entry in entries}
    if model and model not in models:
        raise LedgerError(f"The ledger has no entry about {model!r}.", hint=did_you_mean(model, models - {""}))
    if kind and kind not in kinds:
        raise LedgerError(f"The ledger has no entry of kind {kind!r}.", hint=did_you_mean(kind, kinds))
