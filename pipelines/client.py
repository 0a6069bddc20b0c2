"""The client of the inspection service's HTTP API, for stations, connectors and scripts. Imports httpx and little else.

    with Client("http://station:8484", key) as client:
        answer = client.inspect("bottling-3", image_bytes, part="B-0815", view="top")
        print(answer["verdict"], answer["score"])

Every request is repeated until it was answered or its deadline is over: connection errors, timeouts, 429 and 502 to 504,
after the time that `Retry-After` names, or else after an exponential wait with jitter (Brooker, "Exponential Backoff and
Jitter", AWS 2015). An inspection carries an idempotency key over all its attempts, so a lost answer never leads to a second
inspection. Other refusals are not repeated.

    BadInput      400, 409, 413, 415: this request is wrong and will always be
    UnreadableImage  422: the bytes are no image; the service has recorded the rejection
    Refused       401, 403: the key is missing, unknown or not allowed to do this
    NotReady      404: the line, inspection or part does not exist (yet)
    Busy          429 until the deadline
    Unreachable   no answer, or none of a defectloop service, until the deadline
"""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx

from models.errors import BadInput, Busy, DefectloopError, NotReady, Refused, Unreachable, UnreadableImage

Answer = dict[str, Any]  # a JSON object of the API, see docs/service.md

DEADLINE_S = 60.0
ATTEMPT_S = 20.0  # one attempt; a service that is alive answers in milliseconds
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
REPEATED = {429, 502, 503, 504}  # the request was not carried out, or repeating it does no harm
_ERRORS: Mapping[int, type[DefectloopError]] = {
    400: BadInput,
    401: Refused,
    403: Refused,
    404: NotReady,
    409: BadInput,
    413: BadInput,
    415: BadInput,
    422: UnreadableImage,
    429: Busy,
}


