"""Runs all connectors of a workspace in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from models.errors import NotReady
from pipelines import part_names
from pipelines.amounts import counted
from pipelines.client import Client
from pipelines.connectors import config as configs
from pipelines.connectors.config import Connectors
from pipelines.connectors.spool import Spool
from pipelines.connectors.station import Station
from pipelines.locks import connecting_lock
from pipelines.workspace import Workspace

CALL_S = 10.0  # one call to the service; the connectors repeat it as long as they run


def run(workspace: Workspace, say: Callable[[str], None]) -> None:
    """Connect until SIGTERM or SIGINT. `say` gets one line for each change of a connection's state.

    Raises BadParams for mistakes in `service.yaml`, NotReady if it has no connectors, and Busy if they run already.
    """
    config = configs.load(workspace.root)
    if not config.number:
        raise NotReady(
            f"{workspace.root / 'service.yaml'} has no connectors.",
            next_step="Add a section `connectors`; docs/connectors.md has an example of each.",
        )
    line = config.line or workspace.params().line
    for library in ("asyncua", "mqtt", "watchfiles"):  # their warnings repeat what is said here
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with connecting_lock(workspace, line):
        spool = Spool(workspace.state / "spool" / "connectors" / "spool.db", config.spool_mb * 1e6)
        try:
            with Client(config.url, os.environ.get(config.api_key_env), deadline_s=CALL_S) as client:
                asyncio.run(_connected(workspace, config, line, spool, client, say))
        finally:
            spool.close()


async def _connected(
    workspace: Workspace, config: Connectors, line: str, spool: Spool, client: Client, say: Callable[[str], None]
) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    station = Station(client, line, spool, stopping, say)
    say(f"{counted(config.number, 'connector')} for line {line}, service {client.url}")
    await asyncio.gather(*_running(workspace, config, station))
    say("stopped")


def _running(workspace: Workspace, config: Connectors, station: Station) -> list[Coroutine[Any, Any, None]]:
    """Return all connectors, each as its coroutine. Only the packages of those that are configured are imported."""
    root = workspace.root
    running: list[Coroutine[Any, Any, None]] = []
    if config.folders:
        from pipelines.connectors.folder import FolderConnector

        setting = workspace.params().ingest.part_from
        for name, folder in config.folders.items():
            pattern = part_names.pattern(folder.part_from, setting)
            running.append(FolderConnector(name, folder, root, pattern, station).run())
    if config.mqtt:
        from pipelines.connectors.mqtt import MqttConnector

        running += [MqttConnector(name, one, root, station).run() for name, one in config.mqtt.items()]
    if config.opcua:
        from pipelines.connectors.opc_ua import OpcUaConnector

        running += [OpcUaConnector(name, one, root, station).run() for name, one in config.opcua.items()]
    if config.webhooks:
        from pipelines.connectors.webhook import WebhookConnector

        running += [WebhookConnector(name, one, root, station).run() for name, one in config.webhooks.items()]
    return running
