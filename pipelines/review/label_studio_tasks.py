"""The parts that wait for a label as a Label Studio project: one task per image, without answers.

Its JSON export comes back through `pipelines.review.label_files`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from models import names
from models.errors import BadInput, NotReady
from models.files import output_directory, write_whole
from models.images import codec
from models.vocabulary import Label
from pipelines.dataset_export import label_studio
from pipelines.image_files import deleted_images
from pipelines.image_files.image_store import open_store
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.tables import Inspection
from pipelines.review import questions
from pipelines.review.label_files import IMAGE, PART
from pipelines.review.many import CANT_SAY
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Project:
    directory: Path
    parts: int
    images: int
    advice: tuple[str, ...]


def export(workspace: Workspace, directory: Path) -> Project:
    """Write images, tasks.json and labelling.xml to `directory`, which must be empty or not exist. Raises BadInput, and
    NotReady if no part waits or an image is not in the image store."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BadInput(f"{directory} is not empty.", next_step="Choose another directory.")
    with Ledger.open(workspace.ledger_url) as ledger:
        asked = questions.waiting(ledger, workspace.params().line)
        images = [item.image for one in asked for item in one.images]
        deleted = deleted_images.gone(ledger, open_store(workspace.store_url), images)
    if not asked:
        raise NotReady("No parts wait for a review.", next_step="Inspect more production: defectloop replay FOLDER")
    store = open_store(workspace.store_url)
    tasks = []
    with output_directory(directory) as partial:
        for one in asked:
            for item in (item for item in one.images if item.image not in deleted):
                file = f"{names.for_file(f'{one.part}-{item.image[:16]}')}.png"
                # Browsers show neither TIFF nor 16 bits. Only labels come back, so the pixels may change.
                write_whole(
                    partial / "images" / file,
                    codec.encode_png(codec.to_rgb8(codec.decode(store.get(item.image)))),
                    durable=False,
                )
                tasks.append({"data": _data(directory, file, one, item), "annotations": []})
        write_whole(partial / "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1).encode())
        write_whole(partial / "labelling.xml", CONFIG.encode())
    return Project(directory, len(asked), len(tasks), _advice(directory))


def _data(directory: Path, file: str, one: questions.Question, item: Inspection) -> dict[str, str]:
    return {
        "image": f"/data/local-files/?d={quote(f'{directory.resolve().name}/images/{file}')}",
        PART: one.part,
        IMAGE: item.image,
        "shown": " ".join(text for text in (one.part, item.view) if text),
        "reason": f"{one.verdict}, score {one.score:.2f}: {one.reason}",
    }


CONFIG = f"""<View>
  <Header value="$shown"/>
  <Text name="reason" value="$reason"/>
  <Image name="image" value="$image" zoom="true" zoomControl="true" brightnessControl="true"/>
  <Choices name="label" toName="image" choice="single" showInline="true" required="true">
    <Choice value="{Label.GOOD}"/>
    <Choice value="{Label.DEFECT}"/>
    <Choice value="{CANT_SAY}"/>
  </Choices>
</View>
"""


def _advice(directory: Path) -> tuple[str, ...]:
    back = 'To bring the labels back: export JSON, then defectloop review --from EXPORT.json --by "NAME"'
    return (*label_studio.opening(directory.resolve()), back)
