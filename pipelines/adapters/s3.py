"""The image store on S3: boto3. The only importer of boto3. Credentials and endpoint come from AWS's own variables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models.errors import NotReady, Unreachable
from pipelines import deadlines

NEXT_STEP = "Check DEFECTLOOP_STORE, AWS_ENDPOINT_URL and the credentials."
_REMOVED_AT_ONCE = 1000  # keys of one request, S3's limit
_ABSENT = ("404", "NoSuchKey", "NotFound")


class S3Store:
    """An `ImageStore` below `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.bucket, _, self.prefix = self.url.removeprefix("s3://").partition("/")
        self._limit_s = deadlines.verdict_s()  # per image, because its verdict waits for the store
        each_s = self._limit_s / deadlines.TRIES
        tries = {"max_attempts": deadlines.TRIES, "mode": "standard"}
        self._s3: Any = boto3.client("s3", config=Config(connect_timeout=each_s, read_timeout=each_s, retries=tries))

    def put(self, data: bytes, image: str | None = None) -> str:
        image = image or hashlib.sha256(data).hexdigest()
        if not self.exists(image):
            self._call("put_object", Key=self._key(image), Body=data)
        return image

    def get(self, image: str) -> bytes:
        try:
            body: bytes = self._call("get_object", lambda answer: answer["Body"].read(), Key=self._key(image))
        except KeyError as error:
            raise NotReady(
                f"The image store {self.url} has no image {image}.", next_step="Check DEFECTLOOP_STORE."
            ) from error
        return body

    def exists(self, image: str) -> bool:
        try:
            self._call("head_object", Key=self._key(image))
        except KeyError:
            return False
        return True

    def address(self, image: str) -> str:
        return f"s3://{self.bucket}/{self._key(image)}"

    def stored(self) -> Iterator[tuple[str, int]]:
        prefix = f"{self.prefix}/" if self.prefix else ""
        asked: dict[str, Any] = {"Prefix": prefix}
        while True:
            page = self._call("list_objects_v2", **asked)
            for entry in page.get("Contents", ()):
                folder, _, image = str(entry["Key"]).removeprefix(prefix).partition("/")
                if image[:2] == folder and "/" not in image:
                    yield image, int(entry["Size"])
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def remove(self, images: Sequence[str]) -> None:
        for start in range(0, len(images), _REMOVED_AT_ONCE):
            keys = [{"Key": self._key(image)} for image in images[start : start + _REMOVED_AT_ONCE]]
            answer = self._call("delete_objects", Delete={"Objects": keys, "Quiet": True})
            if failed := answer.get("Errors"):
                raise Unreachable(
                    f"The image store {self.url} does not delete {len(failed)} images: {failed[0].get('Message')}.",
                    next_step="Check the permission s3:DeleteObject, then run the same command again.",
                )

    def _key(self, image: str) -> str:
        return "/".join(part for part in (self.prefix, image[:2], image) if part)

    def _call(self, method: str, read: Callable[[Any], Any] = lambda answer: answer, **arguments: Any) -> Any:
        """Call a client method and return the result of `read`. Raises KeyError for a missing object, and Unreachable for
        any other error or after the deadline."""
        ask = getattr(self._s3, method)
        try:
            with deadlines.together(self._limit_s):
                return deadlines.within(
                    lambda: read(ask(Bucket=self.bucket, **arguments)),
                    f"The image store {self.url}",
                    next_step=NEXT_STEP,
                )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _ABSENT and method != "put_object":
                raise KeyError(arguments["Key"]) from error
            raise self._unreachable(error) from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"The image store {self.url} does not answer correctly: {error}.",
            next_step=NEXT_STEP,
        )
