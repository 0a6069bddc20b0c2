from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import artifacts, stages, training
from models.errors import BadData
from pipelines.ingest import ingest
from pipelines.validation.validate import validate
from pipelines.workspace import Workspace
from tests.conftest import write_parts


def test_a_run_links_the_data_docs_also_when_the_contract_did_not_hold(
    empty_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, dict[str, Any]] = {}
    for kind in ("create_table_artifact", "create_link_artifact"):
        monkeypatch.setattr(artifacts, kind, lambda **kept: shown.update({kept["key"]: kept}))
    monkeypatch.setattr(stages, "validate", validate)
    write_parts(tmp_path / "few", 3)
    ingest.ingest(empty_workspace, str(tmp_path / "few"))
    with pytest.raises(BadData):
        training.train_and_promote(empty_workspace, trigger="a test")
    page = empty_workspace.artifacts / "validate" / "data_docs" / "index.html"
    assert shown["data-docs"]["link"] == page.as_uri()
    assert "parts, " in page.read_text()
    assert any("needed" in row["reason"] for row in shown["validation"]["table"])
