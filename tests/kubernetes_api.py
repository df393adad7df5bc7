"""A fake of the Kubernetes API server over HTTP: it checks bodies by Kubernetes' own schemas and keeps to its rules.

Taken: discovery, get, list, watch, create, replace, server-side apply (ownership, conflicts, dry run), merge patches,
JSON patches, delete, logs, and requests to Services (`proxy`). Clients are this project's and the real `kubectl`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests import kubernetes_cluster as cluster
from tests import kubernetes_patch as patches
from tests.kubernetes_discovery import GROUPS, KINDS, discovery
from tests.kubernetes_schema import required
from tests.kubernetes_store import Object, RefusedError, Server, shown

__all__ = ["Object", "RefusedError", "Server", "kubeconfig", "running"]
TICK_SECONDS = 0.05


@contextmanager
def running() -> Iterator[tuple[Server, str]]:
    """A server and its address, with controllers at work."""
    required()  # here, where a skip is heard: the server checks in threads of its own
    server = Server()
    made = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"server_state": server}))
    made.daemon_threads = True
    ends = threading.Event()

    def controllers() -> None:
        while not ends.wait(TICK_SECONDS):
            server.tick()

    threads = [threading.Thread(target=work, daemon=True) for work in (made.serve_forever, controllers)]
    for thread in threads:
        thread.start()
    try:
        yield server, f"http://127.0.0.1:{made.server_port}"
    finally:
        ends.set()
        made.shutdown()
        made.server_close()


def kubeconfig(folder: Path, url: str, **user: Any) -> Path:
    """A kubeconfig of it, with context `test`."""
    path = folder / "kubeconfig"
    context = {"cluster": "test", "user": "test", "namespace": "models"}
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": context}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class Handler(BaseHTTPRequestHandler):
    """The HTTP of it."""

    protocol_version = "HTTP/1.1"
    server_state: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the console."""

    def _handle(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._admitted(address.path)
            body = yaml.safe_load(raw) if raw else None
            self._routed(address.path.strip("/").split("/"), asked, body)
        except RefusedError as refused:
            self._refused(refused)
        except yaml.YAMLError as error:
            self._say(
                400, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(error), "code": 400}
            )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _admitted(self, path: str) -> None:
        server = self.server_state
        if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        with server.lock:
            server.log.append((self.command, path))
            refused = server.refuse(self.command, path)
        if refused is not None:
            raise refused

    def _refused(self, refused: RefusedError) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": refused.code}
        self._say(refused.code, status | {"message": str(refused), "reason": refused.reason})

    def _say(self, code: int, body: Any, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _routed(self, parts: list[str], asked: dict[str, str], body: Any) -> None:
        if (found := discovery("/".join(parts))) is not None:
            self._say(200, found)
            return
        version, rest = ("v1", parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        namespace = "default"
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kinds = GROUPS.get(version, {})
        if not rest or rest[0] not in kinds:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        kind, server = kinds[rest[0]], self.server_state
        if len(rest) == 1:
            self._collection(kind, namespace, asked, body)
        elif len(rest) == 2:
            with server.lock:
                code, found = self._item(kind, namespace, rest[1], asked, body)
            self._say(code, found)
        elif rest[2] == "log":
            with server.lock:
                self._found("Pod", namespace, rest[1])
            self._say(200, f"the last words of {rest[1]}{' before' if 'previous' in asked else ''}\n", "text/plain")
        elif rest[2] == "proxy":
            self._proxied(namespace, rest[1].partition(":")[0], "/" + "/".join(rest[3:]), body)
        else:
            raise RefusedError(404, "NotFound", f"there is no subresource {rest[2]!r}")

    def _found(self, kind: str, namespace: str, name: str) -> Object:
        found = self.server_state.objects.get((kind, namespace, name))
        if found is None:
            raise RefusedError(404, "NotFound", f'{KINDS[kind][1]} "{name}" not found')
        return found

    def _collection(self, kind: str, namespace: str, asked: dict[str, str], body: Any) -> None:
        server = self.server_state
        if self.command == "POST":
            with server.lock:
                name = body["metadata"]["name"]
                if (kind, namespace, name) in server.objects:
                    raise RefusedError(409, "AlreadyExists", f'{KINDS[kind][1]} "{name}" already exists')
                made = server.changed(kind, namespace, name, body, dry=asked.get("dryRun") == "All")
                self._say(201, shown(made))
            return
        if asked.get("watch") in ("true", "1"):
            self._watched(kind, namespace, asked)
            return
        with server.lock:
            found = [shown(o) for o in server.all(kind) if _chosen(o, namespace, asked)]
            meta = {"resourceVersion": str(server.version)}
        self._say(200, {"apiVersion": KINDS[kind][0], "kind": f"{kind}List", "metadata": meta, "items": found})

    def _watched(self, kind: str, namespace: str, asked: dict[str, str]) -> None:
        server, since = self.server_state, int(asked.get("resourceVersion") or 0)
        deadline = time.monotonic() + min(float(asked.get("timeoutSeconds", 60)), 60)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while time.monotonic() < deadline:
                with server.lock:
                    news = [e for e in server.events if e[0] > since]
                    if not news:
                        server.lock.wait(0.2)
                for version, verb, to in news:
                    since = version
                    if to["kind"] == kind and _chosen(to, namespace, asked):
                        self.wfile.write(json.dumps({"type": verb, "object": to}).encode() + b"\n")
                self.wfile.flush()

    def _item(self, kind: str, namespace: str, name: str, asked: dict[str, str], body: Any) -> tuple[int, Object]:
        server, dry = self.server_state, asked.get("dryRun") == "All"
        content = self.headers.get("Content-Type", "")
        if self.command == "PATCH" and content.startswith("application/apply-patch"):
            code, made = server.applied(kind, namespace, name, body, asked)
            return code, shown(made)
        there = self._found(kind, namespace, name)
        if self.command == "GET":
            return 200, shown(there)
        if self.command == "DELETE":
            if not dry:
                server.drop(there)
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        made = patches.patched(shown(there), body, content) if self.command == "PATCH" else body
        return 200, shown(server.changed(kind, namespace, name, made, dry=dry))

    def _proxied(self, namespace: str, name: str, path: str, body: Any) -> None:
        server = self.server_state
        with server.lock:
            chosen = self._found("Service", namespace, name)["spec"].get("selector") or {}
            pods = [p for p in server.all("Pod") if chosen.items() <= p["metadata"]["labels"].items()]
            ready = [p for p in pods if cluster.is_ready(p)]
        if not ready:
            raise RefusedError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')
        self._say(*server.answer(ready[0], path, body))


def _chosen(found: Object, namespace: str, asked: dict[str, str]) -> bool:
    meta = found["metadata"]
    labels = [each.split("=") for each in asked.get("labelSelector", "").replace("==", "=").split(",") if each]
    fields = [each.split("=") for each in asked.get("fieldSelector", "").split(",") if each]
    return (
        meta["namespace"] == namespace
        and all(meta.get("labels", {}).get(name) == value for name, value in labels)
        and all(meta.get(name.removeprefix("metadata.")) == value for name, value in fields)
    )
