"""Numbers of images in words. Synthetic images are always counted separately."""

from __future__ import annotations


def image_count(images: int, synthetic: int, what: str = "images") -> str:
    """Return `645 images, 60 of them synthetic`, or `645 images` if none are synthetic."""
    return f"{images} {what}" + (f", {synthetic} of them synthetic" if synthetic else "")
