"""Airflow's REST API as tests use it: logged in, and patient with a server that is busy or just starting."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from mlops.standalone import Platform

ENDED = ("success", "failed")  # states of a run


class Api:
    """Airflow's REST API, logged in."""

    def __init__(self, platform: Platform) -> None:
        """Log in."""
        self.url = platform.airflow_url.replace("localhost", "127.0.0.1")
        self.token = ""
        login = {"username": platform.user, "password": platform.password}
        self.token = self.call("POST", "/auth/token", login)["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for a page; its JSON."""
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def page(self, path: str) -> str:
        """Ask for a page; its HTML."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url + path, headers=headers), timeout=60) as answer:
            return str(answer.read().decode())

    def wait_for(self, path: str, done: Callable[[Any], bool], seconds: float = 240) -> Any:
        """Ask again until the answer is as wanted. A busy SQLite makes Airflow's API say 500 now and then."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if done(found := self.call("GET", path)):
                    return found
            except urllib.error.HTTPError as error:
                found = error
                if error.code < 500:
                    raise
            except OSError as error:  # it is not there
                found = error
            assert time.monotonic() < deadline, f"{path} after {seconds} s: {found}"
            time.sleep(1)

    def start(self, dag: str, **conf: Any) -> str:
        """Trigger a DAG from its form; the path of its run."""
        form = {"logical_date": None, "conf": conf}
        run = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", form)
        return f"/api/v2/dags/{dag}/dagRuns/{run['dag_run_id']}"

    def ended(self, run: str, seconds: float = 240) -> str:
        """How a run ended."""
        return str(self.wait_for(run, lambda found: found["state"] in ENDED, seconds)["state"])
