"""LMNet as a whole, and the rules that make a mask of its sample."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from golden import Golden, error, unet_config
from models.batches import Batches
from models.crops import crop_about
from models.ddim import DDIM
from models.lesion_mask import (
    acceptable_as_reference,
    largest_component,
    lesions_as_reference,
    mask_as_reference,
    mask_of_volume,
    soft,
)
from models.lmnet import LMNet, MaskRequest, condition_of
from models.samplers import Sampler
from models.unet import UNet


@pytest.mark.parametrize("name", ["one", "multi", "overlap"])
def test_reference_masks(golden: Golden, name: str) -> None:
    """Lesions, crops, conditions, thresholds and acceptance, voxel by voxel; the samples are the recorded ones."""
    case = golden.case("lmnet_post")
    about = json.loads(str(case.arrays["meta_json"]))[name]
    boxes, organs = case.arrays[f"{name}.in.bbox"] == 2, case.arrays[f"{name}.in.seg"]
    stone, call = "stone" in about["path"].lower(), 0
    made = np.zeros(organs.shape, np.uint8)
    accepted = np.zeros(organs.shape, bool)
    hosts = np.zeros(organs.shape, bool)
    for lesion in lesions_as_reference(boxes):
        window = crop_about(lesion, tuple(about["crop"])).slices
        for attempt in range(2):
            host = case.arrays[f"{name}.call{call}.target"][0, 0] > 0
            condition = condition_of(organs[window], host, lesion[window])
            assert torch.equal(condition[0], case[f"{name}.call{call}.seg"][0, 0])
            assert torch.equal(condition[2], case[f"{name}.call{call}.label"][0, 0].float())
            drawn = mask_as_reference(case.arrays[f"{name}.sample{call}"], int(lesion.sum()))
            call += 1
            hosts[window] |= host
            if acceptable_as_reference(drawn.voxels, accepted[window], stone=stone, last_attempt=attempt == 1):
                accepted[window] |= drawn.voxels
                break
    assert call == about["n_calls"]
    made[hosts_of(organs, hosts)] = 1
    made[accepted] = 2
    assert np.array_equal(made, case.arrays[f"{name}.out"][0, 0])


def hosts_of(organs: np.ndarray, hosts: np.ndarray) -> np.ndarray:
    """All of the organs that the crops show as hosts."""
    return np.isin(organs, [organ for organ in np.unique(organs[hosts]) if organ])


def blob(seed: int) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((24, 24, 24)), 3)
    centre = np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0)
    return (1.2 - centre / 9 + 2 * smooth).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), wanted=st.integers(60, 1500))
def test_a_mask_has_the_volume_asked_for(seed: int, wanted: int) -> None:
    inside = np.zeros((24, 24, 24), bool)
    inside[3:21, 4:20, 4:20] = True
    sample = blob(seed)
    drawn = mask_of_volume(sample, inside, wanted)
    assert drawn is not None
    assert not (drawn.voxels & ~inside).any()
    assert np.array_equal(drawn.voxels, largest_component(drawn.voxels))
    volumes = [largest_component((sample > t) & inside).sum() for t in np.linspace(0.05, 0.95, 91)]
    assert abs(drawn.volume_vox - wanted) <= min(abs(int(volume) - wanted) for volume in volumes)


def test_a_sample_without_a_lesion_has_no_mask() -> None:
    assert mask_of_volume(np.zeros((8, 8, 8), np.float32), np.ones((8, 8, 8), bool), 20) is None


def test_the_soft_mask_is_the_mask_and_its_surface_lies_between_voxels() -> None:
    sample = blob(3)
    drawn = mask_of_volume(sample, np.ones(sample.shape, bool), 700)
    assert drawn is not None
    edge = soft(sample, drawn)
    assert np.array_equal(edge > 0.5, drawn.voxels)
    assert len(np.unique(edge)) > 100
    true = ndimage.zoom(sample, 3, order=1) > drawn.threshold
    near = ndimage.zoom(ndimage.binary_dilation(drawn.voxels).astype(np.float32), 3, order=0) > 0.5
    from_soft = ndimage.zoom(edge, 3, order=1) > 0.5
    from_hard = ndimage.zoom(drawn.voxels.astype(np.float32), 3, order=1) > 0.5
    assert (from_soft ^ (true & near)).sum() < 0.5 * (from_hard ^ (true & near)).sum()


def test_a_lesion_is_its_own_whoever_lies_beside_it(golden: Golden) -> None:
    case = golden.case("unet_lmnet")
    unet = UNet(unet_config(case.config["params"])).eval()
    unet.load_state_dict(case.weights)
    sampler, text = Sampler(DDIM(steps=5)), Always(case["context"][:1])
    lmnet = LMNet(unet, sampler, text, batches=Batches(4))
    box = np.zeros((12, 16, 20), bool)
    box[3:9, 4:12, 5:15] = True
    organs = np.full(box.shape, 5, np.uint8)
    requests = [MaskRequest(organs, organs == 5, box, {}, 100 + 50 * seed, seed) for seed in range(4)]
    together, turned = lmnet.draw(requests), lmnet.draw(requests[::-1])[::-1]
    alone = LMNet(unet, sampler, text).draw(requests)
    for first, second, single in zip(together, turned, alone, strict=True):
        assert first is not None
        assert second is not None
        assert single is not None
        assert np.array_equal(first.sample, second.sample)
        assert error(torch.from_numpy(first.sample), torch.from_numpy(single.sample)) < 1e-5


class Always:
    """One context for all."""

    channels = 512

    def __init__(self, context: torch.Tensor) -> None:
        self.context = context

    def encode(self, batch: object) -> torch.Tensor:
        return self.context.expand(len(batch), -1, -1)  # type: ignore[arg-type]
