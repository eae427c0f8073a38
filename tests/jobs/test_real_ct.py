"""Real CT, judged by code that shares nothing with the engine, and taken by nnU-Net as it lies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from engine.core.errors import EXIT_DONE
from jobs.generate import generate
from judge import dataset, free_text, judge_sample, manifest
from made_cases import oblique, save, sheared
from runs import write_config

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here")]

ABDOMEN = ("liver", "spleen", "kidney_left", "kidney_right", "pancreas", "colon", "urinary_bladder")
MARGIN_MM = 3.0
V2_AORTA, V2_HEART, V2_T12 = 52, 51, 32


@pytest.fixture(scope="module")
def run(ray_here: None, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 samples of `ts_abdomen`, some of every other kind of source, in one dataset."""
    folder = tmp_path_factory.mktemp("real")
    abdomen = shared_data / "ts_abdomen"
    spleen = "sub-spleen2/ct/sub-spleen2_ct"
    rows = [
        {"case_id": "abdomen", "ct": f"{abdomen}/ct.nii.gz", "organs": f"{abdomen}/labels.nii.gz", "variants": 30},
        {
            "case_id": "spleen",
            "ct": f"{shared_data}/spleen_bids/{spleen}.nii.gz",
            "organs": f"{shared_data}/spleen_bids/derivatives/labels/{spleen}_seg-manual.nii.gz",
            "lesions": [{"organ": "spleen"}],
        },
        {
            "case_id": "heart",
            "ct": f"{shared_data}/ts_heart_cta/ct.nii.gz",
            "organs": str(heart_map(shared_data / "ts_heart_cta", folder)),
            "lesions": [{"organ": "heart", "size_mm": 14}, {"organ": "vertebrae_T12", "size_mm": 9}],
        },
        retold(abdomen, folder, "oblique", oblique(16, (3.0, 3.0, 3.0))),
        retold(abdomen, folder, "sheared", sheared(12, (3.0, 3.0, 3.0))),
    ]
    cases = folder / "cases.jsonl"
    cases.write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    config = write_config(
        folder / "run.yaml",
        output=str(folder / "run"),
        seed=11,
        cases={"source": str(cases), "variants_per_case": 2},
        organs={"labels": "total_v2"},
        lesions={"per_sample": [1, 3], "mix": [{"organ": o} for o in ABDOMEN]},
        blend={"margin_mm": MARGIN_MM},
        write={"preview": 3},
    )
    assert generate(str(config)) == EXIT_DONE
    return folder / "run"


def heart_map(case: Path, folder: Path) -> Path:
    """Heart (stored on a larger grid), aorta and T12 as one v2 map on the heart's grid."""
    heart = nib.load(case / "heart_fullgrid.nii.gz")
    ids = np.asarray(heart.dataobj).astype(np.uint8) * V2_HEART
    for name, number in (("aorta", V2_AORTA), ("vertebrae_T12", V2_T12)):
        part = nib.load(case / f"{name}.nii.gz")
        offset = np.rint((np.linalg.inv(heart.affine) @ part.affine)[:3, 3]).astype(int)
        window = tuple(slice(o, o + n) for o, n in zip(offset, part.shape, strict=True))
        ids[window][np.asarray(part.dataobj) > 0] = number
    path = folder / "heart_map.nii.gz"
    nib.save(nib.Nifti1Image(ids, heart.affine), path)
    return path


def retold(case: Path, folder: Path, name: str, affine: np.ndarray) -> dict:
    """The abdomen's voxels in another geometry, as int16."""
    target = folder / name
    target.mkdir()
    ct, labels = nib.load(case / "ct.nii.gz"), nib.load(case / "labels.nii.gz")
    qform = 0 if name == "sheared" else 1
    save(target / "ct.nii.gz", np.asarray(ct.dataobj).astype(np.int16), affine, qform=qform)
    save(target / "organs.nii.gz", np.asarray(labels.dataobj).astype(np.uint8), affine, qform=qform)
    return {"case_id": name, "ct": f"{name}/ct.nii.gz", "organs": f"{name}/organs.nii.gz"}


def test_every_sample_is_exact(run: Path) -> None:
    rows = [r for r in manifest(run) if not r["resampled"]]
    assert len(rows) == 36
    assert {r["status"] for r in rows} == {"done"}
    verdicts = [judge_sample(r, run, run.parent, MARGIN_MM) for r in rows]
    assert [v for v in verdicts if not v.exact] == []
    organs = {lesion["organ"] for r in rows for lesion in r["lesions"]}
    assert organs >= set(ABDOMEN)


def test_a_sheared_source_is_straightened_and_says_so(run: Path) -> None:
    rows = [r for r in manifest(run) if r["resampled"]]
    assert [r["case_id"] for r in rows] == ["sheared", "sheared"]
    for row in rows:
        source, image = nib.load(run.parent / row["source_uri"]), nib.load(dataset(run) / row["image_uri"])
        label = np.asarray(nib.load(dataset(run) / row["label_uri"]).dataobj)
        axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
        # Judged by scipy alone: linear interpolation of the source at the output's voxels, away from lesion and border.
        index = np.indices(image.shape).reshape(3, -1)
        at = np.linalg.inv(source.affine) @ image.affine @ np.vstack([index, np.ones(index.shape[1])])
        wanted = ndimage.map_coordinates(np.asarray(source.dataobj, float), at[:3], order=1, cval=np.nan)
        got = np.asarray(image.dataobj).ravel()
        far = ndimage.distance_transform_edt(label != 2, sampling=image.header.get_zooms()).ravel() > MARGIN_MM + 1e-4
        inside = np.all((at[:3] >= 0) & (at[:3] <= np.array(source.shape)[:, None] - 1), axis=0)
        assert np.abs(got - wanted)[far & inside].max() <= 0.51
        assert (np.abs(got - wanted)[~far & inside] > 1).any()


def test_no_text_of_the_source_is_kept(run: Path) -> None:
    for row in manifest(run):
        for kind in ("image", "label"):
            assert free_text(nib.load(dataset(run) / row[f"{kind}_uri"])) == []


@pytest.mark.long  # tests/engine/io/test_nnunet.py has it for made cases
def test_nnunet_accepts_the_dataset_as_it_lies(run: Path, tmp_path: Path) -> None:
    """Five samples of every kind of geometry: the command is the user's own."""
    small = tmp_path / "nnUNet_raw" / dataset(run).name
    keep_one_sample_a_case(run, small)
    env = os.environ | {f"nnUNet_{k}": str(tmp_path / f"nnUNet_{k}") for k in ("raw", "preprocessed", "results")}
    done = subprocess.run(
        [
            Path(sys.executable).with_name("nnUNetv2_plan_and_preprocess"),
            *("-d", "501", "--verify_dataset_integrity", "-c", "3d_fullres", "-np", "1", "-npfp", "1"),
        ],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "If you didn't see any error messages then your dataset is most likely OK" in done.stdout
    made = list((tmp_path / "nnUNet_preprocessed" / small.name / "nnUNetPlans_3d_fullres").glob("*.b2nd"))
    assert len([m for m in made if "_seg" not in m.name]) == 5


def keep_one_sample_a_case(run: Path, target: Path) -> None:
    target.mkdir(parents=True)
    data = json.loads((dataset(run) / "dataset.json").read_text())
    data["dataset"] = {k: v for k, v in data["dataset"].items() if k.endswith("-v000")}
    data["numTraining"] = len(data["dataset"])
    (target / "dataset.json").write_text(json.dumps(data))
    (target / "shard-00000").symlink_to(dataset(run) / "shard-00000")
