"""Numbers in words, singular and plural. Synthetic images are always counted separately."""

from __future__ import annotations


def image_count(images: int, synthetic: int, what: str = "images") -> str:
    """Return `645 images, 60 of them synthetic`, or `645 images` if none are synthetic."""
    return f"{images} {what}" + (f", {synthetic} of them synthetic" if synthetic else "")


def counted(n: int, what: str, plural: str | None = None) -> str:
    """Return `1 part` or `2 parts`. `plural` is needed only where it is not the singular and an s."""
    return f"{n} {what if n == 1 else plural or what + 's'}"
