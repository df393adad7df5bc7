"""The log: one line that says all."""

from __future__ import annotations

from mlops import log
from mlops.monitoring import message as words
from mlops.monitoring.outbox import Message

_log = log.get("mlops.monitoring.alerts")


class LogChannel:
    """WARNING for what needs somebody, INFO for what is over or looked after."""

    secrets: tuple[str, ...] = ()

    def send(self, message: Message) -> None:
        """Write one line."""
        incident = message.incident
        facts = log.facts(
            incident=incident.number, key=incident.key, date=incident.date, urgency=incident.urgency,
            runbook=incident.runbook,
        )  # fmt: skip
        if message.event in ("resolved", "acknowledged"):
            _log.info("Incident %s  %s", words.WORDS[message.event], facts)
            return
        parts = words.sections(message)
        said = " ".join(
            f"{heading}: {parts[heading]}" if heading == "What to do" else parts[heading]
            for heading in ("What happened", "What it means", "What goes on", "What to do")
            if heading in parts
        )
        again = "" if message.event == "opened" else f"({words.WORDS[message.event]}) "
        _log.warning("%s%s  %s", again, " ".join(said.split()), facts)
