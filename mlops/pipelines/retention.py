"""Retention: what nobody can need any more is deleted, and the ledger says so first.

Reads: versions, runs, training sets, predictions, reports, the prediction log, backtests, the ledger. Writes: one
ledger entry per batch, before anything of it is deleted; then it is. Works under the model's promotion lease, a batch
at a time, and looks anew before each: a promotion waits at most one batch, and what it has just put to use is not
deleted.

One rule: records go before what they lead to, so that a run that was cut short leaves nothing that leads nowhere, and
the next one finishes it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mlops import log
from mlops.errors import LedgerError
from mlops.governance.ledger import Entry
from mlops.governance.ledger_reasons import held_versions
from mlops.governance.retention import (
    Collected,
    Folder,
    FolderFacts,
    Holdings,
    Item,
    RunFacts,
    VersionFacts,
    decide,
)
from mlops.mlflow_store import artifact_bytes
from mlops.pipelines.champions import LEASE_SECONDS, exclusive
from mlops.pipelines.night import JUDGED_NIGHTS, judged_until, report
from mlops.records import StepReport
from mlops.services import Services
from mlops.serving.log_writer import log_uri
from mlops.spec import ModelSpec
from mlops.storage import Storage, StoredFile

BATCH = 20  # things deleted in one holding of the lease
_EVIDENCE = re.compile(r"/evidence-v(\d+)\.\w+$")
_DATE = re.compile(r"(?:date=)?(\d{4}-\d{2}-\d{2})")
_log = log.get(__name__)


def run(services: Services, spec: ModelSpec, apply: bool = False) -> StepReport:
    """Find what may go, and delete it if asked to.

    Returns:
        done, or nothing_to_do; the record is a `Collected`.

    Raises:
        LeaseError: a promotion of this model is under way.
        StorageError: something could not be deleted; running it again goes on there.
        LedgerError: the ledger, which says what must stay, is not whole.
    """
    day = services.clock().date()
    _trust_ledger(services)
    found = _decided(services, spec, survey(services, spec, sizes=True))
    gone = [item for item in found if not item.keep]
    record = Collected(found, applied=apply)
    if not gone:
        return report("retention", spec, day, "nothing_to_do", f"All {len(found)} things found are needed.", record)
    if apply:
        while _batch(services, spec):
            pass
    kinds = {kind: sum(item.kind == kind for item in gone) for kind in dict.fromkeys(item.kind for item in gone)}
    counted = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
    verb = "Deleted" if apply else "Would delete"
    return report("retention", spec, day, "done", f"{verb} {counted}; {record.freed / 1e6:,.1f} MB.", record)


def hold(services: Services, model: str, version: int, reason: str) -> Entry:
    """Keep a version, whatever the spec says, until it is released.

    Raises:
        RegistryError: there is no such version.
    """
    with exclusive(services, model, "hold"):
        services.registry.get(model, version)
        return _say(services, "hold", model, {"version": version, "reason": reason})


def release(services: Services, model: str, version: int, reason: str) -> Entry | None:
    """Take a hold away; None if there was none."""
    with exclusive(services, model, "release"):
        if version not in held_versions(services.ledger.entries(model)):
            return None
        return _say(services, "release", model, {"version": version, "reason": reason})


def survey(services: Services, spec: ModelSpec, *, sizes: bool = False) -> Holdings:
    """All that a model has left behind.

    Args:
        services: the adapters.
        spec: the model.
        sizes: measure versions and runs, which takes a look at every folder.
    """
    # Folders first: a training set that is made after this look cannot be mistaken for one that no run needs.
    folders = tuple(_folders(services, spec))
    runs = tuple(_runs(services, spec, sizes=sizes))
    versions = sorted(_versions(services, spec, sizes=sizes), key=lambda item: item.version)
    by_run = {version.run_id: version.size for version in versions}  # a version's files lie among those of its run
    own = [dataclasses.replace(r, size=max(r.size - sum(by_run.get(m, 0) for m in r.members), 0)) for r in runs]
    return Holdings(tuple(versions), tuple(own), folders)


def judged_from(spec: ModelSpec, now: datetime) -> date:
    """The oldest night whose predictions may still be measured: its label is not mature yet, or has been of late."""
    return judged_until(spec, now.date()).date() - timedelta(days=JUDGED_NIGHTS)


def _decided(services: Services, spec: ModelSpec, held: Holdings) -> tuple[Item, ...]:
    now, entries = services.clock(), services.ledger.entries(spec.name)
    return decide(held, entries, spec.retention, now, judged_from=judged_from(spec, now))


def _trust_ledger(services: Services) -> None:
    found = services.ledger.check()
    if found.verdict != "whole":
        said = "; ".join((*found.problems[:3], *found.unknown[:3]))
        raise LedgerError(
            f"The ledger says what must stay, and its verdict is {found.verdict.replace('_', ' ')!r}: {said}.",
            hint="Nothing was deleted. See docs/runbook.md, 'the ledger is broken'.",
        )


def _batch(services: Services, spec: ModelSpec) -> bool:
    """Delete at most `BATCH` things; whether there may be more."""
    with exclusive(services, spec.name, "retention") as lease:
        found = _decided(services, spec, survey(services, spec))
        gone = [item for item in found if not item.keep][:BATCH]
        if not gone:
            return False
        body = {"deleted": [{"kind": i.kind, "name": i.name, "why": "; ".join(i.reasons)} for i in gone]}
        named = hashlib.sha256(str(body).encode()).hexdigest()[:16]
        _say(services, "retention", spec.name, body, key=f"{spec.name}/retention/{services.clock().date()}/{named}")
        for item in gone:
            services.leases.renew(lease, LEASE_SECONDS)
            _delete(services, spec, item)
            _log.info("deleted  %s", log.facts(kind=item.kind, name=item.name))
    return True


def _delete(services: Services, spec: ModelSpec, item: Item) -> None:
    if item.kind == "version":
        services.registry.delete(spec.name, int(item.name))
    elif item.kind == "runs":
        from mlops.experiments import removal

        client = services.tracker.client
        for family in removal.families(client, spec.name, f"{spec.name}/training/"):
            if family.run_id == item.name and not family.open and not _registered(services, family.members):
                removal.remove(client, services.config, family)
    else:
        services.storage.delete(item.name)


def _registered(services: Services, run_ids: Iterable[str]) -> bool:
    """Whether a version was made from one of these runs: a training may just have reused it."""
    client = services.registry.client
    return any(client.search_model_versions(f"run_id = '{run_id}'", max_results=1) for run_id in run_ids)


def _versions(services: Services, spec: ModelSpec, *, sizes: bool) -> Iterable[VersionFacts]:
    by_version: dict[int, list[str]] = {}
    for alias, number in services.registry.aliases(spec.name).items():
        by_version.setdefault(number, []).append(alias)
    for found in _all_versions(services, f"name = '{spec.name}'"):
        tags = {key.removeprefix("mlops."): value for key, value in found.tags.items()}
        ours = "model_uri" in tags and "stage" in tags
        size = 0
        if sizes and ours:
            location = services.registry.artifacts.location(tags["model_uri"])
            size = artifact_bytes(services.config, location)
        yield VersionFacts(
            version=int(found.version),
            stage=tags.get("stage", ""),
            aliases=tuple(sorted(by_version.get(int(found.version), ()))),
            registered_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            run_id=found.run_id or "",
            training_set_uri=tags.get("training_set_uri", ""),
            ours=ours,
            size=size,
        )


def _runs(services: Services, spec: ModelSpec, *, sizes: bool) -> Iterable[RunFacts]:
    from mlops.experiments import removal

    client = services.tracker.client
    others = {found.run_id for found in _all_versions(services, "") if found.name != spec.name}
    for family in removal.families(client, spec.name, f"{spec.name}/training/"):
        yield RunFacts(
            name=family.run_id,
            run_key=family.run_key,
            members=family.members,
            open=family.open,
            touched_at=family.touched_at,
            training_sets=family.datasets,
            elsewhere=bool(others & set(family.members)),
            size=removal.family_bytes(client, services.config, family) if sizes else 0,
        )


def _folders(services: Services, spec: ModelSpec) -> Iterable[FolderFacts]:
    storage, since = services.storage, judged_from(spec, services.clock())
    places: tuple[tuple[Folder, str, int], ...] = (
        ("training_set", storage.uri("training_sets", spec.name), 2),  # date=…/<fingerprint>
        ("predictions", storage.uri("predictions", spec.name), 1),
        ("reports", storage.uri("reports", spec.name), 1),
        ("prediction_log", log_uri(storage, spec.name), 1),  # date=…, a table in it per process and minute
        ("backtest", storage.uri("backtests", spec.name), 1),
    )
    for kind, root, depth in places:
        by_folder: dict[str, list[StoredFile]] = {}
        for file in storage.listing(root):
            parts = file.uri.removeprefix(f"{root}/").split("/")
            if len(parts) > depth:
                by_folder.setdefault("/".join([root, *parts[:depth]]), []).append(file)
        for uri, files in by_folder.items():
            night = _night_of(uri.removeprefix(f"{root}/")) if kind != "backtest" else None
            made_by = _predicted_by(storage, uri) if kind == "predictions" and night and night >= since else ()
            yield FolderFacts(
                kind=kind,
                uri=uri,
                touched_at=max(file.modified_at for file in files),
                night=night,
                versions=made_by or tuple(sorted({int(m.group(1)) for f in files if (m := _EVIDENCE.search(f.uri))})),
                size=sum(file.size for file in files),
            )


def _night_of(name: str) -> date | None:
    found = _DATE.match(name)
    return date.fromisoformat(found.group(1)) if found else None


def _predicted_by(storage: Storage, uri: str) -> tuple[int, ...]:
    """Who made the predictions of a date."""
    manifest = storage.manifest(uri)
    return (int(manifest.facts["version"]),) if manifest and "version" in manifest.facts else ()


def _all_versions(services: Services, words: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = services.registry.client.search_model_versions(words or None, max_results=200, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _say(services: Services, kind: str, model: str, body: dict[str, Any], key: str | None = None) -> Entry:
    return services.ledger.append(kind, model, body, actor=services.actor, at=services.clock(), key=key)
