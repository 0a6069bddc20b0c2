"""MQTT: images or their paths come as messages, verdicts go out as JSON, both with QoS 1.

The session is persistent, so the broker keeps what was published while the connector was away. A message is
acknowledged after its inspection is in the ledger and its verdict in the spool; killed before, the broker sends it
again and the service answers with the same inspection. Verdicts leave the spool when the broker has confirmed them.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiomqtt

from models.errors import BadInput, DefectloopError
from pipelines.connectors import mqtt_messages
from pipelines.connectors.config import Mqtt, secret
from pipelines.connectors.spool import SpoolFull
from pipelines.connectors.station import Image, Station, Stopped, read_below

QOS = 1
FULL_S = 1.0  # wait before a full spool is tried again
FLUSH_S = 5.0  # for verdicts that still wait when the process ends
LOST = (aiomqtt.MqttError, OSError, DefectloopError)


class MqttConnector:
    """One broker. `root` is the workspace, to which relative paths refer."""

    def __init__(self, name: str, config: Mqtt, root: Path, station: Station) -> None:
        self.name, self.config, self.root, self.station = f"mqtt.{name}", config, root, station
        self._password = secret(config.password_env, f"connectors.mqtt.{name}.password_env")
        self._identifier = (
            config.client_id or f"defectloop-{hashlib.sha256(f'{station.line} {name}'.encode()).hexdigest()[:8]}"
        )
        self._spooled = asyncio.Event()

    async def run(self) -> None:
        await self.station.keep(self.name, self._connected, LOST)

    async def _connected(self) -> None:
        client = self._client()
        async with client:
            topic = mqtt_messages.subscription(self.config.images)
            granted = await client.subscribe(topic, qos=QOS)
            if any(_code(one) > 2 for one in granted):
                raise aiomqtt.MqttError(f"the broker refuses the subscription to {topic}")
            if self.config.status:
                await client.publish(self.config.status, "online", qos=QOS, retain=True)
            self.station.state(
                self.name, f"connected to {self.config.host}:{self._port} as {self._identifier}, receives {topic}"
            )
            sending = asyncio.create_task(self._send(client))
            try:
                await self._receive(client, sending)
                await self._flushed(sending)
            finally:
                sending.cancel()
            if self.config.status:
                await client.publish(self.config.status, "offline", qos=QOS, retain=True)

    @property
    def _port(self) -> int:
        return self.config.port or (8883 if self.config.tls else 1883)

    def _client(self) -> aiomqtt.Client:
        config, tls = self.config, self.config.tls
        context = None
        if tls is not None:
            context = ssl.create_default_context(cafile=str(self.root / tls.ca) if tls.ca else None)
            if tls.certificate:
                context.load_cert_chain(self.root / tls.certificate, self.root / tls.key if tls.key else None)
        client = aiomqtt.Client(
            config.host,
            self._port,
            identifier=self._identifier,
            clean_session=False,
            username=config.user,
            password=self._password,
            keepalive=config.keepalive_s,
            tls_context=context,
            will=aiomqtt.Will(config.status, "offline", qos=QOS, retain=True) if config.status else None,
        )
        # aiomqtt has no name of its own yet for paho's manual acknowledgement (empicano/aiomqtt#345).
        client._client.manual_ack_set(True)
        return client

    async def _receive(self, client: aiomqtt.Client, sending: asyncio.Task[None]) -> None:
        """Answer messages, in their order, until the process ends or the connection breaks."""
        stopping = asyncio.create_task(self.station.stopping.wait())
        messages = client.messages
        try:
            while not self.station.stopping.is_set():
                next_one = asyncio.create_task(anext(messages))
                await asyncio.wait({next_one, stopping, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    next_one.cancel()
                    sending.result()  # raises why it ended
                    return
                if not next_one.done():
                    next_one.cancel()
                    return
                message = next_one.result()
                await self._answer(message)
                client._client.ack(message.mid, message.qos)
        except Stopped:
            return  # the broker keeps the message
        finally:
            stopping.cancel()

    async def _answer(self, message: aiomqtt.Message) -> None:
        """Inspect what a message asks for and put the verdict into the spool. Raises Stopped."""
        topic = str(message.topic)
        stated = mqtt_messages.in_topic(self.config.images, topic)
        payload = message.payload if isinstance(message.payload, bytes) else bytes(str(message.payload), "utf-8")
        verdict: dict[str, Any]
        try:
            asked = mqtt_messages.asked(payload, self.config.payload, stated, self.config.largest_mb * 1e6)
            stated = dict(asked.stated)
            verdict = await self.station.inspect(await asyncio.to_thread(self._image, asked, topic))
        except BadInput as error:
            verdict = {"error": {"message": error.message, "next_step": error.next_step}, **stated}
        if identifier := stated.get("id"):
            verdict = {**verdict, "id": identifier}
        out = mqtt_messages.filled(self.config.verdicts, {**stated, **{k: v for k, v in verdict.items() if v}})
        body = {"topic": out, "payload": verdict}
        while True:
            try:
                await asyncio.to_thread(self.station.spool.put, self.name, [(str(uuid4()), body)], time.time())
            except SpoolFull:
                self.station.state(self.name, "accepts no messages, because the spool of verdicts is full (spool_mb)")
                await self.station.pause(FULL_S)
            else:
                self._spooled.set()
                return

    def _image(self, asked: mqtt_messages.Asked, topic: str) -> Image:
        data = asked.data
        if data is None:
            data = read_below(self.root / (self.config.folder or "."), asked.path or "", self.config.largest_mb * 1e6)
        stated = asked.stated
        told = (
            [self.name, stated["id"]] if "id" in stated else [topic, hashlib.sha256(data).hexdigest(), *stated.values()]
        )
        return Image(
            data,
            f"mqtt:{hashlib.sha256(chr(0).join(told).encode()).hexdigest()[:40]}",
            part=stated.get("part"),
            view=stated.get("view"),
            slice=stated.get("slice") or self.config.slice,
            captured_at=stated.get("captured_at"),
            file_name=stated.get("file_name") or asked.path,
        )

    async def _send(self, client: aiomqtt.Client) -> None:
        """Publish what is in the spool, as long as the connection lasts."""
        while True:
            self._spooled.clear()
            for waiting in await asyncio.to_thread(self.station.spool.due, self.name, time.time()):
                message = waiting.body
                await client.publish(message["topic"], _json(message["payload"]), qos=QOS)
                await asyncio.to_thread(self.station.spool.remove, waiting)
                self._spooled.set()
            if not self._spooled.is_set():
                await self._spooled.wait()

    async def _flushed(self, sending: asyncio.Task[None]) -> None:
        """Wait until the spool is empty, for a short time."""
        ends = time.monotonic() + FLUSH_S
        while not sending.done() and time.monotonic() < ends:
            if not await asyncio.to_thread(self.station.spool.waiting, self.name):
                return
            await asyncio.sleep(0.02)


def _json(payload: dict[str, Any]) -> bytes:
    import json

    return json.dumps(payload, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _code(granted: Any) -> int:
    return int(getattr(granted, "value", granted))
