"""The same seed gives the same dataset, whatever it is made with."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from engine.core.errors import EXIT_DONE, EXIT_SOME_FAILED
from jobs.generate import generate as run_generate
from jobs.materialise import materialise
from made_cases import MadeCases, oblique
from runs import differences, write_config

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here")]

MIX = [{"organ": "liver", "weight": 2}, {"organ": "spleen"}, {"organ": "kidney_left"}]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> MadeCases:
    made = MadeCases(tmp_path_factory.mktemp("cases"))
    for i in range(4):
        made.good(f"case-{i}", seed=i)
    made.good("case-tilted", seed=9, affine=oblique(16))
    made.good("case-absent", seed=3, lesions=[{"organ": "pancreas"}])
    return made


def generate(folder: Path, name: str, cases: Path, *overrides: str) -> Path:
    """A run of its own in `folder`, checked to end as it should: one case asks for an organ that is not there."""
    config = write_config(
        folder / f"{name}.yaml",
        output=str(folder / name),
        seed=5,
        cases={"source": str(cases), "variants_per_case": 2},
        lesions={"per_sample": [1, 3], "mix": MIX},
        write={"preview": 3},
    )
    assert run_generate(str(config), overrides) == EXIT_SOME_FAILED
    return folder / name


@pytest.fixture(scope="module")
def reference(ray_here: None, tmp_path_factory: pytest.TempPathFactory, cases: MadeCases) -> Path:
    return generate(tmp_path_factory.mktemp("runs"), "reference", cases.list_file, "execution.workers=1")


@pytest.mark.parametrize(
    "overrides",
    [
        ("execution.workers=2", "execution.block_size=1"),
        ("execution.workers=3", "execution.block_size=4", "execution.commit_rows=1", "execution.wave_samples=5"),
        (
            "execution.block_size=3",
            "execution.mask_pool={min: 1, max: 1, num_cpus: 0.3, batch: 2}",
            "execution.paint_pool={min: 1, max: 1, num_cpus: 0.2, batch: 3}",
        ),
    ],
    ids=["two-workers", "three-workers-small-waves", "actor-pools"],
)
def test_layout_never_shows(tmp_path: Path, cases: MadeCases, reference: Path, overrides: tuple[str, ...]) -> None:
    assert differences(reference, generate(tmp_path, "other", cases.list_file, *overrides)) == []


def test_order_of_the_list_never_shows(tmp_path: Path, cases: MadeCases, reference: Path) -> None:
    rows = list(cases.rows)
    random.Random(1).shuffle(rows)
    shuffled = cases.folder / "shuffled.jsonl"
    shuffled.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert differences(reference, generate(tmp_path, "shuffled", shuffled)) == []


def test_patches_materialise_into_the_run_of_volumes(tmp_path: Path, cases: MadeCases, reference: Path) -> None:
    patches = generate(tmp_path, "patches", cases.list_file, "write.form=patch")
    size = sum(f.stat().st_size for f in (patches / "nnUNet_raw").rglob("*.parquet"))
    assert size < sum(f.stat().st_size for f in (reference / "nnUNet_raw").rglob("*.nii.gz")) / 2
    assert materialise(str(patches), str(tmp_path / "volumes"), cases_base=str(cases.folder)) == EXIT_DONE
    assert differences(reference, tmp_path / "volumes") == []
