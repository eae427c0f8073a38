"""Where a sample's files lie in the dataset folder. A function of ordinal and id alone, so never of the workers."""

from __future__ import annotations


def shard_of(ordinal: int, size: int) -> int:
    """Number of the shard that holds a sample; `size` samples a shard."""
    return ordinal // size


def image_name(ordinal: int, size: int, sample_id: str) -> str:
    """nnU-Net's name of the first (and only) channel."""
    return f"{_folder(ordinal, size)}/{sample_id}_0000.nii.gz"


def label_name(ordinal: int, size: int, sample_id: str) -> str:
    return f"{_folder(ordinal, size)}/{sample_id}.nii.gz"


def patch_name(ordinal: int, size: int, sample_id: str) -> str:
    return f"{_folder(ordinal, size)}/{sample_id}.patch.parquet"


def _folder(ordinal: int, size: int) -> str:
    return f"shard-{shard_of(ordinal, size):05d}"
