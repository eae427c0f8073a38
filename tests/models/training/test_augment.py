"""Random changes of examples: the same for image and maps, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.training.augment import Augmentation, Augmented, augment

MOVES = Augmentation(flip=("S", "A", "L"), rotate_deg=20.0, scale=0.2)


def crop() -> Augmented:
    label = np.zeros((12, 14, 16), np.uint8)
    label[2:10, 2:12, 2:14] = 1
    label[4:8, 5:9, 6:11] = 2
    return Augmented(np.where(label == 2, 80.0, 20.0).astype(np.float32), np.where(label, 5, 0).astype(np.uint8), label)


def test_nothing_to_change_changes_nothing() -> None:
    given = crop()
    same = augment(*given, Augmentation(), 7)
    assert all(np.array_equal(a, b) for a, b in zip(given, same, strict=True))


def test_a_seed_names_its_change_and_torch_is_left_alone() -> None:
    changes = Augmentation(flip=("A",), rotate_deg=10.0, scale=0.1, shift_hu=5.0, noise_hu=3.0)
    before = torch.random.get_rng_state()
    first, again, other = (augment(*crop(), changes, seed) for seed in (2**60, 2**60, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.image_hu, other.image_hu)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(4))
def test_image_and_maps_move_together(seed: int) -> None:
    moved = augment(*crop(), MOVES, seed)
    assert [array.dtype for array in moved] == [np.float32, np.uint8, np.uint8]
    assert set(np.unique(moved.label)) == {0, 1, 2}
    assert set(np.unique(moved.organs)) == {0, 5}
    bright = moved.image_hu > 50
    lesion = moved.label == 2
    assert 2 * (bright & lesion).sum() / (bright.sum() + lesion.sum()) > 0.85
    assert ((moved.organs == 5) == (moved.label > 0)).mean() > 0.999
    assert not np.array_equal(moved.label, crop().label)


def test_what_comes_in_from_beyond() -> None:
    image = np.full((12, 12, 12), 30.0, np.float32)
    label = np.zeros((12, 12, 12), np.uint8)
    label[5:7, 5:7, 5:7] = 2
    for outside in (-1000.0, 0.0):
        moved = augment(image, label, label, Augmentation(rotate_deg=45.0), 3, outside_hu=outside)
        assert moved.image_hu[0, 0, 0] == outside
        assert moved.label[0, 0, 0] == 0


def test_intensities_change_without_the_maps() -> None:
    given = crop()
    shifted = augment(*given, Augmentation(shift_hu=20.0), 5)
    difference = shifted.image_hu - given.image_hu
    assert np.allclose(difference, difference[0, 0, 0], atol=1e-3)
    assert 0 < abs(float(difference[0, 0, 0])) <= 20
    noisy = augment(*given, Augmentation(noise_hu=20.0), 5)
    assert 0 < float((noisy.image_hu - given.image_hu).std()) < 22
    for changed in (shifted, noisy):
        assert np.array_equal(changed.organs, given.organs)
        assert np.array_equal(changed.label, given.label)


def test_one_change_more_leaves_the_others_as_they_were() -> None:
    few = augment(*crop(), Augmentation(rotate_deg=10.0), 11)
    more = augment(*crop(), Augmentation(rotate_deg=10.0, shift_hu=5.0), 11)
    assert np.array_equal(few.label, more.label)


def test_a_lesion_of_one_voxel_is_never_lost() -> None:
    image, label = np.zeros((9, 9, 9), np.float32), np.zeros((9, 9, 9), np.uint8)
    label[0, 0, 0] = 2
    for seed in range(8):
        assert (augment(image, label, label, MOVES, seed).label == 2).any()
