"""A sample's source, result and organs on the source's grid, whatever form the run stores them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import OrganMap
from engine.core.geometry import Box
from engine.io import patch
from engine.io.layers import Layered, Overlay
from engine.io.reader import CaseReader
from engine.io.volumes import Volume, read_volume
from engine.run import Run
from engine.stages.write import LABEL_LESION

Values = Callable[[Box], NDArray[np.float32]]
"""The values of a volume in a box that lies inside it."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Source, result, label and organ map (v1 ids), all on `source.grid`."""

    source: Volume
    image: Layered
    label: Layered
    organs: OrganMap

    def before(self, box: Box) -> NDArray[np.float32]:
        """HU of the source."""
        return self.source.hu(box)

    def after(self, box: Box) -> NDArray[np.float32]:
        """HU of the result."""
        return self.source.to_hu(self.image.cut(box))

    def lesion(self, box: Box) -> NDArray[np.float32]:
        """1 in a lesion, else 0."""
        return np.asarray(self.label.cut(box) == LABEL_LESION, np.float32)

    def organ(self, organ_id: int) -> Values:
        """1 in the organ of this id, else 0."""
        return lambda box: np.asarray(self.organs[box.slices] == organ_id, np.float32)


def read_outcome(run: Run, reader: CaseReader, row: Mapping[str, Any]) -> Outcome:
    """The outcome of a `done` row of the manifest. Raises `CaseError` where its source can no longer be read."""
    source = reader.volume(row["source_uri"])
    organs, _ = reader.organs(row["organs_uri"], source.grid)
    folder = run.settings.write.dataset_folder
    match run.settings.write.form:
        case "patch":
            over_image, over_label = patch.decode(run.output.get(f"{folder}/{row['image_uri']}"))
        case _:
            painted = read_volume(run.output.uri_of(f"{folder}/{row['image_uri']}"))
            labels = read_volume(run.output.uri_of(f"{folder}/{row['label_uri']}"))
            box = _place_of(painted, source)
            over_image, over_label = (Overlay(box, painted.raw),), (Overlay(box, labels.raw),)
    nothing = np.zeros(source.raw.shape, np.uint8, order="F")
    return Outcome(source, Layered(source.raw, over_image), Layered(nothing, over_label), organs)


def _place_of(part: Volume, whole: Volume) -> Box:
    """Where a crop of a volume lies in it."""
    start = np.rint(whole.grid.to_index(part.grid.affine[:3, 3])).astype(int)
    return Box.whole(part.grid.shape).shifted(start.tolist())
