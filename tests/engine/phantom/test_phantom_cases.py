"""A folder of phantom cases, read back by other code and by the engine's own reader."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from engine.core.anatomy import find_organ
from engine.core.errors import UsageError
from engine.io.cases import open_cases
from engine.phantom.cases import draw_scan, write_phantoms
from engine.phantom.phase import Phase
from engine.settings import Cases

_LEAST_ML = {
    "liver": 1000, "spleen": 100, "kidney_right": 100, "kidney_left": 100, "pancreas": 50, "colon": 300, "stomach": 150,
    "urinary_bladder": 55, "gallbladder": 10, "esophagus": 8, "lung_left": 300, "lung_right": 300,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("phantoms")
    told: list[str] = []
    uri = write_phantoms(str(path), 2, 3, written=told.append)
    assert told == ["phantom-0001", "phantom-0002"]
    assert Path(uri) == path / "cases.jsonl"
    return path


def test_the_folder_holds_the_cases_and_nothing_else(folder):
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    cases = [f"phantom-000{n}/{kind}.nii.gz" for n in (1, 2) for kind in ("ct", "organs")]
    assert names == sorted(["cases.jsonl", *cases])


def test_files_are_nifti_with_both_forms_coded(folder):
    for line in (folder / "cases.jsonl").read_text().splitlines():
        row = json.loads(line)
        ct, organs = (nib.load(folder / row[kind]) for kind in ("ct", "organs"))
        assert ct.get_data_dtype() == np.int16
        assert organs.get_data_dtype() == np.uint8
        assert ct.shape == organs.shape
        for image in (ct, organs):
            assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
            np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-3)
        np.testing.assert_array_equal(ct.affine, organs.affine)
        liver = np.argwhere(np.asarray(organs.dataobj) == 5).mean(axis=0)
        assert nib.affines.apply_affine(ct.affine, liver)[0] > 20


def test_the_engine_reads_the_list(folder):
    batch = next(iter(open_cases(Cases(source=str(folder / "cases.jsonl"))).batches()))
    assert batch.column("case_id").to_pylist() == ["phantom-0001", "phantom-0002"]
    assert batch.column("ct_uri").to_pylist()[0].endswith("phantom-0001/ct.nii.gz")


def test_more_cases_begin_with_the_same_bytes(folder, tmp_path):
    write_phantoms(str(tmp_path), 1, 3)
    for name in ("ct", "organs"):
        path = f"phantom-0001/{name}.nii.gz"
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes()


def test_scans_differ_in_spacing_orientation_and_view():
    scans = [draw_scan(1, n) for n in range(1, 7)]
    assert len({s.orientation for s in scans}) >= 4
    assert len({s.spacing_mm for s in scans}) == len({s.shape for s in scans}) == 6
    for s in scans:
        assert 1.5 <= s.spacing_mm[0] <= 2.1
        assert 2 <= s.spacing_mm[2] <= 4


def test_scans_differ_in_phase_and_pose_and_a_few_are_oblique():
    scans = [draw_scan(1, n) for n in range(1, 9)]
    assert {s.phase for s in scans[:5]} == set(Phase)
    assert len({s.turn_deg for s in scans}) == 8
    assert 0 < sum(any(s.oblique_deg) for s in scans) < 4
    for s in scans:
        assert np.abs([*s.turn_deg, *s.oblique_deg]).max() <= 7


def test_simpleitk_and_nibabel_agree_on_an_oblique_case(folder):
    assert any(draw_scan(3, 2).oblique_deg)
    path = folder / "phantom-0002/ct.nii.gz"
    itk, nifti = SimpleITK.ReadImage(str(path)), nib.load(path)
    far = [n - 1 for n in nifti.shape]
    assert itk.GetSize() == nifti.shape
    for index in ([0, 0, 0], far, [far[0], 0, 0]):
        lps = np.array(itk.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(lps * (-1, -1, 1), nib.affines.apply_affine(nifti.affine, index), atol=1e-2)
    assert not nib.affines.obliquity(nifti.affine).max() < 0.01


def test_every_organ_a_lesion_may_be_asked_into_is_in_view(folder):
    for path in folder.glob("*/organs.nii.gz"):
        image = nib.load(path)
        organs, ml = np.asarray(image.dataobj), abs(np.linalg.det(image.affine[:3, :3])) / 1000
        for organ, least_ml in _LEAST_ML.items():
            assert find_organ(organ).mask(organs).sum() * ml > least_ml, f"{organ} in {path.parent.name}"


def test_no_case_and_no_place_are_refused(tmp_path):
    with pytest.raises(UsageError, match="at least 1"):
        write_phantoms(str(tmp_path), 0, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_phantoms(str(tmp_path / "file"), 1, 1)
