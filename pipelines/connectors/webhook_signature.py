"""The signature of a webhook delivery, as sender and receiver compute it. Pure.

HMAC-SHA256 (RFC 2104) over `TIMESTAMP.BODY` with the shared secret. The time stamp is signed too, so that an old
delivery cannot be sent again by someone who has recorded it.
"""

from __future__ import annotations

import hashlib
import hmac

DELIVERY, TIMESTAMP, SIGNATURE = "Defectloop-Delivery", "Defectloop-Timestamp", "Defectloop-Signature"
VERSION = "v1"


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `Defectloop-Signature`. `timestamp` is in seconds since the epoch."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"{VERSION}={digest}"


def is_valid(secret: str, timestamp: str, given: str, body: bytes, now: float, tolerance_s: float = 300.0) -> bool:
    """Return whether a received signature is right and not older (or newer) than `tolerance_s`."""
    try:
        sent = int(timestamp)
    except ValueError:
        return False
    return abs(now - sent) <= tolerance_s and hmac.compare_digest(
        signature(secret, sent, body).encode(), given.encode()
    )
