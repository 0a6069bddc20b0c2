"""The MVTec AD layout: `train/good`, `test/<type>`, `ground_truth/<type>/NAME_mask.png` (Bergmann et al., 2019)."""

from __future__ import annotations

from pathlib import Path

from models.params import SplitShares
from models.vocabulary import Label, Split
from pipelines.ingest.deliveries import Delivery, Source
from pipelines.ingest.folder import image_files
from pipelines.ingest.splits import assign


def recognises(folder: Path) -> bool:
    return (folder / "train" / "good").is_dir() and (folder / "test").is_dir()


def read(folder: Path, shares: SplitShares, slice: str | None = None) -> Source:
    """The official test list stays the test split; the training images are shared out among training and validation."""
    files = [path for part in ("train", "test") for path in image_files(folder / part)]
    name = folder.resolve().name
    learned = [path for path in files if path.relative_to(folder).parts[0] == "train"]
    kept = shares.train + shares.validation
    split_of = assign(
        ((_part(path, folder), (slice or name, Label.GOOD.value)) for path in learned),
        SplitShares(train=shares.train / kept, validation=shares.validation / kept, test=0),
    )
    deliveries = []
    for path in files:
        kind = path.relative_to(folder).parts[1]
        mask = folder / "ground_truth" / kind / f"{path.stem}_mask.png"
        part = _part(path, folder)
        deliveries.append(
            Delivery(
                name=path.relative_to(folder).as_posix(),
                read=path.read_bytes,
                part=part,
                slice=slice or name,
                label=(Label.GOOD if kind == "good" else Label.DEFECT).value,
                split=split_of.get(part, Split.TEST.value),
                defect_types=() if kind == "good" else (kind,),
                mask=mask.read_bytes if mask.exists() else None,
                labelled_by=f"folder {kind}",
            )
        )
    return Source(name, deliveries)


def _part(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
