"""The process that brings the spool into the prediction log, beside those that answer.

It yields to them (nice), lives as long as the service, and makes a last pass when that ends.

One rule: it never ends before what was closed is published, unless the storage refuses; then it says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError
from mlops.services import Services
from mlops.serving import log_writer
from mlops.serving.log_spool import spool_folder

PASS_SECONDS = 1.0
_NICE = 10
_logger = log.get(__name__)


def run(config: MLOpsConfig, metrics_folder: str) -> None:
    """Publish what is closed, again and again, until SIGTERM; then once more."""
    log.configure("WARNING")
    ends = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it reaches all: those that answer must end first
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    services = Services.open(config)
    parent = os.getppid()
    while not ends.wait(PASS_SECONDS) and os.getppid() == parent:
        _pass(services)
        _forget_dead(metrics_folder)
    _pass(services)


def _pass(services: Services) -> None:
    try:
        log_writer.publish(services.storage, spool_folder(services.config.state_dir))
    except (MLOpsError, OSError) as error:
        _logger.warning("The prediction log cannot be written: %s What was answered stays in the spool.", error)


def _forget_dead(metrics_folder: str) -> None:
    """Gauges of processes that are gone no longer count; their counters do."""
    for path in Path(metrics_folder).glob("gauge_live*_*.db") if metrics_folder else ():
        pid = path.stem.rsplit("_", 1)[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)
