"""Incidents and alerts of one installation: what is found is kept, and told on the channels that the spec names.

A finding and the messages about it are one transaction; then what waits is delivered. A channel that is down holds
nothing up: the message stays in the outbox, and the next step, the maintenance DAG or `mlops incidents deliver` tries
again, later and later. So a process that is killed tells once more rather than never, with an id to tell it by.

One rule: a step never fails because somebody could not be told; it fails if what was found could not be kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from mlops import log
from mlops.errors import ConfigError, DeliveryError, IncidentError, LedgerError, did_you_mean
from mlops.monitoring import incidents as life
from mlops.monitoring import runbook as pages
from mlops.monitoring.channels import Channel, known_channels, open_channel
from mlops.monitoring.incident_store import Act, Change, IncidentStore
from mlops.monitoring.incident_tables import Transactions
from mlops.monitoring.outbox import Message, Outbox
from mlops.records import Incident
from mlops.spec import AlertsSpec

CLAIM_SECONDS = 120.0  # how long who sends a message has it to itself
PAUSES = (0.5, 1.0)  # between the tries of one delivery [s]
LONGEST_PAUSE = timedelta(hours=1)  # between two deliveries of what a channel does not take
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the messages that were due."""

    sent: int
    waiting: int  # tried, and not taken
    errors: tuple[str, ...] = ()  # one sentence per channel that did not take something
    stuck: int = 0  # of those that wait, how many are older than an hour