class Client:
    """A connection to the service at `url`. Threads may share it.

    `deadline_s` limits each call with all its attempts and waits, `attempt_s` a single attempt.
    """

    def __init__(
        self, url: str, key: str | None = None, *, deadline_s: float = DEADLINE_S, attempt_s: float = ATTEMPT_S
    ) -> None:
        self.url = _checked(url)
        self.deadline_s, self.attempt_s = deadline_s, attempt_s
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers)
        except (UnicodeEncodeError, httpx.InvalidURL) as error:
            raise BadInput("The key of the service has characters that no key has.", next_step=_KEY) from error

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def inspect(
        self,
        line: str,
        data: bytes,
        *,
        part: str | None = None,
        view: str | None = None,
        slice: str | None = None,
        captured_at: datetime | str | None = None,
        file_name: str | None = None,
        key: str | None = None,
    ) -> Answer:
        """Inspect an image. Returns the inspection; `repeated` is true if the service had it before.

        `key` identifies the request: the same key is the same inspection. Without one, every call is a new inspection.
        Raises BadInput for a request that can never succeed, else see the module.
        """
        if key is not None and not (key.isascii() and key.isprintable()):
            raise BadInput(f"The key {key!r} cannot be sent.", next_step="Use printable ASCII characters.")
        when = captured_at.isoformat() if isinstance(captured_at, datetime) else captured_at
        stated = {"part": part, "view": view, "slice": slice, "captured_at": when, "file_name": file_name}
        return self._ask(
            "POST",
            f"/v1/lines/{_segment(line)}/inspections",
            params={name: value for name, value in stated.items() if value is not None},
            headers={"Idempotency-Key": key or str(uuid4()), "Content-Type": "application/octet-stream"},
            content=data,
        )

    def inspection(self, line: str, number: int) -> Answer:
        """Return an inspection by its number."""
        return self._ask("GET", f"/v1/lines/{_segment(line)}/inspections/{number}")

    def heatmap(self, line: str, number: int) -> bytes:
        """Return the heatmap of an inspection over its image, as PNG."""
        return self._send("GET", f"/v1/lines/{_segment(line)}/inspections/{number}/heatmap.png").content

    def image(self, line: str, number: int) -> bytes:
        """Return the original bytes of the image of an inspection."""
        return self._send("GET", f"/v1/lines/{_segment(line)}/inspections/{number}/image").content

    def part(self, line: str, part: str) -> Answer:
        """Return the verdict on a part from all its views."""
        return self._ask("GET", f"/v1/lines/{_segment(line)}/parts/{_segment(part)}")

    def complete(self, line: str, part: str, views: int | list[str] | None = None) -> Answer:
        """State that all images of a part were sent; `views` says how many or which. Returns the verdict on the part."""
        body = {} if views is None else {"views": views}
        return self._ask("POST", f"/v1/lines/{_segment(line)}/parts/{_segment(part)}/complete", json=body)

    def search(self, line: str, *, page: int = 100, **filters: object) -> Iterator[Answer]:
        """Yield inspections, newest first, page by page. Filters: part, since, until, verdict, model_version, slice."""
        cursor: object = None
        while True:
            asked = {**filters, "limit": page, "cursor": cursor}
            found = self._ask(
                "GET",
                f"/v1/lines/{_segment(line)}/inspections",
                params={name: str(value) for name, value in asked.items() if value is not None},
            )
            yield from found["inspections"]
            cursor = found["next"]
            if cursor is None:
                return

    def lines(self) -> list[str]:
        """Return the names of the lines that the service has."""
        answer = _object(self._send("GET", "/readyz", also=(503,)))  # 503: not every line is ready
        if not isinstance(answer, dict) or not isinstance(answer.get("lines"), dict):
            raise self._foreign(200)
        return sorted(answer["lines"])

    def _ask(self, method: str, path: str, **request: Any) -> Answer:
        response = self._send(method, path, **request)
        answer = _object(response)
        if answer is None:
            raise self._foreign(response.status_code)
        return answer

    def _send(self, method: str, path: str, *, also: tuple[int, ...] = (), **request: Any) -> httpx.Response:
        """Send a request until it is answered or the deadline is over. Raises what the answer means, unless its status is
        one of `also`."""
        ends = time.monotonic() + self.deadline_s
        attempt = 0
        while True:
            asked_wait = None
            limit = max(0.05, min(self.attempt_s, ends - time.monotonic()))
            try:
                response = self._http.request(method, path, timeout=limit, **request)
            except httpx.TransportError as error:
                failure: DefectloopError = self._silent(error)
            else:
                if response.is_success or response.status_code in also:
                    return response
                failure = self._refusal(response)
                if response.status_code not in REPEATED:
                    raise failure
                asked_wait = retry_after_s(response.headers.get("Retry-After"))
            wait = max(asked_wait or 0.0, backoff_s(attempt))
            if time.monotonic() + wait > ends:
                raise failure
            time.sleep(wait)
            attempt += 1

    def _silent(self, error: httpx.TransportError) -> Unreachable:
        reason = str(error).strip() or type(error).__name__
        return Unreachable(
            f"The inspection service at {self.url} does not answer: {reason}.",
            next_step="Check the address, and that `defectloop serve` runs there; then send the same request again.",
        )

    def _refusal(self, response: httpx.Response) -> DefectloopError:
        try:
            told = response.json()["error"]
            message, next_step = str(told["message"]), str(told.get("next_step") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._foreign(response.status_code)
        if response.status_code == 401:
            next_step = next_step or _KEY
        kind = _ERRORS.get(response.status_code, Unreachable if response.status_code >= 500 else BadInput)
        return kind(message, next_step=next_step)

    def _foreign(self, status: int) -> Unreachable:
        return Unreachable(
            f"{self.url} answers with status {status}, but not as a defectloop service does.",
            next_step="Check the address: a proxy or another program may be listening there.",
        )


_KEY = "Set DEFECTLOOP_API_KEY to a key of the service (defectloop keys)."


def backoff_s(attempt: int, first_s: float = FIRST_WAIT_S, longest_s: float = LONGEST_WAIT_S) -> float:
    """Return the seconds to wait after a failed attempt (0, 1, …): doubled each time, and shortened at random by up to half,
    so that many clients do not return together."""
    return min(longest_s, first_s * 2.0 ** min(attempt, 30)) * random.uniform(0.5, 1.0)


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, given as seconds or as an HTTP date, or None."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _object(response: httpx.Response) -> Answer | None:
    """Return the JSON object of a response, or None."""
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _checked(url: str) -> str:
    """Return the address without a slash at its end. Raises BadInput if it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise BadInput(f"{url!r} is not the address of a service.", next_step="Example: --url http://station:8484")
    return url.rstrip("/")


def _segment(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")
