"""A fake of the Docker engine's HTTP API on loopback, as far as the real `docker` command needs it.

What a container comes to is said by its image: `…:crash` ends at once with code 3, `…:sick` never becomes healthy,
`…:huge` is killed for want of memory; any other is healthy at the third look. `…:missing` cannot be pulled.
"""

from __future__ import annotations

import json
import re
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
API = "1.50"
_LOOKS = 2


class Engine:
    """Containers of one engine."""

    def __init__(self) -> None:
        self.containers: dict[str, Object] = {}  # by name
        self.log: list[tuple[str, str]] = []  # (method, path) of what was asked
        self.stops_at = -1  # every change from this number on is refused; -1: none
        self.changes = 0
        self.lock = threading.Lock()

    def found(self, name: str) -> Object:
        """A container by name or id."""
        for known, container in self.containers.items():
            if name in (known, container["Id"]):
                return container
        raise EngineError(404, f"No such container: {name}")

    def looked_at(self, container: Object) -> Object:
        """A moment passes."""
        state, fate = container["State"], container["Config"]["Image"].rpartition(":")[2]
        if state["Status"] == "running":
            container["looks"] = container.get("looks", 0) + 1
            if fate in ("crash", "huge"):
                state |= {"Status": "exited", "Running": False, "ExitCode": 3, "OOMKilled": fate == "huge"}
            elif fate != "sick" and container["looks"] > _LOOKS:
                state["Health"] = {"Status": "healthy", "Log": []}
            else:
                state["Health"] = {"Status": "starting", "Log": [{"ExitCode": 1, "Output": "503"}]}
        return {name: value for name, value in container.items() if name != "looks"}

    def create(self, name: str, body: Object) -> Object:
        """A new container."""
        if body["Image"].endswith(":missing"):
            raise EngineError(404, f"No such image: {body['Image']}")
        if name in self.containers:
            raise EngineError(409, f'Conflict. The container name "/{name}" is already in use')
        state = {"Status": "created", "Running": False, "ExitCode": 0, "OOMKilled": False, "Error": ""}
        made = {"Id": uuid.uuid4().hex * 2, "Name": f"/{name}", "State": state, "RestartCount": 0}
        self.containers[name] = made | {"Config": body, "HostConfig": body["HostConfig"]}
        return self.containers[name]

    def start(self, container: Object) -> None:
        """Publish its port, and run it."""
        mine = _ports(container)
        for other in self.containers.values():
            if other is not container and other["State"]["Status"] == "running" and _ports(other) & mine:
                raise EngineError(500, f"driver failed programming external connectivity: {mine} is already allocated")
        container["looks"] = 0
        container["State"] |= {"Status": "running", "Running": True, "Health": {"Status": "starting", "Log": []}}

    def running(self) -> dict[str, str]:
        """Image of each running container, by name."""
        alive = {name: c for name, c in self.containers.items() if c["State"]["Status"] == "running"}
        return {name: container["Config"]["Image"] for name, container in alive.items()}


class EngineError(Exception):
    """What the engine answers instead."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def running() -> Iterator[tuple[Engine, str]]:
    """An engine and its DOCKER_HOST."""
    engine = Engine()
    made = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"engine": engine}))
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield engine, f"tcp://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        made.server_close()


class Handler(BaseHTTPRequestHandler):
    """The HTTP of it."""

    protocol_version = "HTTP/1.1"
    engine: Engine

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the console."""

    def _handle(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = [
            part for part in re.sub(r"^/v\d+\.\d+/", "/", address.path).split("/") if part
        ]  # an older command's, too
        try:
            with self.engine.lock:
                self._count(address.path)
                code, answer = self._answer(parts, asked, json.loads(raw) if raw else {})
        except EngineError as error:
            code, answer = error.code, {"message": str(error)}
        self._say(code, answer)

    do_GET = do_HEAD = do_POST = do_DELETE = _handle  # noqa: N815

    def _count(self, path: str) -> None:
        engine = self.engine
        engine.log.append((self.command, path))
        if self.command in ("POST", "DELETE"):
            engine.changes += 1
            if 0 <= engine.stops_at < engine.changes:
                raise EngineError(500, "killed")

    def _say(self, code: int, answer: Any) -> None:
        data = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        kind = "application/vnd.docker.multiplexed-stream" if isinstance(answer, bytes) else "application/json"
        self.send_response(code)
        for name, value in (("Api-Version", API), ("Ostype", "linux"), ("Content-Type", kind)):
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and code != 204:
            self.wfile.write(data)

    def _answer(self, parts: list[str], asked: dict[str, str], body: Object) -> tuple[int, Any]:
        match parts:
            case ["_ping"]:
                return 200, None
            case ["images", *name, "json"]:
                return (
                    (404, {"message": "No such image"}) if name[-1].endswith(":missing") else (200, {"Id": "sha256:1"})
                )
            case ["images", "create"]:
                return 404, {"message": f"pull access denied for {asked['fromImage']}: repository does not exist"}
            case ["containers", "create"]:
                return 201, {"Id": self.engine.create(asked["name"], body)["Id"], "Warnings": []}
            case ["containers", name, *what]:
                return self._container(self.engine.found(name), what[-1] if what else "", asked)
        return 404, {"message": f"page not found: {self.path}"}

    def _container(self, container: Object, what: str, asked: dict[str, str]) -> tuple[int, Any]:
        engine, name = self.engine, container["Name"].strip("/")
        match self.command, what:
            case "GET", "json":
                return 200, engine.looked_at(container)
            case "GET", "logs":
                said = f"the last words of {name}\n".encode()
                return 200, struct.pack(">BxxxL", 1, len(said)) + said
            case "POST", "start":
                engine.start(container)
            case "POST", "stop":
                container["State"] |= {"Status": "exited", "Running": False}
            case "POST", "rename":
                if asked["name"] in engine.containers:
                    return 409, {"message": "already in use"}
                engine.containers[asked["name"]] = engine.containers.pop(name)
                container["Name"] = f"/{asked['name']}"
            case "DELETE", "":
                del engine.containers[name]
        return 204, None


def _ports(container: Object) -> set[str]:
    bindings = container["HostConfig"].get("PortBindings") or {}
    return {bound["HostPort"] for each in bindings.values() for bound in each}
