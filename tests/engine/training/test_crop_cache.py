"""Decoded crops that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.errors import CaseError, UsageError
from engine.io.storage import open_output
from engine.training import decoding
from engine.training.crop_cache import CropCache
from engine.training.decoding import Decoder
from known_cases import LARGE, same_crop
from made_cases import revalue, spoil


def kept(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.npz"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From its call on no volume can be opened."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a volume was opened")

    return lambda: [monkeypatch.setattr(decoding.Volumes, name, refuse) for name in ("image", "label", "organs")]


@pytest.mark.parametrize("network", ["vq", "lmnet", "linet"])
def test_as_decoded_and_without_opening_a_volume(known, training, cache, unread, network):
    known.add("p1")
    lesions = [known.lesion("p1")]
    plain = Decoder(training(network), lesions)(0)
    settings = training(network, data={"cache": str(cache)})
    first = Decoder(settings, lesions)(0)
    unread()
    again = Decoder(settings, lesions)(0)
    assert same_crop(plain, first)
    assert same_crop(plain, again)
    assert list(again.paint_text) == list(plain.paint_text)
    assert again.label.flags.writeable
    assert len(kept(cache)) == 1


def test_no_pickled_objects(known, training, cache):
    known.add("p1")
    Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])(0)
    with np.load(kept(cache)[0], allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind != "O" for name in arrays.files)


@pytest.mark.parametrize(
    "other",
    [
        {"network": "linet"},
        {"data": {"outside": "zero_hu"}},
        {"data": {"crop": (16, 16, 16)}},
        {"text": {"words": "full"}},
    ],
)
def test_what_a_crop_depends_on_makes_another(known, training, cache, other):
    known.add("p1")
    Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])(0)
    data = {"cache": str(cache), **other.pop("data", {})}
    settings = training(**other, data=data)
    assert same_crop(
        Decoder(settings, [known.lesion("p1")])(0), Decoder(training(**other, data=data), [known.lesion("p1")])(0)
    )
    assert len(kept(cache)) == 2


def test_a_file_that_changes_is_noticed(known, training, cache):
    folder = known.add("p1")
    decoder = Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])
    before = decoder(0)

    def brighter(hu: np.ndarray) -> np.ndarray:
        hu[LARGE] += 50
        return hu

    revalue(folder / "ct.nii.gz", brighter)
    after = Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])(0)
    assert after.image_hu[after.label == 2].mean() > before.image_hu[before.label == 2].mean() + 40


@pytest.mark.parametrize("ruin", [lambda p: p.unlink(), lambda p: spoil(p, lambda data: data[:200])])
def test_a_volume_that_is_ruined_in_a_later_epoch(known, training, cache, ruin):
    folder = known.add("p1")
    decoder = Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])
    for _ in range(2):
        decoder(0)
    ruin(folder / "ct.nii.gz")
    with pytest.raises(CaseError, match=r"^p1: ct.nii.gz: "):
        Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])(0)


@pytest.mark.parametrize("damage", [lambda data: data[:-300], lambda data: b"", lambda data: data[:500] + b"x" * 900])
def test_a_damaged_crop_is_decoded_anew(known, training, cache, damage):
    known.add("p1")
    decoder = Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])
    crop = decoder(0)
    whole = kept(cache)[0].read_bytes()
    spoil(kept(cache)[0], damage)
    assert same_crop(decoder(0), crop)
    assert kept(cache)[0].read_bytes() == whole


def test_damage_anywhere_is_noticed(known, training, cache):
    known.add("p1")
    decoder = Decoder(training(data={"cache": str(cache)}), [known.lesion("p1")])
    crop = decoder(0)
    found = CropCache(open_output(str(cache)), (24, 20, 16))
    key, whole = kept(cache)[0].stem, kept(cache)[0].read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(len(whole), size=300):
        kept(cache)[0].write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.integers(8))]) + whole[at + 1 :])
        back = found.find(key)
        assert back is None or same_crop(back, crop)


def test_a_cache_that_cannot_be(known, training, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        Decoder(training(data={"cache": str(tmp_path / "file" / "cache")}), [])
