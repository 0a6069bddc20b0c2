"""Exports the dataset for Label Studio: `images/`, `tasks.json` with the ground truth as annotations, and `labelling.xml`.

Label Studio serves the images from this folder ("local files"). Columns that its format cannot represent are stored in each
task's `data` (`pipelines.interchange.carried`) and are part of both of its JSON exports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from models.images import codec
from models.vocabulary import Label
from pipelines.dataset_export.types import name, type_names, untyped_name
from pipelines.interchange import brush, carried
from pipelines.interchange.label_studio import content

_KINDS = {"choices": "choices", "rectanglelabels": "rectangle", "brushlabels": "brush"}
_NO_NUMBERS = {"choices", "rectanglelabels", "brushlabels", "format"}


def tasks(rows: list[dict[str, Any]], data_dir: Path, directory: Path) -> list[dict[str, Any]]:
    """Return one task per image. `directory` contains `images/`; its parent is Label Studio's document root."""
    untyped = untyped_name(rows)
    return [_task(row, data_dir, directory.resolve().name, untyped) for row in rows]


def _task(row: dict[str, Any], data_dir: Path, folder: str, untyped: str) -> dict[str, Any]:
    results = _results(row, data_dir, untyped)
    is_annotated = bool(results) or row["boxes"] is not None
    sealed = carried.seal(_content(result) for result in results) if is_annotated else carried.UNANNOTATED
    return {
        "data": {
            "image": f"/data/local-files/?d={quote(f'{folder}/images/{name(row)}')}",
            carried.KEY: carried.carried(row, sealed) | {"untyped": untyped},
        },
        "annotations": [{"result": results}] if is_annotated else [],
    }


def _content(result: dict[str, Any]) -> list[Any]:
    numbers = {name: value for name, value in result["value"].items() if name not in _NO_NUMBERS}
    return content(_KINDS[result["type"]], result["value"][result["type"]], numbers)


def _results(row: dict[str, Any], data_dir: Path, untyped: str) -> list[dict[str, Any]]:
    regions: list[tuple[str, str, dict[str, Any]]] = []
    if row["label"]:
        regions.append(("label", "choices", {"choices": [row["label"]]}))
    if row["defect_types"]:
        regions.append(("types", "choices", {"choices": list(row["defect_types"])}))
    for box in row["boxes"] or ():
        place = {
            "x": 100 * box["x"] / row["width_px"],
            "y": 100 * box["y"] / row["height_px"],
            "width": 100 * box["width"] / row["width_px"],
            "height": 100 * box["height"] / row["height_px"],
            "rotation": 0,
        }
        regions.append(("boxes", "rectanglelabels", place | {"rectanglelabels": [box["defect_type"] or untyped]}))
    if row["mask"]:
        mask = codec.read(data_dir / row["mask"])[..., 0] > 0
        kinds = list(row["defect_types"] or [])
        label = kinds[0] if len(kinds) == 1 else untyped
        regions.append(("mask", "brushlabels", {"format": "rle", "rle": brush.packed(mask), "brushlabels": [label]}))
    size = {"original_width": row["width_px"], "original_height": row["height_px"], "image_rotation": 0}
    return [
        {"id": f"{row['image'][:8]}-{number}", "from_name": tag, "to_name": "image", "type": kind, "value": value}
        | ({} if kind == "choices" else size)
        for number, (tag, kind, value) in enumerate(regions, start=1)
    ]


def config(rows: list[dict[str, Any]]) -> str:
    """Return the labelling interface: label, defect types, boxes and masks."""
    kinds = type_names(rows)
    labels = [f"    <Label value={quoteattr(kind)}/>" for kind in [*kinds, untyped_name(rows)]]
    return "\n".join(
        [
            "<View>",
            '  <Image name="image" value="$image" zoom="true" zoomControl="true" brightnessControl="true"/>',
            '  <Choices name="label" toName="image" choice="single" showInline="true">',
            *(f'    <Choice value="{label}"/>' for label in Label),
            "  </Choices>",
            '  <Choices name="types" toName="image" choice="multiple" showInline="true">',
            *(f"    <Choice value={quoteattr(kind)}/>" for kind in kinds),
            "  </Choices>",
            '  <RectangleLabels name="boxes" toName="image">',
            *labels,
            "  </RectangleLabels>",
            '  <BrushLabels name="mask" toName="image">',
            *labels,
            "  </BrushLabels>",
            "</View>",
            "",
        ]
    )


def advice(directory: Path) -> tuple[str, ...]:
    """Return the steps to open the export in Label Studio and to bring the labels back."""
    place = directory.resolve()
    back = f"To bring the labels back: export JSON to {place}, then defectloop ingest {place}/EXPORT.json"
    return (*opening(place), back)


def opening(place: Path) -> tuple[str, ...]:
    """Return the steps to open tasks.json, labelling.xml and images/ of this absolute directory in Label Studio."""
    return (
        "To label in Label Studio:",
        "  1. Start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={place.parent}",
        f"  2. Create a project and paste {place / 'labelling.xml'} as its labelling interface (code).",
        f"  3. In Settings, Cloud Storage, add the source storage “local files” {place / 'images'}. Save it, don't sync.",
        f"  4. Import {place / 'tasks.json'}.",
    )
