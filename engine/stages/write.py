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
from engine.io.nifti import crop_header, encode_label, encode_nifti
from engine.io.reader import CaseReader
from engine.io.volumes import Volume
from engine.run import Run
from engine.stages.check import Pasted

LABEL_ORGAN, LABEL_LESION = 1, 2


def write(sample: Sample, pasted: Sequence[Pasted], run: Run, reader: CaseReader) -> dict[str, Any]:
    """Write the sample's files and return the columns that describe them. Raises `OutputError`."""
    volume = reader.volume(sample.ct_uri)
    image = painted_volume(volume, pasted)
    label = label_volume(sample, pasted, run, reader)
    write_settings = run.settings.write
    match write_settings.form:
        case "volume":
            files = _volume_files(sample, run, volume, image, label)
        case "crop":
            files = _crop_files(sample, run, volume, image, label, pasted)
        case "patch":
            boxes = [p.native.box for p in pasted]
            name = shards.patch_name(sample.ordinal, write_settings.shard_size, sample.sample_id)
            files = {"image": (name, patch.encode(sample.sample_id, boxes, image, label))}
    return _put(sample, run, files) | {
        "image_voxels_sha256": voxels_sha256(image),
        "label_voxels_sha256": voxels_sha256(label),
        "resampled": volume.resampled_from_shear,
    }


def painted_volume(volume: Volume, pasted: Sequence[Pasted]) -> NDArray[np.generic]:
    """The source's on-disk values with every lesion in them (a copy, memory order kept)."""
    image = volume.raw.copy(order="K")
    for p in pasted:
        image[p.native.box.slices] = p.raw
    return image


def label_volume(sample: Sample, pasted: Sequence[Pasted], run: Run, reader: CaseReader) -> NDArray[np.uint8]:
    """0 background, 1 the organs that host a lesion (where asked for), 2 lesion."""
    volume = reader.volume(sample.ct_uri)
    if run.settings.write.label_organ:
        organs, _ = reader.organs(sample.organs_uri, volume.grid)
        label = host_organs(organs, [p.lesion.organ_id for p in pasted])
    else:
        label = np.zeros(volume.raw.shape, np.uint8, order="F")
    for p in pasted:
        label[p.native.box.slices][p.native.label] = LABEL_LESION
    return label


def host_organs(organs: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.uint8]:
    """`LABEL_ORGAN` wherever one of these organs is."""
    table = np.zeros(256, np.uint8)
    table[list(ids)] = LABEL_ORGAN
    return np.asarray(table[organs])


def voxels_sha256(voxels: NDArray[np.generic]) -> str:
    """Digest of the voxels in NIfTI order (first index fastest), whatever file holds them."""
    return hashlib.sha256(np.ascontiguousarray(voxels.T).data).hexdigest()


def _volume_files(
    sample: Sample, run: Run, volume: Volume, image: NDArray[np.generic], label: NDArray[np.uint8]
) -> dict[str, tuple[str, bytes]]:
    size = run.settings.write.shard_size
    return {
        "image": (shards.image_name(sample.ordinal, size, sample.sample_id), encode_nifti(volume.header, image)),
        "label": (shards.label_name(sample.ordinal, size, sample.sample_id), encode_label(volume.header, label)),
    }


def _crop_files(
    sample: Sample,
    run: Run,
    volume: Volume,
    image: NDArray[np.generic],
    label: NDArray[np.uint8],
    pasted: Sequence[Pasted],
) -> dict[str, tuple[str, bytes]]:
    """One crop around all lesions of the sample, with the context asked for; its origin moves with it."""
    box = pasted[0].native.box
    for p in pasted[1:]:
        box = box | p.native.box
    context = np.ceil(run.settings.write.crop_context_mm / volume.grid.spacing_mm).astype(int)
    box = box.grown(context.tolist()) & Box.whole(volume.raw.shape)
    header, size = crop_header(volume.header, box), run.settings.write.shard_size
    image_name = shards.image_name(sample.ordinal, size, sample.sample_id)
    label_name = shards.label_name(sample.ordinal, size, sample.sample_id)
    return {
        "image": (image_name, encode_nifti(header, image[box.slices])),
        "label": (label_name, encode_label(header, label[box.slices])),
    }


def _put(sample: Sample, run: Run, files: dict[str, tuple[str, bytes]]) -> dict[str, Any]:
    """Put each file in place under its deterministic name, so that doing it again changes nothing."""
    row: dict[str, Any] = {}
    for kind, (name, data) in files.items():
        run.output.put(f"{run.settings.write.dataset_folder}/{name}", data)
        reached(f"{kind}_renamed", sample.sample_id)
        row |= {f"{kind}_uri": name, f"{kind}_sha256": hashlib.sha256(data).hexdigest()}
    return row
