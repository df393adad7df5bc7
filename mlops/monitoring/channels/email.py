"""Mail by SMTP. What is told of one incident is one thread; a mail that is sent twice has the same Message-ID."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import format_datetime

from mlops.channel_settings import EmailSettings, looked_up
from mlops.errors import DeliveryError
from mlops.monitoring import message as words
from mlops.monitoring.outbox import Message

SECONDS = 10.0


class EmailChannel:
    """Sends mails."""

    def __init__(self, settings: EmailSettings, password: str) -> None:
        self._settings = settings
        self._password = password
        self.secrets: tuple[str, ...] = (password,) if password else ()

    @classmethod
    def of(cls, settings: EmailSettings, variables: Mapping[str, str]) -> EmailChannel:
        """The channel of these settings."""
        return cls(settings, looked_up(settings.password, variables) if settings.password else "")

    def send(self, message: Message) -> None:
        """Send one mail; an acknowledgement is none."""
        if message.event == "acknowledged":
            return
        given = self._settings
        encrypted = ssl.create_default_context()
        try:
            if given.security == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(given.host, given.port, timeout=SECONDS, context=encrypted)
            else:
                server = smtplib.SMTP(given.host, given.port, timeout=SECONDS)
            with server:
                if given.security == "starttls":
                    server.starttls(context=encrypted)
                if given.user:
                    server.login(given.user, self._password)
                refused = server.send_message(self._mail(message))
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryError(f"The mail server {given.host}:{given.port} did not take it: {error}") from error
        if refused:
            raise DeliveryError(f"The mail server {given.host} refused {len(refused)} of {len(given.to)} addresses.")

    def _mail(self, message: Message) -> EmailMessage:
        incident = message.incident
        domain = self._settings.sender.rpartition("@")[2].rstrip(">") or "mlops"
        opened = incident.first_seen_at or message.created_at
        thread = hashlib.sha256(f"{words.incident_id(incident)} {opened.isoformat()}".encode()).hexdigest()[:24]
        mail = EmailMessage()
        mail["From"], mail["To"] = self._settings.sender, ", ".join(self._settings.to)
        mail["Subject"] = " ".join(words.title(message).split())
        mail["Date"] = format_datetime(message.created_at)
        mail["Message-ID"] = f"<{thread}.{message.id}@{domain}>"
        mail["References"] = f"<{thread}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        mail.set_content(words.text(message))
        return mail
