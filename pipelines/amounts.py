"""How many images, in words: made ones are counted apart wherever images are counted."""

from __future__ import annotations


def of_them(images: int, synthetic: int, what: str = "images") -> str:
    """`645 images, 60 of them synthetic`; without any, `645 images`."""
    return f"{images} {what}" + (f", {synthetic} of them synthetic" if synthetic else "")
