"""The section `connectors` of `service.yaml` as types. docs/connectors.md describes every key."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from models.errors import BadParams
from pipelines import service_file
from pipelines.connectors.mqtt_messages import placeholders
from pipelines.service_file import Section

Seconds = Annotated[float, Field(gt=0, le=86400)]
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
LargestMb = Annotated[float, Field(gt=0, le=1024)]


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from error
    return text


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is the name of an environment variable that holds the secret, not the secret itself")
    return name


def _address(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"is no address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


Expression = Annotated[str, AfterValidator(_expression)]
Variable = Annotated[str, AfterValidator(_variable)]
HttpAddress = Annotated[str, _address("http", "https")]


class Folder(Section):
    """A folder into which a camera writes images."""

    path: Path
    part_from: Expression | None = None
    view: Text | None = None
    slice: Text | None = None
    patterns: tuple[Text, ...] = ("*.png", "*.jpg", "*.jpeg", "*.tif", "*.tiff", "*.bmp", "*.webp")
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 1.0
    marker: Text | None = None
    rescan_s: Seconds = 10.0
    largest_mb: LargestMb = 64.0
    keep_done: bool = True


class Tls(Section):
    """Certificates of a TLS connection; paths of PEM files."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class Mqtt(Section):
    """A broker: images come on one topic, verdicts go to another."""

    host: Text
    port: Port | None = None
    client_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] | None = None
    user: Text | None = None
    password_env: Variable | None = None
    tls: Tls | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    images: Text
    payload: Annotated[str, StringConstraints(pattern="^(image|json)$")] = "image"
    folder: Path | None = None
    slice: Text | None = None
    verdicts: Text
    status: Text | None = None
    largest_mb: LargestMb = 64.0

    @model_validator(mode="after")
    def _topics(self) -> Mqtt:
        for key, topic in (("images", self.images), ("verdicts", self.verdicts), ("status", self.status or "x")):
            try:
                names = placeholders(topic)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
            known = {"part", "view"} if key != "status" else set()
            if unknown := sorted(set(names) - known):
                raise ValueError(f"{key}: {{{unknown[0]}}} is no placeholder; there are {{part}} and {{view}}")
        if self.payload == "image" and self.folder is not None:
            raise ValueError("folder: goes with payload: json, whose messages name files in it")
        if self.password_env and not self.user:
            raise ValueError("password_env: goes with user")
        return self


class Nodes(Section):
    """Node ids of the PLC, for example `ns=2;s=Inspect.Trigger`."""

    trigger: Text
    path: Text
    part: Text | None = None
    view: Text | None = None
    verdict: Text
    score: Text | None = None
    model_version: Text | None = None
    inspection: Text | None = None
    message: Text | None = None
    done: Text
    heartbeat: Text | None = None


class OpcUa(Section):
    """A PLC's OPC UA server."""

    url: Annotated[str, _address("opc.tcp")]
    user: Text | None = None
    password_env: Variable | None = None
    security: Text | None = None
    folder: Path
    slice: Text | None = None
    nodes: Nodes
    poll_s: Seconds = 0.5
    heartbeat_s: Seconds = 1.0
    largest_mb: LargestMb = 64.0

    @model_validator(mode="after")
    def _password(self) -> OpcUa:
        if self.password_env and not self.user:
            raise ValueError("password_env: goes with user")
        return self


class Webhook(Section):
    """An address that gets every verdict of the line."""

    url: HttpAddress
    secret_env: Variable
    verdicts: frozenset[Annotated[str, StringConstraints(pattern="^(pass|review|fail)$")]] = frozenset(
        ("pass", "review", "fail")
    )
    poll_s: Seconds = 1.0
    give_up_after_h: Annotated[float, Field(gt=0)] = 72.0


class Connectors(Section):
    """The whole section. Names of connectors are free; they appear in messages and identify requests."""

    url: HttpAddress = "http://127.0.0.1:8484"
    api_key_env: Variable = "DEFECTLOOP_API_KEY"
    line: Text | None = None
    spool_mb: Annotated[float, Field(gt=0)] = 256.0
    folders: dict[Name, Folder] = Field(default_factory=dict)
    mqtt: dict[Name, Mqtt] = Field(default_factory=dict)
    opcua: dict[Name, OpcUa] = Field(default_factory=dict)
    webhooks: dict[Name, Webhook] = Field(default_factory=dict)

    @property
    def number(self) -> int:
        return len(self.folders) + len(self.mqtt) + len(self.opcua) + len(self.webhooks)


def load(root: Path) -> Connectors:
    """Return the section of the `service.yaml` in `root`. Raises BadParams that names the key and what is expected."""
    return service_file.section(root, "connectors", Connectors)


def secret(variable: str | None, key: str) -> str | None:
    """Return the value of the environment variable that `key` names. Raises BadParams if it is not set."""
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise BadParams(
            f"The environment variable {variable}, which {key} names, is not set.",
            next_step="Set it where `defectloop connect` is started, for example in the unit file of systemd.",
        )
    return value
