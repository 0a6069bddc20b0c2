"""OPC UA: a client of the PLC's server. The PLC triggers, the connector reads the image's path and writes the verdict.

Nothing is kept here: the PLC's trigger and `done` say whether an inspection is due, and the key makes repeating it
harmless. The trigger is subscribed, and also read regularly, because a subscription ends silently with its server.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Client, Node, ua

from models import names
from models.errors import BadInput, DefectloopError
from pipelines.client import Answer
from pipelines.connectors import opc_ua_handshake
from pipelines.connectors.config import OpcUa, secret
from pipelines.connectors.opc_ua_handshake import Step
from pipelines.connectors.station import Image, Station, read_below

LOST = (ua.UaError, OSError, DefectloopError, TimeoutError)
CALL_S = 4.0  # one call to the PLC
ASKED = ("trigger", "path", "part", "view")
_WHOLE = {
    *(ua.VariantType.SByte, ua.VariantType.Byte, ua.VariantType.Int16, ua.VariantType.UInt16),
    *(ua.VariantType.Int32, ua.VariantType.UInt32, ua.VariantType.Int64, ua.VariantType.UInt64),
}
_WRITABLE = _WHOLE | {ua.VariantType.String, ua.VariantType.Float, ua.VariantType.Double, ua.VariantType.Boolean}


@dataclass(frozen=True)
class Tag:
    """A node of the PLC and the type of its value."""

    node: Node
    type: ua.VariantType

    def value(self, value: Any) -> ua.DataValue:
        """Return a value in the node's type, without time stamps, which many PLCs refuse to have written."""
        if self.type != ua.VariantType.Boolean:
            value = opc_ua_handshake.in_type(value, self.type == ua.VariantType.String, self.type in _WHOLE)
        return ua.DataValue(ua.Variant(value, self.type))


class OpcUaConnector:
    """One PLC. `root` is the workspace, to which relative paths refer."""

    def __init__(self, name: str, config: OpcUa, root: Path, station: Station) -> None:
        self.name, self.config, self.root, self.station = f"opcua.{name}", config, root, station
        self._password = secret(config.password_env, f"connectors.opcua.{name}.password_env")
        self._changed = asyncio.Event()

    async def run(self) -> None:
        await self.station.keep(self.name, self._connected, LOST)

    def datachange_notification(self, node: Node, value: Any, data: Any) -> None:
        """The trigger has changed; its value is read together with the others."""
        self._changed.set()

    async def _connected(self) -> None:
        client = Client(self.config.url, timeout=CALL_S)
        if self.config.user:
            client.set_user(self.config.user)
            client.set_password(self._password or "")
        if self.config.security:
            await client.set_security_string(self.config.security)
        async with client:
            tags = await self._tags(client)
            try:
                subscription = await client.create_subscription(self.config.poll_s * 1000 / 2, self)
                await subscription.subscribe_data_change(tags["trigger"].node)
                how = "subscribed to its trigger"
            except ua.UaError:  # a small PLC without subscriptions
                how = f"reads its trigger every {self.config.poll_s:g} s"
            self.station.state(self.name, f"connected to {self.config.url}, {how}")
            beating = asyncio.create_task(self._beat(client, tags))
            try:
                await self._serve(client, tags)
            finally:
                beating.cancel()

    async def _tags(self, client: Client) -> dict[str, Tag]:
        """Return the configured nodes. Raises BadInput that names a node which is missing or of an unsuitable type."""
        tags: dict[str, Tag] = {}
        for name, identifier in self.config.nodes.model_dump(exclude_none=True).items():
            where = f"connectors.{self.name}.nodes.{name}: {identifier}"
            try:
                node = client.get_node(identifier)
                kind = await node.read_data_type_as_variant_type()
            except (ua.UaError, ValueError) as error:
                if isinstance(error, ua.UaStatusCodeError | ValueError | ua.UaStringParsingError):
                    raise BadInput(f"{where} cannot be read: {error}.", next_step="Check the node id.") from error
                raise
            if kind not in _WRITABLE:
                raise BadInput(f"{where} is a {kind.name}.", next_step="Use a text, number or Boolean.")
            tags[name] = Tag(node, kind)
        if (tags["trigger"].type == ua.VariantType.Boolean) != (tags["done"].type == ua.VariantType.Boolean):
            raise BadInput(
                f"connectors.{self.name}.nodes: trigger and done are of different kinds.",
                next_step="Use two whole numbers (recommended) or two Booleans.",
            )
        return tags

    async def _serve(self, client: Client, tags: dict[str, Tag]) -> None:
        """Answer triggers until the process ends or the connection breaks."""
        while True:
            self._changed.clear()
            trigger, done = await client.read_values([tags["trigger"].node, tags["done"].node])
            match opc_ua_handshake.step(trigger, done):
                case Step.INSPECT:
                    await self._answer(client, tags)
                case Step.RESET:
                    await _write(client, {tags["done"]: False})
                case Step.WAIT:
                    if await self.station.first_of(self.config.poll_s, self._changed):
                        return

    async def _answer(self, client: Client, tags: dict[str, Tag]) -> None:
        """Inspect the image that the PLC names, write what was found, and then `done`."""
        asked = await self._asked(client, tags)
        try:
            found = await self.station.inspect(await asyncio.to_thread(self._image, asked))
            results: Answer = {**found, "message": ""}
        except BadInput as error:
            results = {"verdict": opc_ua_handshake.ERROR, "message": str(error)}
        if await self._asked(client, tags) != asked:
            return  # the PLC has given up and asks for something else: this verdict must not be taken for that
        values = {
            tags[name]: results.get(name)
            for name in ("verdict", "score", "model_version", "inspection", "message")
            if name in tags
        }
        await _write(client, values)
        await _write(client, {tags["done"]: asked["trigger"]})

    async def _asked(self, client: Client, tags: dict[str, Tag]) -> dict[str, Any]:
        present = [name for name in ASKED if name in tags]
        return dict(zip(present, await client.read_values([tags[name].node for name in present]), strict=True))

    def _image(self, asked: dict[str, Any]) -> Image:
        path = str(asked["path"] or "")
        part, view = (str(asked[name]) if asked.get(name) not in (None, "") else None for name in ("part", "view"))
        data = read_below(self.root / self.config.folder, path, self.config.largest_mb * 1e6)
        return Image(
            data,
            opc_ua_handshake.key(self.name, asked["trigger"], path, part, view, data),
            part=part,
            view=view,
            slice=self.config.slice,
            file_name=names.shown(path),
        )

    async def _beat(self, client: Client, tags: dict[str, Tag]) -> None:
        """Change the heartbeat node regularly, as long as the connection lasts."""
        if "heartbeat" not in tags:
            return
        count = 0
        while True:
            count = (count + 1) % 128  # fits every type of number
            is_switch = tags["heartbeat"].type == ua.VariantType.Boolean
            await _write(client, {tags["heartbeat"]: bool(count % 2) if is_switch else count})
            await asyncio.sleep(self.config.heartbeat_s)


async def _write(client: Client, values: dict[Tag, Any]) -> None:
    """Write values in one call. Raises UaError if the PLC refuses one."""
    await client.write_values([tag.node for tag in values], [tag.value(value) for tag, value in values.items()])
