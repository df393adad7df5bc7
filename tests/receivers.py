"""Receivers of alerts on this machine that speak the real protocols: HTTP with answers to choose, and SMTP."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any


@dataclass
class Request:
    """What was posted."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """What an HTTP server was sent, and what it answers next."""

    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, str]] = field(default_factory=list)  # used up one by one; then 200
    headers: dict[str, str] = field(default_factory=dict)  # of the answers
    url: str = ""


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """An HTTP server that keeps what it is sent."""
    kept = HttpReceiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.requests.append(Request(self.path, dict(self.headers.items()), body))
            status, said = kept.answers.pop(0) if kept.answers else (200, "ok")
            self.send_response(status)
            for name, value in kept.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        kept.url = f"http://127.0.0.1:{server.server_port}"
        yield kept
        server.shutdown()


@dataclass
class SmtpReceiver:
    """What a mail server was sent, and what it refuses."""

    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    refuse: str = ""  # "451 …" after DATA
    port: int = 0


@contextmanager
def smtp_receiver() -> Iterator[SmtpReceiver]:
    """A mail server (RFC 5321: EHLO, AUTH PLAIN, MAIL, RCPT, DATA, QUIT) that keeps what it is sent."""
    kept = SmtpReceiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 here")
            while line := self.rfile.readline().decode().strip():
                verb, _, rest = line.partition(" ")
                match verb.upper():
                    case "EHLO":
                        self._say("250-here")
                        self._say("250 AUTH PLAIN")
                    case "AUTH":
                        kept.logins.append(rest)
                        self._say("235 well")
                    case "DATA":
                        self._say("354 go on")
                        self._take()
                    case "QUIT":
                        self._say("221 bye")
                        return
                    case _:
                        self._say("250 well")

        def _take(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b"."))
            if kept.refuse:
                self._say(kept.refuse)
                return
            mail = message_from_bytes(b"".join(lines), policy=policy.default)
            assert isinstance(mail, EmailMessage)
            kept.mails.append(mail)
            self._say("250 taken")

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        kept.port = server.server_address[1]
        yield kept
        server.shutdown()
