"""The demo's own steps on small phantoms: what a newcomer sees first."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from engine.core.errors import EXIT_DONE, UsageError
from engine.core.report import Report
from jobs.compare import compare
from jobs.generate import generate
from jobs.inspect import inspect
from jobs.phantoms import phantoms
from judge import judge_sample, manifest
from models.checkpoints import load_unet, words_of
from runs import ROOT, write_config

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here")]

SHIPPED = ROOT / "models/phantom"
"""Remade by `python -m benchmarks.phantom_training --ship models/phantom`."""


def test_demo_makes_exact_lesions_and_a_picture(tmp_path: Path) -> None:
    phantoms(str(tmp_path / "phantoms"), 2, 3)
    demo = yaml.safe_load((ROOT / "configs/generate/demo.yaml").read_text())
    demo["cases"] = {"source": str(tmp_path / "phantoms/cases.jsonl"), "variants_per_case": 2}
    demo["output"] = str(tmp_path / "run")
    assert generate(str(write_config(tmp_path / "demo.yaml", **demo))) == EXIT_DONE
    rows = manifest(tmp_path / "run")
    assert [r["status"] for r in rows] == ["done"] * 4
    verdicts = [judge_sample(r, tmp_path / "run", tmp_path / "phantoms", 3.0) for r in rows]
    assert [v for v in verdicts if not v.exact] == []
    with Image.open(tmp_path / "run/preview/contact_sheet.png") as sheet:
        assert sheet.height > 4 * 200
    assert inspect(str(tmp_path / "run"), verify=True) == EXIT_DONE

    run, picture = str(tmp_path / "run"), tmp_path / "both.png"
    assert compare([run, run], str(picture), cases_base=str(tmp_path / "phantoms"), samples=3) == EXIT_DONE
    with Image.open(picture) as both:
        assert both.width == 2 * sheet.width
        assert both.height > 3 * 200
        left, right = (both.crop((x, 0, x + sheet.width, both.height)) for x in (0, sheet.width))
        assert left.tobytes() == right.tobytes()
    with pytest.raises(UsageError, match="no done sample whose source can be read; --cases says where sources are"):
        compare([run], str(picture), cases_base=str(tmp_path / "elsewhere"))


def test_a_comparison_that_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"both.jpg: the picture should end in .png"):
        compare([str(tmp_path)], str(tmp_path / "both.jpg"))
    with pytest.raises(UsageError, match="holds no run"):
        compare([str(tmp_path)], str(tmp_path / "both.png"))


def test_verify_finds_what_was_changed_after_the_run(tmp_path: Path) -> None:
    phantoms(str(tmp_path / "phantoms"), 1, 4)
    config = write_config(
        tmp_path / "run.yaml",
        output=str(tmp_path / "run"),
        cases={"source": str(tmp_path / "phantoms/cases.jsonl"), "variants_per_case": 2},
        lesions={"mix": [{"organ": "liver"}]},
    )
    assert generate(str(config)) == EXIT_DONE
    first, second = sorted((tmp_path / "run/nnUNet_raw").rglob("*_0000.nii.gz"))
    first.write_bytes(first.read_bytes()[:-1])
    second.rename(second.with_name("other_0000.nii.gz"))
    assert inspect(str(tmp_path / "run"), verify=True) != EXIT_DONE


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shipped_networks_do_as_they_are_told(tmp_path: Path, dtype: str) -> None:
    """In either of the dtypes that `auto` may take."""
    phantoms(str(tmp_path / "phantoms"), 2, 3)
    weights = {section: SHIPPED / f"{name}.safetensors" for section, name in (("mask", "LMNet"), ("paint", "LINet"))}
    told = [f"{section}.checkpoint={file}" for section, file in weights.items()]
    told += [f"{section}.dtype={dtype}" for section in weights]
    told += [f"output={tmp_path / 'run'}", f"cases.source={tmp_path / 'phantoms/cases.jsonl'}"]
    assert generate(str(ROOT / "configs/generate/phantom-networks.yaml"), told) == EXIT_DONE
    rows = manifest(tmp_path / "run")
    lesions = [lesion for row in rows for lesion in row["lesions"]]
    assert [row["status"] for row in rows] == ["done"] * 4
    assert {(lesion["mask_backend"], lesion["paint_backend"]) for lesion in lesions} == {("lmnet", "linet")}
    verdicts = [judge_sample(row, tmp_path / "run", tmp_path / "phantoms", 3.0) for row in rows]
    assert [verdict for verdict in verdicts if not verdict.exact] == []
    asked = [Report.loads(lesion["report"]).asked_mm3 for lesion in lesions]
    assert [lesion["volume_mm3"] for lesion in lesions] == pytest.approx(asked, rel=0.3)


def test_shipped_networks_are_small_and_say_what_they_are() -> None:
    files = sorted(SHIPPED.glob("*"))
    assert [file.name for file in files] == ["LINet.safetensors", "LMNet.safetensors"]
    assert sum(file.stat().st_size for file in files) <= 12e6
    assert {words_of(file) for file in files} == {"full"}
    assert {load_unet(file).config.predicts for file in files} == {"velocity"}
