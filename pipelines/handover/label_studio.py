"""Hand the dataset over to Label Studio: `images/`, `tasks.json` with annotations, and the labelling configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from models import images
from models.vocabulary import Label
from pipelines import brush, kept

NO_TYPE = "defect"


def tasks(rows: list[dict[str, Any]], data_dir: Path, folder: str) -> list[dict[str, Any]]:
    """Label Studio's import JSON. `folder` is the directory's name below the local files' root."""
    return [
        {
            "data": {
                "image": f"/data/local-files/?d={folder}/images/{Path(row['file']).name}",
                kept.KEY: kept.of_row(row),
            },
            "annotations": [{"result": _results(row, data_dir)}] if row["label"] else [],
        }
        for row in rows
    ]


def configuration(rows: list[dict[str, Any]]) -> str:
    """The project's labelling interface, with every type of defect that occurs."""
    kinds = {kind for row in rows for kind in row["defect_types"] or ()}
    kinds |= {box["defect_type"] for row in rows for box in row["boxes"] or () if box["defect_type"]}
    labels = "".join(f"    <Label value={quoteattr(kind)}/>\n" for kind in sorted(kinds | {NO_TYPE}))
    choices = "".join(f"    <Choice value={quoteattr(label.value)}/>\n" for label in Label)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <Choices name="label" toName="image">\n{choices}  </Choices>\n'
        f'  <RectangleLabels name="boxes" toName="image">\n{labels}  </RectangleLabels>\n'
        f'  <BrushLabels name="mask" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
    )


def _results(row: dict[str, Any], data_dir: Path) -> list[dict[str, Any]]:
    width, height = row["width_px"], row["height_px"]
    about = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    found: list[dict[str, Any]] = [
        {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [row["label"]]}}
    ]
    for box in row["boxes"] or ():
        place = {
            "x": box["x"] * 100 / width,
            "y": box["y"] * 100 / height,
            "width": box["width"] * 100 / width,
            "height": box["height"] * 100 / height,
            "rotation": 0,
        }
        value = place | {"rectanglelabels": [box["defect_type"] or NO_TYPE]}
        found.append(about | {"from_name": "boxes", "type": "rectanglelabels", "value": value})
    mask = images.read(data_dir / row["mask"])[..., 0] > 0 if row["mask"] else None
    if mask is not None and mask.any():
        kinds = list(row["defect_types"] or ())[:1] or [NO_TYPE]
        value = {"format": "rle", "rle": brush.encode(mask), "brushlabels": kinds}
        found.append(about | {"from_name": "mask", "type": "brushlabels", "value": value})
    return found
