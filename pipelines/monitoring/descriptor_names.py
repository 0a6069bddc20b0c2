"""The descriptors of drift monitoring in plain words."""

from __future__ import annotations

WORDS = {
    "score": "score",
    "brightness": "brightness",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "noise": "pixel noise",
    "saturation": "colour saturation",
    "light_x": "light from left to right",
    "light_y": "light from top to bottom",
}
PROJECTION = "projection_"  # of the network's embedding on a principal axis


def in_words(descriptor: str) -> str:
    if descriptor.startswith(PROJECTION):
        return f"what the network sees (axis {descriptor.removeprefix(PROJECTION)})"
    return WORDS.get(descriptor, descriptor)
