"""service.yaml: sections of their own types, mistakes named by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import BadParams
from pipelines import service_file


class Serve(service_file.Section):
    port: int = 8484


def test_a_missing_file_or_section_has_the_defaults(tmp_path: Path) -> None:
    assert service_file.section(tmp_path, "serve", Serve).port == 8484
    (tmp_path / "service.yaml").write_text("retention:\n  passed_days: 30\n")
    assert service_file.section(tmp_path, "serve", Serve).port == 8484


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("serve:\n  port: eighty\n", "serve.port"),
        ("serve:\n  prot: 80\n", "serve.prot"),
        ("sevre:\n  port: 80\n", "sevre"),
        ("serve: 80\n", "serve"),
        ("- serve\n", "mapping"),
        ("serve: {port: 80\n", "YAML"),
        ("serve:\n  port: 80\n  port: 81\n", "YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "service.yaml").write_text(text)
    with pytest.raises(BadParams, match=named):
        service_file.section(tmp_path, "serve", Serve)
