"""A sample's place follows from its ordinal and id alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.io.shards import image_name, label_name, patch_name, shard_of


def test_names() -> None:
    assert image_name(0, 1000, "liver_1-v000") == "shard-00000/liver_1-v000_0000.nii.gz"
    assert label_name(1999, 1000, "liver_1-v000") == "shard-00001/liver_1-v000.nii.gz"
    assert patch_name(123_456_789, 1000, "a-v001") == "shard-123456/a-v001.patch.parquet"


@given(ordinal=st.integers(0, 10**9), size=st.integers(1, 10**6))
def test_a_shard_holds_its_size(ordinal: int, size: int) -> None:
    shard = shard_of(ordinal, size)
    assert shard * size <= ordinal < (shard + 1) * size
