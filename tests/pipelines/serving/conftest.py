"""A service on a kept workspace with a champion."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pipelines.serving import app
from pipelines.serving.config import Serve
from pipelines.serving.service import Service
from pipelines.workspace import Workspace
from tests.kept.unpacked import unpacked

LINE = "/v1/lines/widgets"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return unpacked(tmp_path)


@pytest.fixture
def service(workspace: Workspace) -> Iterator[Service]:
    with Service([workspace], Serve()) as opened:
        yield opened


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(app.create(service), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def picture() -> Callable[[int], bytes]:
    """Make the PNG of a random part, the same for the same seed."""

    def make(seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(90, 160, (64, 64), dtype=np.uint8)
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG")
        return sink.getvalue()

    return make
