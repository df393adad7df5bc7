"""The processes of `mlops serve`: those that answer, on one socket, and the one that writes the prediction log.

uvicorn's supervisor starts them anew when they die. On SIGTERM the socket is closed, what was asked is answered, what
was answered is written, and all end.

One rule: a numeric thread per process; the processes are the parallelism.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import threading
import time
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess

import uvicorn
from uvicorn.supervisors import Multiprocess

from mlops import log
from mlops.api.serving.options import ServeOptions
from mlops.config import MLOpsConfig
from mlops.errors import ConfigError
from mlops.spec import find_spec

GRACE_SECONDS = 15
_LOG_SECONDS = 30.0  # for its last pass
_SILENT_SECONDS = 30  # starting on a busy machine takes a worker longer than uvicorn's 5 s: it is not hung
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_logger = log.get(__name__)


def serve(config: MLOpsConfig, options: ServeOptions, *, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: the settings.
        options: what to serve, and how.
        host: address to listen on.
        port: port to listen on; 0: any that is free.
        workers: processes that answer.

    Raises:
        ConfigError: the port is taken, or there is no such model.
    """
    for name in options.models:  # a mistyped name is told before anything is started
        find_spec(config.models_dir, name, config.variables)
    listening = bound(host, port)
    folder = config.state_dir / "serving" / "metrics" / f"{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _THREADS:
        os.environ[name] = "1"
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    options = replace(options, metrics_folder=str(folder))
    server = uvicorn.Config(
        partial(application, config, options),
        factory=True,
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=_SILENT_SECONDS,
    )
    writer = LogProcess(config, options.metrics_folder) if options.log else None
    try:
        Multiprocess(server, sockets=[listening]).run()
    finally:
        if writer is not None:
            writer.end()
        shutil.rmtree(folder, ignore_errors=True)


def application(config: MLOpsConfig, options: ServeOptions) -> object:
    """The application of one process; called in it."""
    from mlops.api.serving.app import App
    from mlops.api.serving.worker import Worker

    log.configure("INFO")
    return App(Worker.open(config, options))


def bound(host: str, port: int) -> socket.socket:
    """A listening address, before anything is started.

    Raises:
        ConfigError: it cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}.",
            hint=f"End what listens there, or choose another: mlops serve --port {port + 1}",
        ) from error
    listening.set_inheritable(True)
    return listening


class LogProcess:
    """The process that writes the prediction log, started anew if it dies."""

    def __init__(self, config: MLOpsConfig, metrics_folder: str) -> None:
        self._start = partial(_started, config, metrics_folder)
        self._process = self._start()
        self._ends = threading.Event()
        self._watch = threading.Thread(target=self._watched, name="prediction log", daemon=True)
        self._watch.start()

    def end(self) -> None:
        """Let it make its last pass."""
        self._ends.set()
        self._watch.join()
        self._process.terminate()
        self._process.join(_LOG_SECONDS)
        if self._process.is_alive():
            _logger.error("The prediction log is not done; what was answered stays in the spool.")
            self._process.kill()

    def _watched(self) -> None:
        while not self._ends.wait(1.0):
            if not self._process.is_alive():
                _logger.error(
                    "The process of the prediction log died (%s); it is started anew.", self._process.exitcode
                )
                time.sleep(1.0)
                self._process = self._start()


def _started(config: MLOpsConfig, metrics_folder: str) -> BaseProcess:
    from mlops.api.serving import log_process

    context = multiprocessing.get_context("spawn")
    process = context.Process(target=log_process.run, args=(config, metrics_folder), name="mlops prediction log")
    process.start()
    return process
