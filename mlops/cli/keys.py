"""`mlops keys`, `mlops sign` and `mlops verify`: who vouches for model versions."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mlops.cli.app import Json, app
from mlops.config import MLOpsConfig

keys_app = typer.Typer(no_args_is_help=True, help="Keys that sign model versions.")
app.add_typer(keys_app, name="keys")

Model = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[int, typer.Argument(help="Number of the version.")]


@keys_app.command("list")
def keys_list(as_json: Json = False) -> None:
    """The key that signs, those that are trusted, and those that were revoked."""
    from mlops.models.keys import Keyring

    keyring = Keyring.of(MLOpsConfig.load())
    found = keyring.known()
    if as_json:
        typer.echo(json.dumps([_plain(key) for key in found], indent=2))
        return
    if not found:
        typer.echo(f"No keys in {keyring.folder}. Make one: mlops keys create")
        return
    table = Table("key", "status", "revoked", "reason", box=None)
    for key in found:
        table.add_row(key.id, key.status, key.revoked_at[:16], key.reason)
    Console().print(table)


@keys_app.command("create")
def keys_create(as_json: Json = False) -> None:
    """Make a key pair to sign with, if there is none."""
    from mlops.pipelines import signing

    key = signing.create(_services())
    _show(_plain(key), f"Versions are signed with {key.id}.", as_json)


@keys_app.command("rotate")
def keys_rotate(as_json: Json = False) -> None:
    """Sign with a new key from now on; what the old key signed is loaded until that is revoked."""
    from mlops.pipelines import signing

    old, new = signing.rotate(_services())
    words = f"Versions are signed with {new.id} from now on."
    if old:
        words += (
            f" What {old.id} signed is still loaded; `mlops sign` signs a version again, `mlops keys revoke` ends it."
        )
    _show({"old": old.id if old else "", "new": new.id}, words, as_json)


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="Id of the key, or its start.")],
    reason: Annotated[str, typer.Option(help="Why; it is shown wherever a version is refused for it.")],
    as_json: Json = False,
) -> None:
    """Load nothing more that a key signed. Revoking the key that signs makes a new one."""
    from mlops.pipelines import signing

    revoked, refused = signing.revoke(_services(), key, reason)
    names = [f"{item.model} {item.version}" for item in refused]
    words = f"{revoked.id} is revoked. " + (
        f"Refused from now on: {', '.join(names)}. If their files are known to be good: mlops sign <model> <version>"
        if names
        else "It had signed no version."
    )
    _show({"key": _plain(revoked), "refused": names}, words, as_json)


@keys_app.command("export")
def keys_export(key: Annotated[str, typer.Argument(help="Id; default: the key that signs.")] = "") -> None:
    """Print a public key as PEM, for the `trusted` folder of whoever loads versions."""
    from mlops.models.keys import Keyring

    typer.echo(Keyring.of(MLOpsConfig.load()).export(key), nl=False)


@app.command()
def sign(model: Model, version: Version, as_json: Json = False) -> None:
    """Sign a version with the current key, after what vouches for its files was verified."""
    from mlops.pipelines import signing

    record = signing.sign(_services(), model, version)
    words = f"{model} version {version} is signed by {record.signed_by}; its files were vouched for by "
    _show(asdict(record), words + _VOUCHERS[record.vouched_by], as_json)


@app.command()
def verify(model: Model, version: Version, as_json: Json = False) -> None:
    """Verify signature and digests of a version, without loading it."""
    from mlops.pipelines import signing

    record = signing.verify(_services(), model, version)
    words = f"{model} version {version} is what was registered; the key {record.signed_by} vouches for all its files."
    _show(asdict(record), words, as_json)


_VOUCHERS = {
    "signature": "its earlier signature.",
    "ledger": "its registration in the ledger.",
    "registry": "the digests in the registry alone.",
}


def _services() -> Any:
    from mlops.services import Services

    return Services.open()


def _plain(key: Any) -> dict[str, Any]:
    return asdict(key) | {"path": str(key.path)}


def _show(record: dict[str, Any], words: str, as_json: bool) -> None:
    typer.echo(json.dumps(record, indent=2) if as_json else words)
