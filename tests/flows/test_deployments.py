"""Deployments and automations on a real Prefect server."""

from __future__ import annotations

import asyncio

import pytest

from flows import deployments, home, local_server, recovery, titles
from pipelines.ledger.events import STARTING
from pipelines.workspace import Workspace
from tests.conftest import LINE

pytestmark = pytest.mark.slow


def test_what_an_older_release_deployed_is_replaced_and_not_doubled(
    empty_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_HOME", str(empty_workspace.state / "prefect"))
    home.server_note(empty_workspace).parent.mkdir(parents=True)
    served = deployments.deployments(empty_workspace)
    flows = [deployment.flow_name for deployment in served]
    with local_server.local_server(empty_workspace) as api, temporary_settings({PREFECT_API_URL: api}):
        for deployment in deployments.deployments(empty_workspace):
            deployment.name = titles.former_address(deployment.flow_name, LINE).split("/")[1]
            asyncio.run(deployment.aapply())
        assert recovery.remove_former(empty_workspace, flows) == len(served)
        for deployment in served:
            asyncio.run(deployment.aapply())
        assert recovery.remove_former(empty_workspace, flows) == 0
        with get_client(sync_client=True) as client:
            there = [deployment.name for deployment in client.read_deployments()]
            automations = [one["name"] for one in client.request("POST", "/automations/filter", json={}).json()]
    assert sorted(there) == [f"{name}-{LINE}" for name in ("batch-inspection", "monitoring", "retraining", "training")]
    assert sorted(automations) == sorted(titles.automation(LINE, event) for event in STARTING)
