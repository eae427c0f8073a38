"""{native lesions} -> {manifest row}: image and label on the source's grid, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.failpoints import reached
from engine.core.geometry import Box
from engine.core.sample import Sample
from engine.io import patch, shards
from engine.io.layers import Layered, Overlay
from engine.io.nifti import crop_header, encode_label, encode_nifti
from engine.io.reader import CaseReader
from engine.io.volumes import Volume
from engine.run import Run
from engine.settings import Write
from engine.stages.check import Pasted

LABEL_ORGAN, LABEL_LESION = 1, 2

Files = dict[str, tuple[str, bytes]]
"""Kind ("image", "label") -> name in the dataset folder, content."""


def write(sample: Sample, pasted: Sequence[Pasted], run: Run, reader: CaseReader) -> dict[str, Any]:
    """Write the sample's files and return the columns that describe them. Raises `OutputError`."""
    volume = reader.volume(sample.ct_uri)
    image = Layered(volume.raw, tuple(Overlay(p.native.box, p.raw) for p in pasted))
    label = _label(sample, pasted, run, reader)
    match run.settings.write.form:
        case "volume":
            files = volume_files(sample.sample_id, sample.ordinal, run, volume, image, label)
        case "crop":
            files = _crop_files(sample, run, volume, image, label, pasted)
        case "patch":
            boxes = [p.native.box for p in pasted]
            name = shards.patch_name(sample.ordinal, run.settings.write.shard_size, sample.sample_id)
            files = {"image": (name, patch.encode(sample.sample_id, boxes, image, label))}
    return put_files(sample.sample_id, run, files) | {
        "image_voxels_sha256": image.sha256(),
        "label_voxels_sha256": label.sha256(),
        "resampled": volume.resampled_from_shear,
    }


def _label(sample: Sample, pasted: Sequence[Pasted], run: Run, reader: CaseReader) -> Layered:
    organs, _ = reader.organs(sample.organs_uri, reader.volume(sample.ct_uri).grid)
    lesions = tuple(Overlay(p.native.box, LABEL_LESION, where=p.native.label) for p in pasted)
    return Layered(organs, lesions, table=host_table([p.lesion.organ_id for p in pasted], run.settings.write))


def host_table(organ_ids: Sequence[int], write: Write) -> NDArray[np.uint8]:
    """From v1 ids to labels: `LABEL_ORGAN` for the organs that host a lesion, where that is asked for; 0 elsewhere."""
    table = np.zeros(256, np.uint8)
    if write.label_organ:
        table[list(organ_ids)] = LABEL_ORGAN
    return table


def volume_files(sample_id: str, ordinal: int, run: Run, volume: Volume, image: Layered, label: Layered) -> Files:
    """Image and label on the source's whole grid, with the source's own header."""
    size = run.settings.write.shard_size
    return {
        "image": (shards.image_name(ordinal, size, sample_id), encode_nifti(volume.header, image)),
        "label": (shards.label_name(ordinal, size, sample_id), encode_label(volume.header, label)),
    }


def _crop_files(
    sample: Sample, run: Run, volume: Volume, image: Layered, label: Layered, pasted: Sequence[Pasted]
) -> Files:
    """One crop around all lesions of the sample, with the context asked for; its origin moves with it."""
    box = pasted[0].native.box
    for p in pasted[1:]:
        box = box | p.native.box
    context = np.ceil(run.settings.write.crop_context_mm / volume.grid.spacing_mm).astype(int)
    box = box.grown(context.tolist()) & Box.whole(image.shape)
    header, size = crop_header(volume.header, box), run.settings.write.shard_size
    return {
        "image": (shards.image_name(sample.ordinal, size, sample.sample_id), encode_nifti(header, image.cut(box))),
        "label": (shards.label_name(sample.ordinal, size, sample.sample_id), encode_label(header, label.cut(box))),
    }


def put_files(sample_id: str, run: Run, files: Files) -> dict[str, Any]:
    """Put each file in place under its deterministic name, so that doing it again changes nothing."""
    row: dict[str, Any] = {}
    for kind, (name, data) in files.items():
        run.output.put(f"{run.settings.write.dataset_folder}/{name}", data)
        reached(f"{kind}_renamed", sample_id)
        row |= {f"{kind}_uri": name, f"{kind}_sha256": hashlib.sha256(data).hexdigest()}
    return row
