"""Reading the registry without mlflow gives the same answers as mlflow."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from models.errors import Unreachable
from pipelines.adapters import model_registry, moved_store, registry_reading, tracking
from pipelines.adapters.registry_reading import ThroughMlflow
from pipelines.workspace import Workspace
from tests.conftest import LINE
from tests.faulty_server import faulty_server
from tests.kept.unpacked import unpacked


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A kept workspace whose registry also has a second version, with an alias and a tag, and a deleted third."""
    place = unpacked(tmp_path_factory.mktemp("kept"))
    mlflow = tracking.client(place)
    first = mlflow.get_model_version(LINE, "1")
    for _ in range(2):
        mlflow.create_model_version(LINE, source=first.source, run_id=first.run_id, tags={"gate": "refused"})
    mlflow.set_registered_model_alias(LINE, "challenger", "2")
    mlflow.delete_model_version(LINE, "3")
    return place


def answers(place: Workspace) -> list[object]:
    return [
        model_registry.champion(place, LINE),
        model_registry.alias(place, LINE, "challenger"),
        model_registry.alias(place, LINE, "nobody"),
        model_registry.champion(place, "another line"),
        model_registry.version(place, LINE, "2"),
        model_registry.versions(place, LINE),
        model_registry.versions(place, "another line"),
    ]


def only_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_reading, "TESTED", ())
    monkeypatch.setenv("MLFLOW_WORKSPACE", "default")


def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: Workspace) -> None:
        raise AssertionError("mlflow was asked")

    monkeypatch.setattr(tracking, "client", refuse)


def test_tables_and_mlflow_give_the_same_answers(line: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        without_mlflow(patched)
        read = answers(line)
    with monkeypatch.context() as patched:
        only_mlflow(patched)
        assert answers(line) == read
    assert [one.version for one in model_registry.versions(line, LINE)] == ["1", "2"]


def test_rest_and_mlflow_give_the_same_answers(line: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        without_mlflow(patched)
        expected = answers(line)
        monkeypatch.setattr(registry_reading, "PAGE_SIZE", 1)
        with server(line) as served:
            assert answers(served) == expected


def test_files_come_through_the_servers_proxy_and_are_verified(
    line: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_mlflow(monkeypatch)
    with contextlib.closing(sqlite3.connect(line.state / "mlflow.db")) as connection, connection:
        [before] = connection.execute("SELECT storage_location FROM model_versions WHERE version = 1").fetchone()
        proxied = "mlflow-artifacts:/" + before.partition("/mlartifacts/")[2]
        connection.execute("UPDATE model_versions SET storage_location = ? WHERE version = 1", (proxied,))
    with server(line) as served:
        elsewhere = replace(served, state=tmp_path)
        chosen = model_registry.champion(elsewhere, LINE)
        assert chosen is not None
        assert model_registry.sha256(model_registry.download(elsewhere, chosen)) == chosen.tags[model_registry.ARTEFACT]
    with contextlib.closing(sqlite3.connect(line.state / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE model_versions SET storage_location = ? WHERE version = 1", (before,))


def test_files_come_from_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = unpacked(tmp_path)
    moved_store.follow(place.state / "mlflow.db", place.state / "mlartifacts")
    without_mlflow(monkeypatch)
    chosen = model_registry.champion(place, LINE)
    assert chosen is not None
    path = model_registry.download(place, chosen)
    path.unlink()
    assert model_registry.download(place, chosen) == path
    assert path.is_file()


def test_the_paths_of_a_copied_workspace_are_left_to_mlflow(tmp_path: Path) -> None:
    place = unpacked(tmp_path)  # its paths lead to the place where it was made
    with pytest.raises(ThroughMlflow):
        registry_reading.copy_files(place, LINE, "1", ["model.onnx"], tmp_path)


def test_the_installed_mlflow_has_a_tested_revision() -> None:
    """If this fails after an upgrade: compare the tables with the queries, run this file, then extend TESTED."""
    import mlflow
    from alembic.script import ScriptDirectory

    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations"
    assert set(ScriptDirectory(str(migrations)).get_heads()) <= set(registry_reading.TESTED)


def test_a_registry_of_another_revision_is_left_to_mlflow(tmp_path: Path) -> None:
    place = unpacked(tmp_path)
    with contextlib.closing(sqlite3.connect(place.state / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'later'")
    with pytest.raises(ThroughMlflow):
        registry_reading.all_of(place, LINE)


def test_a_damaged_registry_is_left_to_mlflow(tmp_path: Path) -> None:
    place = unpacked(tmp_path)
    (place.state / "mlflow.db").write_bytes(b"x" * 4096)
    with pytest.raises(ThroughMlflow):
        registry_reading.by_alias(place, LINE, "champion")


@pytest.mark.parametrize("mode", ["error", "page", "half"])
def test_a_server_that_fails_is_unreachable(mode: str, line: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    without_mlflow(monkeypatch)
    with faulty_server(mode) as url, pytest.raises(Unreachable, match="MLFLOW_TRACKING_URI"):
        model_registry.champion(replace(line, tracking_uri=url), LINE)


def test_a_password_reaches_the_server(line: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "unused beside a user")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    without_mlflow(monkeypatch)
    with server(line, login=("ada", "secret")) as served:
        assert model_registry.alias(served, LINE, "champion") == "1"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with server(line, login=("ada", "secret")) as served, pytest.raises(ThroughMlflow):
        registry_reading.by_alias(served, LINE, "champion")


@contextlib.contextmanager
def server(place: Workspace, login: tuple[str, str] | None = None) -> Iterator[Workspace]:
    """The workspace with MLflow's own server, in this process, in front of its database. It asks for `login`, if given."""
    from mlflow.server import app, constants, handlers

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        words = f"Basic {base64.b64encode(':'.join(login or ()).encode()).decode()}"
        if login is not None and environ.get("HTTP_AUTHORIZATION") != words:
            start_response("401 Unauthorized", [("Content-Length", "0")])
            return []
        return app(environ, start_response)

    settings = {
        constants.BACKEND_STORE_URI_ENV_VAR: place.tracking_uri,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(place.state / "mlartifacts"),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    with pytest.MonkeyPatch.context() as patched:
        for name in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
            patched.setattr(handlers, name, None)
        patched.setenv("MLFLOW_TRACKING_URI", place.tracking_uri)
        for name, value in settings.items():
            patched.setenv(name, value)
        listening = make_server("127.0.0.1", 0, guarded, threaded=True)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield replace(place, tracking_uri=f"http://127.0.0.1:{listening.server_port}", artifact_root=None)
        finally:
            listening.shutdown()
            listening.server_close()