class Alerts:
    """The incidents of one installation and the ways to tell of them.

    Args:
        database: where they are kept.
        settings: of the channels beside the log, by name.
        variables: the environment that secrets are looked up in.
        clock: what time it is.
        sleep: how to wait between two tries [s].
    """

    def __init__(
        self,
        database: Transactions,
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        variables: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store = IncidentStore(database)
        self.outbox = Outbox(database)
        self._settings, self._variables = settings or {}, variables or {}
        self._clock, self._sleep = clock, sleep

    # --- findings ---

    def raise_incident(
        self,
        incident: Incident,
        *,
        terms: AlertsSpec | None = None,
        owner: str = "",
        channels: Sequence[str] = ("log",),
        runbook: str = "docs/runbook.md",
    ) -> bool:
        """Keep what was found, and tell of it if that is new to people.

        Args:
            incident: what was found.
            terms: what the spec says about channels, runbook and how often people are told.
            owner: who answers for the model.
            channels: without `terms`: the channels.
            runbook: without `terms`: the page that says what to do.

        Returns:
            True if people are told now.

        Raises:
            ConfigError: there is no channel of a name.
            LedgerError: it could not be kept; it was told on the log.
        """
        terms = terms or AlertsSpec(channels=tuple(channels), runbook=runbook)
        known = known_channels(self._settings)
        for name in terms.channels:
            if name not in known:
                raise ConfigError(f"There is no alert channel {name!r}.", hint=did_you_mean(name, known))
        now = self._clock()
        page = incident.runbook or pages.page(terms.runbook, incident.kind)
        finding = replace(incident, owner=incident.owner or owner, runbook=page)
        try:
            _, event = self.store.raised(
                finding.key,
                lambda before: life.found(before, finding, now, terms),
                channels=lambda kept: [name for name in terms.channels if self._is_for(name, kept)],
                now=now,
            )
        except LedgerError:
            open_channel("log", {}, {}).send(Message(0, "log", "opened", finding, now))
            raise
        if event is not None:
            self.deliver_quietly()
        return event is not None

    def resolve(
        self,
        model: str,
        kind: str,
        *,
        at: datetime,
        day: date | None = None,
        until: date | None = None,
        terms: AlertsSpec | None = None,
    ) -> int:
        """What incidents of a kind tell of is over.

        Args:
            model: whose.
            kind: which.
            at: since when.
            day: for this date alone.
            until: for this date and all before.
            terms: what the spec says about flapping ones.

        Returns:
            How many are over now, or have a date less.

        Raises:
            LedgerError: it could not be kept.
        """
        numbers = [one.number for one in self.store.incidents(model, kind, resolved=False)]
        return len(self._change(numbers, lambda known: life.over(known, at, day=day, until=until), terms=terms))

    def list_incidents(self, model: str = "", *, resolved: bool = True) -> list[Incident]:
        """Incidents in the order in which they were opened; of all models without one."""
        return self.store.incidents(model, resolved=resolved)

    # --- what people do ---

    def find(self, reference: str) -> Incident:
        """An incident by its number, or the newest of a key.

        Raises:
            IncidentError: there is none.
        """
        if reference.isdecimal():
            return self.store.get(int(reference))
        if (found := self.store.newest(reference)) is None:
            known = {one.key for one in self.store.incidents()}
            raise IncidentError(f"There is no incident {reference!r}.", hint=did_you_mean(reference, known))
        return found

    def acknowledge(self, number: int, *, by: str, note: str = "") -> bool:
        """Somebody looks after it. Returns False if somebody did already."""
        now = self._clock()
        change = partial(life.acknowledged, by=by, note=note)
        return bool(self._change([number], change, Act(now, "acknowledged", by, note)))

    def silence(self, number: int, *, until: date, by: str, note: str) -> bool:
        """Nobody is told of it up to a date. Returns False if that is so already."""
        now = self._clock()
        change = partial(life.silenced, now=now, until=until, by=by, note=note)
        return bool(self._change([number], change, Act(now, f"silenced until {until}", by, note)))

    def resolve_by_hand(self, number: int, *, by: str, note: str = "") -> bool:
        """Somebody says that it is over. Returns False if it was."""
        now = self._clock()
        change = partial(life.resolved, now=now, by=by, note=note)
        return bool(self._change([number], change, Act(now, "resolved", by, note)))

    # --- telling ---

    def deliver(self) -> Delivered:
        """Tell what is due: also silences that have run out, and what channels have not taken before."""
        silenced = [one.number for one in self.store.incidents(resolved=False) if one.state == "silenced"]
        if silenced:
            now = self._clock()
            self.store.changed(silenced, lambda known: life.woken(known, now), now=now)
        sent, errors, down = 0, {}, set()
        for message in self.outbox.waiting(due=self._clock()):
            if message.channel in down:
                continue
            claimed = self.outbox.claim(message.id, self._clock(), seconds=CLAIM_SECONDS)
            if claimed is None:
                continue
            if error := self._send(claimed):
                errors[message.channel] = f"{message.channel}: {error}"
                down.add(message.channel)
            else:
                sent += 1
        left = [message for message in self.outbox.waiting() if message.attempts]
        stuck = sum(message.created_at < self._clock() - LONGEST_PAUSE for message in left)
        return Delivered(sent, len(left), tuple(errors.values()), stuck)

    def deliver_quietly(self) -> Delivered | None:
        """`deliver`, for who has other work: that the outbox itself cannot be read is told on the log."""
        try:
            return self.deliver()
        except LedgerError as error:
            _log.error("What waits to be told could not be read: %s", error)
            return None

    def _send(self, message: Message) -> str:
        """Send a message that was claimed; what went wrong, without secrets, or nothing."""
        secrets: tuple[str, ...] = ()
        try:
            channel = open_channel(message.channel, self._settings, self._variables)
            secrets = channel.secrets
            self._try(channel, message)
        except Exception as error:  # noqa: BLE001 - whatever a channel does, the message stays and the step goes on
            said = _without(str(error), secrets)
            pause = min(timedelta(minutes=1) * 2 ** min(message.attempts - 1, 10), LONGEST_PAUSE)
            self.outbox.failed(message, said, again_at=self._clock() + pause)
            _log.error(
                "An alert was not taken and is kept: %s  %s", said,
                log.facts(channel=message.channel, incident=message.incident.key, attempts=message.attempts),
            )  # fmt: skip
            return said
        self.outbox.sent(message, self._clock())
        return ""

    def _try(self, channel: Channel, message: Message) -> None:
        for pause in PAUSES:
            try:
                channel.send(message)
            except DeliveryError:
                self._sleep(pause)
            else:
                return
        channel.send(message)

    def _change(
        self, numbers: Iterable[int], change: Change, act: Act | None = None, terms: AlertsSpec | None = None
    ) -> list[Incident]:
        numbers = list(numbers)
        if not numbers:
            return []
        hold = partial(life.held_back, terms=terms or AlertsSpec())
        changed = self.store.changed(numbers, change, now=self._clock(), act=act, hold=hold)
        if changed:
            self.deliver_quietly()
        return changed

    def _is_for(self, name: str, incident: Incident) -> bool:
        at_least = str(self._settings.get(name, {}).get("at_least", "low"))
        rank: list[str] = list(life.URGENCIES)
        return rank.index(incident.urgency) >= rank.index(at_least)


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return " ".join(text.split())
