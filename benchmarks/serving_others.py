"""MLServer and BentoML around the same MLflow model, from virtual environments of their own.

Neither installs beside mlops' lock, so each is pointed at by a variable, and left out in words where it is not set:

    python -m venv var/mlserver; python -m venv var/bentoml
    uv pip install --python var/mlserver "mlserver>=1.7.1" "mlserver-mlflow>=1.7.1" PARTS
    uv pip install --python var/bentoml "bentoml>=1.4.20" "python-json-logger<3" PARTS
    PARTS = mlflow pyod skops numba "pandas<3" pyarrow scikit-learn==1.9.1 pydantic pyyaml fsspec cryptography
            model-signing psutil threadpoolctl
    BENCH_MLSERVER=var/mlserver BENCH_BENTOML=var/bentoml python -m benchmarks serving

Each answers as its documentation shows for an MLflow model: MLServer by its MLflow runtime, in one process
(`parallel_workers` 0: fewer hops for one model), asked by its `/invocations`; BentoML by a service of one worker that
loads the model with `mlflow.pyfunc` and predicts a data frame.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.programs import free_port

BENTO = """
import bentoml
import mlflow
import pandas as pd


@bentoml.service(workers=1)
class Model:
    def __init__(self) -> None:
        self.model = mlflow.pyfunc.load_model({place!r})

    @bentoml.api
    def predict(self, dataframe_split: dict) -> list:
        frame = pd.DataFrame(dataframe_split["data"], columns=dataframe_split["columns"])
        return self.model.predict(frame).to_dict("records")
"""


def others(place: str, home: Path) -> dict[str, tuple[list[str], str]]:
    """By contender, its command (with `{port}` in it) and the path that answers once it is ready.

    Args:
        place: folder of the MLflow model.
        home: where their settings are written.
    """
    found = {}
    if venv := _venv("MLServer", "BENCH_MLSERVER"):
        folder = home / "mlserver"
        folder.mkdir(exist_ok=True)
        settings = {
            "name": "model",
            "implementation": "mlserver_mlflow.MLflowRuntime",
            "parameters": {"uri": place},
        }
        (folder / "model-settings.json").write_text(json.dumps(settings))
        ports = {"HTTP": "{port}", "GRPC": free_port(), "METRICS": free_port()}
        told = [f"MLSERVER_{name}_PORT={port}" for name, port in ports.items()]
        told += ["MLSERVER_PARALLEL_WORKERS=0", "MLSERVER_HOST=127.0.0.1"]
        command = ["env", *told, str(venv / "bin" / "mlserver"), "start", str(folder)]
        found["MLServer"] = (command, "/v2/models/model/ready")
    if venv := _venv("BentoML", "BENCH_BENTOML"):
        folder = home / "bentoml"
        folder.mkdir(exist_ok=True)
        (folder / "service.py").write_text(BENTO.format(place=place))
        command = ["env", f"BENTOML_HOME={folder}", "BENTOML_DO_NOT_TRACK=True", str(venv / "bin" / "bentoml")]
        command += ["serve", "service:Model", "--working-dir", str(folder), "--port", "{port}", "--host", "127.0.0.1"]
        found["BentoML"] = (command, "/readyz")
    return found


def route(contender: str) -> str:
    """Where rows are sent."""
    return "/predict" if contender == "BentoML" else "/invocations"


def _venv(name: str, variable: str) -> Path | None:
    folder = os.environ.get(variable)
    if folder and (Path(folder) / "bin" / name.lower()).exists():
        return Path(folder).resolve()
    print(f"{name} is left out: {variable} names no virtual environment with it (benchmarks/serving_others.py)")
    return None
