"""TotalSegmentator's weights: found, looked at and told apart before a run starts; nothing in them is executed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from actors.organ_models import ALL_PARTS, find_models, lacking, part_of, parts_with
from engine.core.errors import UsageError
from engine.settings import Settings, parse_settings
from jobs.organ_models import organ_models, parts_of

pytest_plugins = ["random_organs"]

FAST = "Dataset297_TotalSegmentator_total_3mm_1559subj"


@pytest.fixture
def copy(organ_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A weights folder to be spoilt."""
    shutil.copytree(organ_weights / FAST, tmp_path / FAST)
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path))
    return tmp_path


def settings(**changes: object) -> Settings:
    return parse_settings(
        {"output": "x", "cases": {"source": "y"}, "organs": {"backend": "totalsegmentator"}, **changes}
    )


def file_of(folder: Path, name: str) -> Path:
    return next(folder.rglob(name))


def test_no_network_is_asked_for_without_the_backend() -> None:
    assert organ_models(parse_settings({"output": "x", "cases": {"source": "y"}})) is None


def test_the_name_tells_weights_and_modes_apart(copy: Path) -> None:
    before = find_models(fast=True)
    assert before.name.startswith("totalsegmentator-2.18")
    assert "-fast-" in before.name
    assert before == find_models(fast=True)
    checkpoint = torch.load(file_of(copy, "checkpoint_final.pth"), weights_only=False)  # our own
    next(iter(checkpoint["network_weights"].values())).mul_(1.01)
    torch.save(checkpoint, file_of(copy, "checkpoint_final.pth"))
    assert find_models(fast=True).name != before.name


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path))
    with pytest.raises(UsageError) as fast:
        organ_models(settings())
    told = str(fast.value)
    assert FAST in told
    assert f"should lie in {tmp_path}" in told
    assert "TOTALSEG_WEIGHTS_PATH" in told
    assert "totalseg_download_weights -t total_fast" in told
    with pytest.raises(UsageError) as full:
        organ_models(settings(organs={"backend": "totalsegmentator", "fast": False, "parts": ["organs", "ribs"]}))
    assert "Dataset291" in str(full.value)
    assert "Dataset295" in str(full.value)
    assert "Dataset292" not in str(full.value)
    assert not list(tmp_path.iterdir()), "something was downloaded or made there"


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "checkpoint_final.pth"])
def test_a_part_of_the_weights_is_missing_or_damaged(copy: Path, name: str) -> None:
    path = file_of(copy, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=rf"^organs: .*{name}.* damaged"):
        organ_models(settings())
    path.unlink()
    with pytest.raises(UsageError, match=rf"not whole: .*{name} is missing"):
        organ_models(settings())


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def test_nothing_in_a_checkpoint_is_executed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    path = file_of(copy, "checkpoint_final.pth")
    checkpoint = torch.load(path, weights_only=False)  # our own
    torch.save(checkpoint | {"logging": Hostile()}, path)
    with pytest.raises(UsageError, match=r"^organs: .* is refused: its pickle asks for more .*posix.system"):
        organ_models(settings())
    assert not (copy / "executed").exists()


def test_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "actors.organ_models", None)
    with pytest.raises(UsageError, match=r"pip install 'lesionforge\[organs\]' brings it"):
        organ_models(settings())


def test_parts_hold_the_organs_asked_for() -> None:
    assert [part_of(task_id) for task_id in range(291, 296)] == list(ALL_PARTS)
    assert parts_with(["liver"]) == ("organs",)
    assert parts_with(["vertebrae_T12"]) == ("organs", "vertebrae")
    assert parts_with(["aorta", "rib_left_3"]) == ("organs", "cardiac", "ribs")
    assert lacking() == [
        "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right", "heart_ventricle_right",
        "pulmonary_artery", "face",
    ]  # fmt: skip


def test_auto_is_no_more_than_a_run_needs(tmp_path: Path) -> None:
    def parts(lesions: str = "", mask: object = None, **organs: object) -> tuple[str, ...]:
        (tmp_path / "cases.jsonl").write_text(f'{{"case_id": "a", "ct": "a.nii.gz"{lesions}}}\n')
        return parts_of(
            settings(
                cases={"source": str(tmp_path / "cases.jsonl")},
                organs={"backend": "totalsegmentator", "fast": False, **organs},
                lesions={"mix": [{"organ": "liver"}]},
                mask=mask or {},
            )
        )

    assert parts() == ("organs",)
    assert parts(parts=["ribs", "organs"]) == ("organs", "ribs")
    assert parts(parts="all") == ALL_PARTS
    assert parts(lesions=', "lesions": [{"organ": "aorta"}]') == ALL_PARTS
    assert parts(mask={"backend": "lmnet", "checkpoint": "x"}) == ALL_PARTS
