"""The resident TotalSegmentator: what its own API gives, from networks that are loaded once. Random weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from totalsegmentator.libs import reorder_multilabel_like_v1
from totalsegmentator.map_to_binary import class_map

import actors.totalsegmentator as resident
from actors.organ_models import find_models
from actors.segmenter import organ_map
from actors.totalsegmentator import TotalSegmentator
from engine.core.anatomy import v2_to_v1
from engine.io.volumes import read_volume
from models.openclip import import_torchvision
from models.tensor_file import CheckpointError

pytest_plugins = ["random_organs"]

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def threads() -> Iterator[None]:
    """As many as TotalSegmentator takes on processors: sums round by how they are shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def piece(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of a real CT, stored posterior-left-superior with voxels of 2.5 x 3 x 4 mm."""
    ct = nib.load(shared_data / "ts_abdomen" / "ct.nii.gz").slicer[30:78, 20:68, 30:60]
    affine = ct.affine @ np.diag([2.5 / 3, 1, 4 / 3, 1])
    turned = nib.Nifti1Image(np.asarray(ct.dataobj).astype(np.int16), affine).as_reoriented(
        np.array([[1, -1], [0, -1], [2, 1]])
    )
    path = tmp_path_factory.mktemp("piece") / "ct.nii.gz"
    nib.save(turned, path)
    return path


@pytest.fixture
def copy(organ_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder to be spoilt."""
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "weights"))
    return shutil.copytree(organ_weights, tmp_path / "weights")


def api(ct: Path, **how: object) -> np.ndarray:
    """TotalSegmentator as its users call it, told to report nothing."""
    import_torchvision()  # which it looks for in every trainer that nnU-Net has
    from totalsegmentator.python_api import totalsegmentator

    home = Path(os.environ["TOTALSEG_HOME_DIR"])
    silent = {"send_usage_stats": False, "statistics_disclaimer_shown": True, "prediction_counter": 0}
    (home / "config.json").write_text(json.dumps(silent))
    return np.asarray(totalsegmentator(ct, None, device="cpu", quiet=True, skip_saving=True, **how).dataobj)


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.long
@pytest.mark.parametrize("fast", [True, False], ids=["3 mm", "1.5 mm"])
def test_it_equals_its_own_api(organ_weights: Path, threads: None, piece: Path, fast: bool) -> None:
    ours = TotalSegmentator(find_models(fast=fast), CPU)
    once, volume = organ_map(read_volume(str(piece)), ours), nib.load(piece)
    theirs = api(piece, fast=fast)
    assert len(np.unique(theirs)) > 10, "these networks say too little to be compared"
    assert once.shape == volume.shape
    assert np.array_equal(once, v2_to_v1()[theirs])
    assert np.array_equal(once, organ_map(read_volume(str(piece)), ours)), "the second time it says something else"
    # its own order of version 1 leaves out the heart, cysts and S1, which have other names there
    v1_order = reorder_multilabel_like_v1(theirs, class_map["total"], class_map["total_v1"])
    assert np.array_equal(once[v1_order > 0], v1_order[v1_order > 0])


def test_the_networks_are_kept(copy: Path, piece: Path) -> None:
    loading = resident.package.nnUNetv2_predict
    segment = TotalSegmentator(find_models(fast=True), CPU)
    shutil.rmtree(copy)
    forks: list[None] = []
    os.register_at_fork(before=lambda: forks.append(None))
    assert organ_map(read_volume(str(piece)), segment).any()
    assert not forks, "a fork of a Ray worker, which has threads, may hang"
    assert resident.package.nnUNetv2_predict is loading, "the package is not left as it was"


def test_weights_of_another_network(copy: Path) -> None:
    fast, other = (find_models(fast=fast).networks[0] for fast in (True, False))
    shutil.copy(other.checkpoint, fast.checkpoint)
    with pytest.raises(CheckpointError, match=r"checkpoint_final.pth does not fit its plans.json") as error:
        TotalSegmentator(find_models(fast=True), CPU)
    assert "\n" not in str(error.value)


def test_plans_may_name_no_code_but_networks(copy: Path) -> None:
    (model,) = find_models(fast=True).networks
    plans = json.loads(model.plans.read_bytes())
    architecture = {"network_class_name": "os.system", "arch_kwargs": {}, "_kw_requires_import": []}
    plans["configurations"]["3d_fullres"]["architecture"] = architecture
    model.plans.write_text(json.dumps(plans))
    with pytest.raises(CheckpointError, match=r"names the network os.system, which is none of nnU-Net's"):
        TotalSegmentator(find_models(fast=True), CPU)


def test_what_is_no_number_is_air(organ_weights: Path, threads: None, piece: Path, tmp_path: Path) -> None:
    ct = nib.load(piece)
    hu = np.asarray(ct.dataobj).astype(np.float32)
    hu[:8] = -1024
    segment, maps = TotalSegmentator(find_models(fast=True), CPU), []
    for value in (-1000, np.nan):
        hu[:4] = value
        nib.save(nib.Nifti1Image(hu, ct.affine), tmp_path / "ct.nii.gz")
        maps.append(organ_map(read_volume(str(tmp_path / "ct.nii.gz")), segment))
    assert np.array_equal(*maps)
