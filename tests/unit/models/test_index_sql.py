"""MLflow's tables, read without MLflow: what a database refuses is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import StorageError
from mlops.models import index_sql


def test_a_refusal_names_the_file_and_what_the_driver_said(tmp_path: Path) -> None:
    """Here a table that is not there."""
    path = tmp_path / "mlflow.db"
    path.touch()
    engine = index_sql._engine(f"sqlite:///{path}")
    with (
        pytest.raises(StorageError, match=rf"MLflow's database at sqlite:///{path} refused: no such table: nowhere"),
        index_sql._translated(engine),
        engine.connect() as connection,
    ):
        connection.exec_driver_sql("SELECT * FROM nowhere")
