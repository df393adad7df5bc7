"""The data docs in the browser: their pages as files, the index made anew whenever it is opened.

One rule: what is shown is a file that opens without this server, too.
"""

from __future__ import annotations

import threading
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mlops.errors import MLOpsError
from mlops.pipelines import data_docs
from mlops.services import Services


class _Docs(SimpleHTTPRequestHandler):
    """Answers GET and HEAD for the files of one folder."""

    services: Services
    building: threading.Lock

    def do_GET(self) -> None:
        """A page; `/health` says `ok`."""
        if self.path == "/health":
            self._say(HTTPStatus.OK, "ok")
            return
        if self.path.partition("?")[0] in ("/", "/index.html"):
            try:
                with self.building:
                    data_docs.build(self.services, Path(self.directory))
            except MLOpsError as error:
                self._say(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # the base class names it so
        """Nothing: who looks at a page need not be noted."""

    def _say(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def server(services: Services, folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the data docs on this machine's loopback, not running yet.

    Args:
        services: the adapters.
        folder: where the files are written.
        port: to listen on; 0: any free one.

    Raises:
        MLOpsError: the port cannot be used.
    """
    handler = type("Docs", (_Docs,), {"services": services, "building": threading.Lock()})
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(handler, directory=str(folder)))
    except OSError as error:
        raise MLOpsError(f"Port {port} cannot be used: {error.strerror}.", hint="Choose another: --port.") from error
