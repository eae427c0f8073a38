"""What nnU-Net reads: it accepts the dataset as it lies, and no case is on both sides of a fold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, ornt_transform

from engine.core.schema import MANIFEST_SCHEMA
from engine.io.ledger import Ledger
from engine.io.nnunet import fold_of_samples, labels, write_dataset_json, write_splits
from engine.io.shards import image_name, label_name
from engine.io.storage import OutputFolder, open_output
from engine.settings import Write

FOLDER = "nnUNet_raw/Dataset501_LesionForge"
CASES = ("a", "a", "a", "b", "b", "c", "d", "e", "f", "g")


def _manifest(cases: Sequence[str], failed: Sequence[int] = ()) -> pa.Table:
    rows = []
    for ordinal, case in enumerate(cases):
        sample = f"{case}-v{cases[:ordinal].count(case):03d}"
        done = ordinal not in failed
        row = {f.name: "" for f in MANIFEST_SCHEMA if f.type == pa.string()} | {
            "sample_id": sample,
            "case_id": case,
            "ordinal": ordinal,
            "status": "done" if done else "failed",
            "image_uri": image_name(ordinal, 4, sample) if done else "",
            "label_uri": label_name(ordinal, 4, sample) if done else "",
        }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)


def _output(folder: Path, manifest: pa.Table) -> tuple[OutputFolder, Ledger]:
    out = open_output(str(folder)).fence("000001-aa")
    ledger = Ledger(out)
    ledger.append(manifest)
    return out, ledger


def _json(out: OutputFolder, name: str) -> Any:
    return json.loads(out.get(f"{FOLDER}/{name}"))


def test_dataset_json(tmp_path: Path) -> None:
    out, ledger = _output(tmp_path, _manifest(CASES, failed=(1, 9)))
    write_dataset_json(out, Write(), ledger)
    dataset = _json(out, "dataset.json")
    assert dataset["numTraining"] == len(dataset["dataset"]) == 8
    assert dataset["dataset"]["c-v000"] == {
        "images": ["shard-00001/c-v000_0000.nii.gz"],
        "label": "shard-00001/c-v000.nii.gz",
    }
    assert list(dataset["dataset"])[:2] == ["a-v000", "a-v002"]
    assert dataset["channel_names"] == {"0": "CT"}
    assert dataset["labels"] == {"background": 0, "organ": 1, "lesion": 2}
    assert "regions_class_order" not in dataset


def test_splits_keep_cases_together(tmp_path: Path) -> None:
    out, ledger = _output(tmp_path, _manifest(CASES, failed=(1,)))
    assert write_splits(out, Write(folds=3), ledger) == ""
    splits = _json(out, "splits_final.json")
    assert len(splits) == 3
    done = {r["sample_id"] for r in ledger.rows(["sample_id", "status"]) if r["status"] == "done"}
    for split in splits:
        train, val = set(split["train"]), set(split["val"])
        assert train | val == done
        assert {s.split("-")[0] for s in train}.isdisjoint(s.split("-")[0] for s in val)
        assert train
    assert sorted(s for split in splits for s in split["val"]) == sorted(done)


def test_splits_of_few_cases(tmp_path: Path) -> None:
    out, ledger = _output(tmp_path / "two", _manifest("aab"))
    assert "2 cases make 2 folds" in write_splits(out, Write(), ledger)
    assert len(_json(out, "splits_final.json")) == 2
    out, ledger = _output(tmp_path / "one", _manifest("aa"))
    assert "nnU-Net needs two" in write_splits(out, Write(), ledger)
    both = ["a-v000", "a-v001"]
    assert _json(out, "splits_final.json") == [{"train": both, "val": both}]
    out, ledger = _output(tmp_path / "none", _manifest("a", failed=(0,)))
    assert "nothing to train on" in write_splits(out, Write(), ledger)
    write_dataset_json(out, Write(), ledger)
    assert _json(out, "splits_final.json") == []
    assert _json(out, "dataset.json")["numTraining"] == 0


def test_patches_get_no_dataset(tmp_path: Path) -> None:
    out, ledger = _output(tmp_path, _manifest(CASES))
    write_dataset_json(out, Write(form="patch"), ledger)
    write_splits(out, Write(form="patch"), ledger)
    assert [n for n in out.names() if n.startswith("nnUNet_raw")] == []


@given(
    sizes=st.dictionaries(st.text("abcxyz_.-", min_size=1, max_size=6), st.integers(1, 9), min_size=1, max_size=30),
    folds=st.integers(2, 6),
    rng=st.randoms(use_true_random=False),
)
def test_folds_depend_on_the_set_alone(sizes: Mapping[str, int], folds: int, rng: Any) -> None:
    samples = [case for case, size in sizes.items() for _ in range(size)]
    fold_of = dict(zip(samples, fold_of_samples(pa.chunked_array([samples]), folds).tolist(), strict=True))
    shuffled = rng.sample(samples, len(samples))
    for case, fold in zip(shuffled, fold_of_samples(pa.chunked_array([shuffled]), folds).tolist(), strict=True):
        assert fold_of[case] == fold
    filled = Counter(fold_of[case] for case in samples)
    assert sorted(filled) == list(range(min(folds, len(sizes))))
    # Largest first, each to the emptiest: no fold is ahead of another by more than the largest case.
    assert max(filled.values()) - min(filled.values()) <= max(sizes.values())


_VERIFY = """
import sys
import numpy as np
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from batchgenerators.utilities.file_and_folder_operations import load_json

