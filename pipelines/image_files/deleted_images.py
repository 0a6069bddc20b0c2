"""Images that were deleted under retention: how readers say it, and how an image that comes again is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from models.errors import NotReady
from pipelines.image_files.image_store import ImageStore
from pipelines.ledger import deletions
from pipelines.ledger.ledger import Ledger

LONGEST_WAIT_S = 10.0  # for a deletion in progress, which takes milliseconds unless its process was killed
POLL_S = 0.02


class ImageDeleted(NotReady):
    """The image was deleted under retention. The message says when and by which rule."""


def read(ledger: Ledger, get: Callable[[str], bytes], image: str) -> bytes:
    """Return an image that `get` reads. Raises ImageDeleted if it was deleted, and what `get` raises."""
    try:
        return get(image)
    except NotReady:
        if deletion := deletions.of_images(ledger, [image]).get(image):
            raise ImageDeleted(deletions.told(deletion)) from None
        raise


def gone(ledger: Ledger, store: ImageStore, images: Mapping[str, object] | list[str]) -> dict[str, str]:
    """Return which of these images were deleted and did not come again, with what to tell."""
    deleted = deletions.of_images(ledger, list(images))
    return {image: deletions.told(one) for image, one in deleted.items() if not store.exists(image)}


def keep(ledger: Ledger, put: Callable[[bytes], str], images: Mapping[str, bytes]) -> None:
    """Store images again that were deleted, or are being deleted. Call it when records that name them are committed.

    A deletion that is decided after that commit leaves the image where it is (`pipelines.ledger.deletions`).
    """
    ends = time.monotonic() + LONGEST_WAIT_S
    waiting = dict(images)
    while waiting:
        states = deletions.newest(ledger, list(waiting))
        late = time.monotonic() > ends
        for image in list(waiting):
            if states.get(image) == deletions.PENDING and not late:
                continue
            data = waiting.pop(image)
            if image in states:
                put(data)
        if waiting:
            time.sleep(POLL_S)
