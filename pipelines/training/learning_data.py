"""The training and validation data of a snapshot, with large images cut into tiles if params.yaml asks for it."""

from __future__ import annotations

from models.dataset import annotation_table, examples, tiles
from models.dataset.examples import Examples
from models.params import Params
from models.training import kinds
from models.vocabulary import Label, Split
from pipelines.workspace import Workspace


def splits(workspace: Workspace, params: Params) -> tuple[Examples, Examples]:
    """Return (training, validation) examples. Raises BadData if a split lacks a label that this kind of detector needs."""
    table = annotation_table.load(workspace.annotations)
    needs = kinds.KINDS[params.model.kind]
    training, validation = (
        examples.of_split(table, workspace.data, split, needs) for split in (Split.TRAIN, Split.VALIDATION)
    )
    if needs == {Label.GOOD}:  # this kind trains on good parts only
        training = examples.subset(training, training.targets == 0)
    if params.model.tile_px is None:
        return training, validation
    cache = workspace.state / "cache" / "tiles"
    return (
        tiles.cut(training, params.model.tile_px, cache, learning=True),
        tiles.cut(validation, params.model.tile_px, cache, learning=False),
    )
