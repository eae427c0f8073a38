"""One bad case is one `failed` row with a reason that a person can act on; the others go on."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.errors import EXIT_SOME_FAILED
from jobs.generate import generate
from jobs.inspect import inspect
from judge import dataset, manifest
from made_cases import LIVER, MadeCases, dicom_series, edit_header, revalue, sheared, spoil
from runs import write_config

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here")]

CT, ORGANS = "ct.nii.gz", "organs.nii.gz"
ELSEWHERE = np.array([[-2, 0, 0, 900], [0, 2, 0, 0], [0, 0, 3, 500], [0, 0, 0, 1.0]])
IN_METRES = np.diag([2e-5, 2e-5, 3e-5, 1])
HUGE = [3, 30_000, 30_000, 30_000, 1, 1, 1, 1]
GOOD = ("good-1", "good-2")


@dataclass(frozen=True)
class Bad:
    """A way to be unusable: how it is made, the stage that finds out, and what its reason must say."""

    stage: str
    says: tuple[str, ...]
    make: Callable[[MadeCases, str], object]


def ct(change: Callable[[Path], object]) -> Callable[[MadeCases, str], object]:
    """A good case whose CT is spoilt afterwards."""
    return lambda made, case_id: change(made.good(case_id) / CT)


def organ_map(change: Callable[[Path], object]) -> Callable[[MadeCases, str], object]:
    return lambda made, case_id: change(made.good(case_id) / ORGANS)


def wanted(**lesion: Any) -> Callable[[MadeCases, str], object]:
    """A good case with a lesion that cannot be."""
    return lambda made, case_id: made.good(case_id, lesions=[{"organ": "liver"} | lesion])


def with_hole(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """All of the liver set to one value."""

    def holed(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float32)
        values[6:40, 10:60, 12:45] = value
        return values

    return holed


def like_mr(hu: np.ndarray) -> np.ndarray:
    return np.where(hu > -500, 300 + hu, 0).astype(np.int16)


def from_0_to_1(hu: np.ndarray) -> np.ndarray:
    return ((hu + 1000) / 1100).clip(0, 1).astype(np.float32)


def dicom(*heights_mm: float) -> Callable[[MadeCases, str], object]:
    return lambda made, case_id: dicom_series(made.add(case_id, ct=f"{case_id}/series") / "series", heights_mm)


def reference_report(text: str) -> Callable[[MadeCases, str], object]:
    def make(made: MadeCases, case_id: str) -> None:
        folder = made.good(case_id, lesions=[{"type_json": f"{case_id}/type.json"}])
        (folder / "type.json").write_text(text)

    return make


BAD = {
    "truncated": Bad("organs", (CT, "truncated", "gzip"), ct(lambda f: spoil(f, lambda b: b[: len(b) // 2]))),
    "corrupt": Bad(
        "organs", (CT, "corrupt", "gzip"), ct(lambda f: spoil(f, lambda b: b[:50_000] + bytes(64) + b[50_064:]))
    ),
    "cut-before-gzip": Bad(
        "organs",
        (CT, "too short", "442368 bytes", "holds 441368"),
        ct(lambda f: spoil(f, lambda b: gzip.compress(gzip.decompress(b)[:-1000], 1))),
    ),
    "not-nifti": Bad("organs", (CT, "not a NIfTI"), ct(lambda f: f.write_text("<html>404</html>" * 50))),
    "empty": Bad("organs", (CT, "empty"), ct(lambda f: f.write_bytes(b""))),
    "missing": Bad("organs", (CT, "no such file"), ct(lambda f: f.unlink())),
    "unknown-format": Bad(
        "organs",
        ("scan.txt", "no format that is read", ".nii.gz", "DICOM"),
        lambda made, case_id: (made.add(case_id, ct=f"{case_id}/scan.txt") / "scan.txt").write_text("a scan"),
    ),
    "two-d": Bad("organs", ("2-D", "72x64", "at least two slices"), ct(lambda f: revalue(f, lambda v: v[:, :, 24]))),
    "one-slice": Bad("organs", ("2-D", "72x64x1"), ct(lambda f: revalue(f, lambda v: v[:, :, 24:25]))),
    "three-frames": Bad(
        "organs",
        ("4-D", "3 frames", "each frame as a volume"),
        ct(lambda f: revalue(f, lambda v: np.stack([v] * 3, axis=-1))),
    ),
    "nan": Bad("place", (CT, "NaN or infinite", "region used"), ct(lambda f: revalue(f, with_hole(np.nan)))),
    "infinite": Bad("place", (CT, "NaN or infinite", "region used"), ct(lambda f: revalue(f, with_hole(np.inf)))),
    "nothing-but-nan": Bad(
        "organs", (CT, "not in Hounsfield", "not finite"), ct(lambda f: revalue(f, lambda v: v * np.float32(np.nan)))
    ),
    "singular": Bad("organs", (CT, "affine is singular"), ct(lambda f: edit_header(f, srow_x=[0, 0, 0, 0]))),
    "affine-nan": Bad("organs", (CT, "affine", "finite"), ct(lambda f: edit_header(f, srow_x=[np.nan, 0, 0, 0]))),
    "voxels-in-metres": Bad(
        "organs",
        (CT, "2e-05", "0.001 to 1000 mm"),
        ct(lambda f: revalue(f, abs, affine=IN_METRES)),
    ),
    "forms-disagree": Bad(
        "organs", (CT, "sform and qform", "50.00 mm", "input.forms"), ct(lambda f: edit_header(f, qoffset_x=50))
    ),
    "voxel-type": Bad(
        "organs", (CT, "complex64", "unsupported"), ct(lambda f: revalue(f, lambda v: v.astype(np.complex64)))
    ),
    "voxel-code": Bad("organs", (CT, "unknown code -2812"), ct(lambda f: edit_header(f, datatype=-2812))),
    "too-large": Bad(
        "organs",
        (CT, "too large", "input.max_volume_gb"),
        ct(lambda f: edit_header(f, dim=HUGE)),
    ),
    "mr": Bad("organs", (CT, "not in Hounsfield", "air -1000"), ct(lambda f: revalue(f, like_mr))),
    "from-0-to-1": Bad("organs", (CT, "not in Hounsfield", "from 0 to 0.9"), ct(lambda f: revalue(f, from_0_to_1))),
    "map-of-another-shape": Bad(
        "organs",
        (f"organ map {ORGANS}", "place in the world", "67x64x48", "72x64x48"),
        organ_map(lambda f: revalue(f, lambda v: v[5:], affine=np.eye(4))),
    ),
    "map-elsewhere": Bad(
        "organs",
        (f"organ map {ORGANS}", "another space", "829", "share 0%"),
        organ_map(lambda f: revalue(f, lambda v: v, affine=ELSEWHERE)),
    ),
    "map-all-zero": Bad(
        "organs", (f"organ map {ORGANS}", "holds no organ"), organ_map(lambda f: revalue(f, np.zeros_like))
    ),
    "map-of-fractions": Bad(
        "organs",
        (f"organ map {ORGANS}", "not whole numbers", "such as 1.5", "class ids"),
        organ_map(lambda f: revalue(f, lambda v: np.where(v == LIVER, 1.5, v).astype(np.float32))),
    ),
    "map-of-other-ids": Bad(
        "organs",
        (f"organ map {ORGANS}", "no known organ", "organs.labels"),
        organ_map(lambda f: revalue(f, lambda v: np.where(v > 0, 200, 0).astype(np.uint8))),
    ),
    "map-out-of-range": Bad(
        "organs",
        (f"organ map {ORGANS}", "0 to 500", "0 to 255"),
        organ_map(lambda f: revalue(f, lambda v: np.where(v == LIVER, np.int16(500), v))),
    ),
    "map-missing": Bad("organs", (f"organ map {ORGANS}", "no such file"), organ_map(lambda f: f.unlink())),
    "map-truncated": Bad(
        "organs",
        (f"organ map {ORGANS}", "truncated"),
        organ_map(lambda f: spoil(f, lambda b: b[: len(b) // 2])),
    ),
    "no-map": Bad(
        "organs", ("no organ map is given", "cases.organs"), lambda made, case_id: made.good(case_id, organs="")
    ),
    "organ-absent": Bad("report", ("pancreas", "absent", "in view", "spleen"), wanted(organ="pancreas")),
    "organ-too-small": Bad(
        "place", ("kidney_left measures", "the box 90x90x90 mm"), wanted(organ="left kidney", size_mm=90)
    ),
    "box-too-large": Bad(
        "place", ("box of 400x400x400 mm", "exceeds the volume of 144x128x144 mm"), wanted(size_mm=400)
    ),
    "centre-outside": Bad("place", ("centre_mm (900, 0, 0)", "outside the volume"), wanted(centre_mm=[900, 0, 0])),
    "uneven-gaps": Bad(
        "organs", ("gaps are uneven", "2.00 to 4.00 mm", "0003.dcm", "missing"), dicom(0, 2, 4, 6, 10, 12, 14)
    ),
    "slice-twice": Bad("organs", ("same place twice", "0003.dcm", "0004.dcm"), dicom(0, 2, 4, 6, 6, 8, 10)),
    "unknown-value": Bad(
        "report", ("density", "'hypodens lesion'", "did you mean 'hypodense lesion'"), wanted(density="hypodens lesion")
    ),
    "unlike-any-value": Bad("report", ("shape", "'purple'", "round-like", "cystic"), wanted(shape="purple")),
    "unknown-attribute": Bad("report", ("'densty'", "did you mean 'density'"), wanted(densty="hypodense lesion")),
    "unusable-size": Bad("report", ("size_mm", "'-3'", "above 0"), wanted(size_mm=-3)),
    "unusable-number": Bad("report", ("contrast_hu", "out of range"), wanted(contrast_hu=10**400)),
    "unknown-organ": Bad("report", ("'livr'", "did you mean 'liver'"), wanted(organ="livr")),
    "unlike-any-organ": Bad("report", ("'flux capacitor'", "TotalSegmentator"), wanted(organ="flux capacitor")),
    "no-such-report": Bad(
        "report", ("nowhere.json", "no such file"), lambda made, case_id: made.good(case_id, type_json="nowhere.json")
    ),
    "report-not-json": Bad("report", ("type.json", "not valid JSON", "line 1 column 3"), reference_report("[1")),
    "report-of-another-form": Bad(
        "report", ("type.json", "'5'", "[shape, text, attributes, boxes]"), reference_report('{"5": 3}')
    ),
}


@dataclass(frozen=True)
class Run:
    """One run over all of them."""

    exit_code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        return manifest(self.folder)

    def row_of(self, name: str) -> dict[str, Any]:
        """The one row of a bad case."""
        (row,) = (row for row in self.rows if row["case_id"] == f"bad-{name}")
        return row


@pytest.fixture(scope="module")
def run(ray_here: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = MadeCases(tmp_path_factory.mktemp("cases"))
    for seed, case_id in enumerate(GOOD):
        made.good(case_id, seed=seed)
    for name, bad in BAD.items():
        bad.make(made, f"bad-{name}")
    folder = tmp_path_factory.mktemp("run") / "out"
    config = write_config(
        folder.with_suffix(".yaml"),
        output=str(folder),
        cases={"source": str(made.list_file)},
        lesions={"mix": [{"organ": "liver"}]},
        write={"preview": 1},
        execution={"block_size": 6},
    )
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        exit_code = generate(str(config))
    return Run(exit_code, out.getvalue(), err.getvalue(), folder)


def test_bad_cases_leave_the_good_ones_alone(run: Run) -> None:
    assert run.exit_code == EXIT_SOME_FAILED
    assert sorted(row["case_id"] for row in run.rows) == sorted([*GOOD, *(f"bad-{name}" for name in BAD)])
    assert {row["case_id"] for row in run.rows if row["status"] == "done"} == set(GOOD)
    assert len(list(dataset(run.folder).glob("shard-*/*.nii.gz"))) == 2 * len(GOOD)
    assert not (run.folder / ".inflight").exists()
    assert "Traceback" not in run.stdout + run.stderr
    assert "Warning" not in run.stdout + run.stderr


@pytest.mark.parametrize("name", BAD)
def test_a_bad_case_says_what_is_wrong(run: Run, name: str) -> None:
    row = run.row_of(name)
    assert (row["status"], row["stage"]) == ("failed", BAD[name].stage)
    for words in BAD[name].says:
        assert words in row["reason"]


@pytest.mark.parametrize("name", BAD)
def test_a_reason_reads_well(run: Run, name: str) -> None:
    row = run.row_of(name)
    reason = row["reason"]
    assert 10 < len(reason) < 240
    assert reason == " ".join(reason.split())
    assert row["case_id"] not in reason
    assert not re.search(r"/|np\.|array\(|dtype|Error\b|Errno|object at|<class|None", reason.replace("JSON", ""))
    for words in ("organ map", ".nii.gz:", "report type"):
        assert reason.count(words) <= 1
    assert not row["image_uri"]
    assert not row["label_uri"]
    assert row["lesions"] == []


def test_the_summary_gives_each_reason_a_line_of_its_own(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"2 done, 0 rejected, {len(BAD)} failed" in run.stdout
    assert "other reasons: lesionforge inspect" in run.stdout
    assert inspect(str(run.folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    for row in run.rows:
        if row["status"] == "failed":
            assert sum(row["reason"] in line and f" failed at {row['stage']}: " in line for line in lines) == 1


def test_a_sheared_grid_is_refused_where_the_settings_say_so(ray_here: None, tmp_path: Path) -> None:
    made = MadeCases(tmp_path)
    made.good("tilted", affine=sheared(15))
    config = write_config(
        tmp_path / "run.yaml",
        output=str(tmp_path / "out"),
        cases={"source": str(made.list_file)},
        lesions={"mix": [{"organ": "liver"}]},
        input={"sheared": "reject"},
    )
    assert generate(str(config)) == EXIT_SOME_FAILED
    (row,) = manifest(tmp_path / "out")
    assert (row["status"], row["stage"]) == ("failed", "organs")
    assert row["reason"] == (
        "ct.nii.gz: its grid is sheared by 15.0 degrees (gantry tilt); input.sheared: resample accepts it"
    )
