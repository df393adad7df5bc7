"""A plug-in for the Airflow under test: it holds a task in the middle of its work until the test lets it go on.

The file `<folder>/<dag>.<task>` says at which of its outward calls the first try stops; it then waits beside it, alive
and well: no lock of a database is held there, and its heartbeats go on.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from tests.faults.disturbances import Calls


class Holder:
    """Stops tasks."""

    @hookimpl
    def on_task_instance_running(self, task_instance: Any) -> None:
        """A task starts, in this process."""
        place = Path(os.environ["FAULTS_HOLD"]) / f"{task_instance.dag_id}.{task_instance.task_id}"
        if task_instance.try_number == 1 and place.exists():
            Calls(int(place.read_text(encoding="ascii")), lambda: hold(place))


def hold(place: Path) -> None:
    """Say who is here, and wait for the word."""
    who = {"task": os.getpid(), "supervisor": os.getppid()}
    held = place.with_name(f"{place.name}.held")
    held.with_suffix(".new").write_text(json.dumps(who), encoding="utf-8")
    held.with_suffix(".new").rename(held)
    while not place.with_name(f"{place.name}.go").exists():
        time.sleep(0.1)


class HoldPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "hold"
    listeners = [Holder()]  # noqa: RUF012 # the plugin interface wants a list
