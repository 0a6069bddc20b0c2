"""Section `serve` of service.yaml."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.service_file import Section


class Tls(Section):
    """Files in PEM format, relative to the workspace."""

    certificate: Path  # with the intermediate certificates
    key: Path
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    client_ca: Path | None = None  # clients must show a certificate that it signed, beside their key


class Limits(Section):
    requests_per_second: Annotated[float, Field(gt=0)] = 500.0  # of each key
    burst: Annotated[int, Field(ge=1)] = 1000  # of each key, at once
    failed_per_minute: Annotated[int, Field(ge=1)] = 30  # requests without a valid key from one address
    body_mb: Annotated[int, Field(ge=1)] = 100


class Decoding(Section):
    """Limits of one image, see `pipelines.serving.decoding`."""

    workers: Annotated[int, Field(ge=1, le=64)] | None = None  # processes; None: one for each core
    time_s: Annotated[float, Field(gt=0)] = 5.0
    memory_mb: Annotated[int, Field(ge=64)] = 2048


class Serve(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8484  # 0: a free one
    queue: Annotated[int, Field(ge=1)] = 64  # waiting requests of a line; more are answered with 503
    shadow: bool = False  # let the challenger see every image; its verdicts are stored and never answered
    spool_mb: Annotated[int, Field(ge=1)] = 2000  # images that may wait for a remote store
    names: tuple[str, ...] = ()  # of this host, which clients use beside its addresses, localhost and its own name
    insecure: bool = False  # allow plain HTTP on an address that other machines reach
    tls: Tls | None = None
    limits: Limits = Limits()
    decoding: Decoding = Decoding()

    @model_validator(mode="after")
    def _keys_are_not_readable_on_the_way(self) -> Serve:
        if not (self.tls or self.insecure or is_loopback(self.host)):
            raise ValueError(
                f"plain HTTP on {self.host} would let everyone on the network read keys and images; set serve.tls, or "
                "serve.insecure: true where the network itself is protected"
            )
        return self


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
