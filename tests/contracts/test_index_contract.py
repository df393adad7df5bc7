"""The records of versions through MLflow's client and in MLflow's tables: one answers as the other does."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mlops.config import MLOpsConfig
from mlops.errors import StorageError
from mlops.mlflow_store import open_client
from mlops.models.index import EmptyIndex, Found, Index, open_index
from mlops.models.index_client import ClientIndex
from mlops.models.index_sql import SqlIndex

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration
Both = tuple[Any, SqlIndex, ClientIndex]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """MLflow's client on a new store, and both ways to its records."""
    folder = tmp_path_factory.mktemp("store")
    uri, drop = f"sqlite:///{folder}/a b/mlflow.db", None
    if request.param == "postgresql":
        uri, drop = _new_database(request.getfixturevalue("postgres_server"))
    config = MLOpsConfig.build({"home": ROOT, "var": str(folder / "var"), "tracking_uri": uri})
    client = open_client(config)
    found = SqlIndex.known(uri)
    assert found is not None, "this MLflow's tables are not those that the code knows"
    yield client, found, ClientIndex(client)
    if drop is not None:
        drop()


def _new_database(server: str) -> tuple[str, Callable[[], None]]:
    import psycopg

    name = f"index_{uuid.uuid4().hex[:12]}"

    def execute(words: str) -> None:
        with psycopg.connect(f"postgresql://{server}/postgres", autocommit=True) as connection:
            connection.execute(words)

    execute(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg://{server}/{name}", partial(execute, f"DROP DATABASE {name} WITH (FORCE)")


def versions_of(client: Any, count: int, **tags: str) -> tuple[str, str]:
    """A new model with some versions; its name and the id of the run that made them."""
    name = f"m_{uuid.uuid4().hex[:8]}"
    run = client.create_run("0")
    client.create_registered_model(name)
    for number in range(1, count + 1):
        client.create_model_version(name, "/s", run_id=run.info.run_id, tags=tags | {"number": str(number)})
    return name, run.info.run_id


def state(index: Index, name: str) -> tuple[object, ...]:
    """All that an index says of a model."""
    return index.versions(name), index.version(name, 1), index.version(name, 9), index.aliases(name)


def test_both_read_the_same_whoever_wrote_it(both: Both) -> None:
    """Aliases and tags that one way sets, changes or takes away, the other way reads so; neither touches another's."""
    client, tables, through_client = both
    name, run_id = versions_of(client, 2, colour="red")
    other, _ = versions_of(client, 1)
    assert tables.versions(name)[0] == Found(name, 1, run_id, {"colour": "red", "number": "1"})
    for writer in (tables, through_client):
        for version in (1, 2):
            writer.set_alias(name, "champion", version)
            writer.set_tag(name, version, "mlops.stage", f"{type(writer).__name__}")
            assert tables.aliases(name) == through_client.aliases(name) == {"champion": version}
            assert state(tables, name) == state(through_client, name)
            assert tables.versions(name)[version - 1].tags["mlops.stage"] == type(writer).__name__
        writer.delete_alias(name, "champion")
        writer.delete_alias(name, "nobody")
        assert tables.aliases(name) == through_client.aliases(name) == {}
    assert tables.versions(other)[0].tags == {"number": "1"}
    assert client.get_model_version(name, "2").tags["mlops.stage"] == "ClientIndex"


def test_both_find_by_tag(both: Both) -> None:
    """Within one model or in all; by value, not by part of it."""
    client, tables, through_client = both
    value = uuid.uuid4().hex
    names = sorted(versions_of(client, 2, hue=value)[0] for _ in range(2))
    for index in (tables, through_client):
        assert [(v.name, v.version) for v in index.tagged("hue", value)] == [(n, v) for n in names for v in (1, 2)]
        assert [v.version for v in index.tagged("hue", value, names[0])] == [1, 2]
        assert index.tagged("hue", value[:-1]) == []
    assert tables.tagged("hue", value) == through_client.tagged("hue", value)


def test_what_was_deleted_is_gone_for_both(both: Both) -> None:
    """A deleted version is not found, cannot be tagged or pointed to, and its alias went with it; nothing is raised."""
    client, tables, through_client = both
    name, _ = versions_of(client, 2)
    tables.set_alias(name, "champion", 2)
    client.delete_model_version(name, "2")
    for index in (tables, through_client):
        index.set_alias(name, "champion", 2)
        index.set_tag(name, 2, "a", "b")
        index.set_alias("nobody", "champion", 1)
        assert index.version(name, 2) is None
        assert index.aliases(name) == index.aliases("nobody") == {}
    assert state(tables, name) == state(through_client, name)


def test_both_know_where_files_lie(both: Both) -> None:
    """The folder of a logged model and of a run; None for what does not exist."""
    client, tables, through_client = both
    _, run_id = versions_of(client, 1)
    model = client.create_logged_model("0", name="m")
    for index in (tables, through_client):
        assert index.model_location(model.model_id) == model.artifact_location
        assert index.run_location(run_id) == client.get_run(run_id).info.artifact_uri
        assert index.model_location("m-nothing") is None
        assert index.run_location("0" * 32) is None


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE registered_model_aliases RENAME COLUMN version TO number",
        "ALTER TABLE registered_model_aliases ADD COLUMN why TEXT NOT NULL",
        "ALTER TABLE model_version_tags RENAME TO version_tags",
    ],
)
def test_tables_that_are_not_known_are_left_to_mlflow(tmp_path: Path, change: str) -> None:
    """Another column, a column more without default, a table less: then MLflow's client does it."""
    path = tmp_path / "mlflow.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for table in ("model_versions (name, version, run_id, current_stage)", "runs (run_uuid, artifact_uri)"):
            connection.exec_driver_sql(f"CREATE TABLE {table}")
        connection.exec_driver_sql("CREATE TABLE logged_models (model_id, artifact_location)")
        connection.exec_driver_sql(
            "CREATE TABLE model_version_tags (name, version, key, value, PRIMARY KEY (name, version, key))"
        )
        connection.exec_driver_sql(
            "CREATE TABLE registered_model_aliases (name, alias, version, PRIMARY KEY (name, alias))"
        )
    assert SqlIndex.known(f"sqlite:///{path}") is not None
    with engine.begin() as connection:
        connection.exec_driver_sql(change)
    assert SqlIndex.known(f"sqlite:///{path}") is None
    asked: list[str] = []
    open_index(f"sqlite:///{path}", lambda: asked.append("client"))
    assert asked == ["client"]


def test_asking_makes_no_store(tmp_path: Path) -> None:
    """Where there is no store there is nothing registered, and afterwards still no file; a damaged one is an error."""
    path = tmp_path / "mlflow.db"
    index = open_index(f"sqlite:///{path}", pytest.fail)
    assert isinstance(index, EmptyIndex)
    assert state(index, "m") == ([], None, None, {})
    assert not path.exists()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=r"MLflow's database at .*not a database"):
        open_index(f"sqlite:///{path}", pytest.fail)