def main():
    folder = sys.argv[1]
    verify_dataset_integrity(folder, 1)
    dataset = load_json(folder + "/dataset.json")
    reader = determine_reader_writer_from_dataset_json(dataset)()
    for entry in dataset["dataset"].values():
        label, properties = reader.read_seg(folder + "/" + entry["label"])
        print("lesion at", *np.argwhere(label[0] == 2)[0], "spacing", *np.round(properties["spacing"], 3))
    manager = LabelManager(dataset["labels"], dataset.get("regions_class_order"))
    print("heads", manager.num_segmentation_heads, "foreground", manager.foreground_regions if manager.has_regions
          else manager.foreground_labels)
    logits = np.full((manager.num_segmentation_heads, 1, 1, 1), -9.0)
    logits[-1] = 9
    print("export", *np.ravel(manager.convert_logits_to_segmentation(logits)))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("label_organ", [True, pytest.param(False, marks=pytest.mark.long)])
def test_nnunet_accepts_it_as_it_lies(tmp_path: Path, label_organ: bool) -> None:
    """Orientations and spacings that differ from case to case, one oblique, through nnU-Net's own check and reader."""
    write = Write(label_organ=label_organ, shard_size=4)
    out, ledger = _output(tmp_path / "run", _manifest("abcd"))
    write_dataset_json(out, write, ledger)
    _write_cases(Path(out.uri) / FOLDER, ("RAS", "LPS", "PIR", "SAL"), label_organ=label_organ)
    script = tmp_path / "verify.py"
    script.write_text(_VERIFY)
    settings = {name: str(tmp_path) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    done = subprocess.run(
        [sys.executable, str(script), str(Path(out.uri) / FOLDER)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    # The same anatomy in every orientation: seen in the same place (axes S, A, R), each with its own spacing.
    assert [line for line in lines if line.startswith("lesion at")] == [
        f"lesion at 7 5 2 spacing {2.5 + i} 1.5 1.0" for i in range(4)
    ]
    assert f"heads {3 if label_organ else 1} " in done.stdout
    assert lines[-1] == "export 2"
    assert "Warning" not in done.stdout


def _write_cases(folder: Path, orientations: Sequence[str], *, label_organ: bool) -> None:
    """A lesion at right 2, anterior 5, superior 7 of each case, stored in its orientation; the last case oblique."""
    for ordinal, axes in enumerate(orientations):
        label = np.zeros((8, 9, 10), np.uint8)
        label[1:4, 4:7, 6:9] = int(label_organ)
        label[2, 5, 7] = 2
        affine = np.diag([1.0, 1.5, 2.5 + ordinal, 1.0])
        if ordinal == len(orientations) - 1:
            turn = np.deg2rad(16)
            rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
            affine[:3, :3] = rotation @ affine[:3, :3]
        stored = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
        sample = f"{'abcd'[ordinal]}-v000"
        for name, values in (
            (image_name(ordinal, 4, sample), label.astype(np.int16) * 50),
            (label_name(ordinal, 4, sample), label),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values, affine).as_reoriented(stored), folder / name)


def test_labels_are_consecutive() -> None:
    assert labels(Write(label_organ=True)) == {"background": 0, "organ": 1, "lesion": 2}
    assert labels(Write(label_organ=False)) == {"background": 0, "lesion": [1, 2]}
