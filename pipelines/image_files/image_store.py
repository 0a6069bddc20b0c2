"""The store of production images: a directory or S3. Content-addressed, so copies take no space."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from models.errors import NotReady, Unreachable
from models.files import write_whole


class ImageStore(Protocol):
    """`put` returns the SHA-256 of the bytes once they are durable; `image` is this SHA-256, if it is known already. `get`
    raises NotReady for an unknown image."""

    def put(self, data: bytes, image: str | None = None) -> str: ...

    def get(self, image: str) -> bytes: ...

    def exists(self, image: str) -> bool: ...

    def address(self, image: str) -> str:
        """Return the path or URL of the image, whether it exists or not."""
        ...

    def stored(self) -> Iterator[tuple[str, int]]:
        """Yield every image of the store with its size in bytes."""
        ...

    def remove(self, images: Sequence[str]) -> None:
        """Remove images; absent ones are no error. Raises Unreachable if one cannot be removed."""
        ...


def open_store(url: str) -> ImageStore:
    """Open the store at `s3://bucket/prefix` or in a directory."""
    if url.startswith("s3://"):
        from pipelines.adapters.s3 import S3Store

        return S3Store(url)
    return LocalStore(Path(url))


class LocalStore:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(self, data: bytes, image: str | None = None) -> str:
        image = image or hashlib.sha256(data).hexdigest()
        path = self._path(image)
        if not path.exists():
            try:
                write_whole(path, data)
            except OSError as error:
                raise Unreachable(
                    f"The image store {self.directory} cannot be written: {error.strerror}. The image was not inspected.",
                    next_step="Check the free disk space and the permissions.",
                ) from error
        return image

    def get(self, image: str) -> bytes:
        try:
            return self._path(image).read_bytes()
        except FileNotFoundError as error:
            raise NotReady(
                f"The image store {self.directory} has no image {image}.", next_step="Check DEFECTLOOP_STORE."
            ) from error

    def exists(self, image: str) -> bool:
        return self._path(image).exists()

    def address(self, image: str) -> str:
        return str(self._path(image))

    def stored(self) -> Iterator[tuple[str, int]]:
        for folder in sorted(place for place in self.directory.glob("??") if place.is_dir()):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):  # being written
                        yield entry.name, entry.stat().st_size

    def remove(self, images: Sequence[str]) -> None:
        for image in images:
            try:
                self._path(image).unlink(missing_ok=True)
            except OSError as error:
                raise Unreachable(
                    f"The image store {self.directory} cannot be changed: {error.strerror}. Image {image[:16]} remains.",
                    next_step="Check the permissions, then run the same command again.",
                ) from error

    def _path(self, image: str) -> Path:
        return self.directory / image[:2] / image
