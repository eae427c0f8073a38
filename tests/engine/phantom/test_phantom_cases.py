"""A folder of phantom cases, read back by other code and by the engine's own reader."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from engine.core.errors import UsageError
from engine.io.cases import open_cases
from engine.phantom.cases import draw_scan, write_phantoms
from engine.settings import Cases


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


def test_no_case_and_no_place_are_refused(tmp_path):
    with pytest.raises(UsageError, match="at least 1"):
        write_phantoms(str(tmp_path), 0, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_phantoms(str(tmp_path / "file"), 1, 1)
