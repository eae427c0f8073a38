"""Runs that make their own organ maps: each once, kept, shared, and not lost with the actor that made it.

The networks are random, and so is the anatomy they find: most samples fail for want of an organ.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import ray

from actors.organ_models import find_models
from actors.segmenter import SegmentActor, Starts
from engine.core.errors import EXIT_USAGE, LayoutError, OrganMapError, ServiceLostError, SettingsError
from engine.io.organ_cache import open_cache
from engine.io.storage import open_output
from engine.pipeline import check_layout
from engine.run import Run
from engine.settings import Input, load_settings, parse_settings
from jobs.generate import generate
from jobs.placement import with_pools
from jobs.segmenters import segmenters
from judge import manifest
from killed_runs import DriverProcess, assert_same, workers_below
from made_cases import MadeCases
from runs import differences, lesionforge, write_config

pytest_plugins = ["random_organs"]
pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("organ_weights")]

MAKES = {"backend": "totalsegmentator"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases without an organ map, two samples each, and one that brings its own."""
    folder = tmp_path_factory.mktemp("organ-runs")
    cases = MadeCases(folder / "cases")
    for i in range(2):
        cases.good(f"bare-{i}", seed=i, organs="")
    cases.good("own", seed=2, lesions=[{"organ": "liver"}])
    return write_config(
        folder / "run.yaml",
        output=str(folder / "nowhere"),
        seed=5,
        cases={"source": str(cases.list_file), "variants_per_case": 2},
        organs=MAKES,
        write={"preview": 0},
        execution={"block_size": 1},
    )


@pytest.fixture(scope="module")
def made(ray_here: None, organ_weights: Path, config: Path) -> Path:
    run = config.parent / "made"
    generate(str(config), [f"output={run}"])
    return run


def maps(run: Path) -> dict[str, int]:
    """Name -> when it was put in place."""
    return {path.name: path.stat().st_mtime_ns for path in sorted((run / "organs").rglob("*.nii.gz"))}


@pytest.mark.long
def test_maps_are_made_for_those_that_bring_none(made: Path, config: Path) -> None:
    rows = {row["sample_id"]: row for row in manifest(made)}
    assert len(rows) == 6
    assert len(maps(made)) == 2
    for sample_id, row in rows.items():
        ct = config.parent / "cases" / sample_id.rpartition("-v")[0] / "ct.nii.gz"
        if sample_id.startswith("own"):
            assert (row["status"], row["organs_uri"]) == ("done", "own/organs.nii.gz")
            continue
        model, _, name = row["organs_uri"].removeprefix("made:organs/").partition("/")
        assert model == find_models(fast=True).name
        assert name == f"{hashlib.sha256(ct.read_bytes()).hexdigest()}.nii.gz"
        path = made / "organs" / model / name
        assert row["organs_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        ids, volume = nib.load(path), nib.load(ct)
        assert np.allclose(ids.affine, volume.affine)
        assert ids.shape == volume.shape
        assert len(np.unique(ids.dataobj)) > 10
        assert int(np.asarray(ids.dataobj).max()) <= 104
    assert lesionforge("inspect", made, "--verify").returncode == 0


@pytest.mark.long
def test_another_run_takes_what_the_cache_holds(ray_here: None, made: Path, config: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(made / "organs", cache)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nii.gz")}
    generate(str(config), [f"output={tmp_path / 'run'}", f"organs.cache={cache}", "seed=6"])
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nii.gz")} == before
    uris = {row["organs_uri"] for row in manifest(tmp_path / "run") if not row["sample_id"].startswith("own")}
    assert uris == {f"made:{path}" for path in before}
    assert not (tmp_path / "run" / "organs").exists()


@pytest.mark.long
def test_any_number_of_actors_makes_the_same_run(ray_here: None, made: Path, config: Path, tmp_path: Path) -> None:
    generate(str(config), [f"output={tmp_path / 'run'}", "execution.organ_pool={min: 2, max: 2, num_cpus: 0.25}"])
    assert differences(made, tmp_path / "run") == []


@pytest.mark.long
def test_an_actor_killed_in_a_run_loses_nothing(made: Path, config: Path, tmp_path: Path) -> None:
    """SIGKILL while it segments; the run goes on without a new command."""
    run = tmp_path / "run"
    driver = DriverProcess.waiting(config, f"output={run}", log=tmp_path / "log.txt").go()
    victims: list[Any] = []

    def segmenting() -> bool:
        victims[:] = [w for w in workers_below(driver.process.pid) if "SegmentActor.segment" in " ".join(w.cmdline())]
        return bool(victims)

    assert driver.until(segmenting), driver.text
    victims[0].kill()
    driver.wait()
    assert_same(made, run)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.long
def test_many_ask_and_it_is_made_once_even_if_the_actor_is_killed(ray_here: None, made: Path, tmp_path: Path) -> None:
    config = made.parent / "run.yaml"
    pool = "execution.organ_pool={min: 2, max: 2, num_cpus: 0.25}"
    settings = load_settings(str(config), [f"output={tmp_path / 'run'}", pool])
    run = Run(settings, str(config.parent / "cases"), open_output(settings.output), code_version="")
    cts = [config.parent / "cases" / f"bare-{i}" / "ct.nii.gz" for i in range(2)]
    with segmenters(run, find_models(fast=True)) as made_by, ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(made_by, str(ct), sha256(ct)) for ct in cts * 4]
        time.sleep(6)  # somewhere between its start and its last map
        ray.kill(made_by.actors[int(sha256(cts[0])[:8], 16) % 2], no_restart=False)
        uris = [answer.result(120) for answer in asked]
        assert sum(ray.get([actor.kept.remote() for actor in made_by.actors])) <= 2, "a case was segmented twice"
    assert uris == [f"made:organs/{made_by.cache.model}/{sha256(ct)}.nii.gz" for ct in cts] * 4
    for ct in cts:
        name = f"organs/{made_by.cache.model}/{sha256(ct)}.nii.gz"
        assert (tmp_path / "run" / name).read_bytes() == (made / name).read_bytes()


@pytest.fixture
def actor(ray_here: None, copy: Path, tmp_path: Path) -> SegmentActor:
    """What Ray would keep in a process of its own."""
    models, output = find_models(fast=True), open_output(str(tmp_path / "run"))
    return SegmentActor(models, "cpu", open_cache(None, models.name, output), Input(), ray.remote(Starts).remote())


@pytest.fixture
def copy(organ_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder to be spoilt."""
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "weights"))
    return shutil.copytree(organ_weights, tmp_path / "weights")


def test_what_cannot_be_segmented_is_one_line(actor: SegmentActor, tmp_path: Path) -> None:
    ct = MadeCases(tmp_path).good("thin") / "ct.nii.gz"
    hu = np.asarray(nib.load(ct).dataobj)
    nib.save(nib.Nifti1Image(hu[:2, :, :2], np.diag([0.2, 2, 0.2, 1])), ct)
    for _ in range(2):  # and stays so
        answer = actor.segment(str(ct), sha256(ct))
        assert isinstance(answer, OrganMapError)
        assert str(answer).startswith("TotalSegmentator cannot segment ct.nii.gz: ")
        assert "\n" not in str(answer)
    changed = actor.segment(str(ct), "0" * 64)
    assert "ct.nii.gz has changed while it was being read" in str(changed)
    assert actor.kept() == 0


def test_a_ct_that_ends_its_process_is_given_up() -> None:
    starts = Starts()
    begun = [starts.begin("ct") for _ in range(5)]
    assert begun[:4] == [""] * 4
    assert "process ended 4 times" in begun[4]
    assert starts.begin("another") == ""


def test_weights_that_vanish_fail_no_case(actor: SegmentActor, copy: Path, config: Path) -> None:
    shutil.rmtree(copy)
    ct = config.parent / "cases" / "bare-0" / "ct.nii.gz"
    answer = actor.segment(str(ct), sha256(ct))
    assert isinstance(answer, ServiceLostError)
    assert re.fullmatch(r"organs: .*dataset.json cannot be read: no such file or directory", str(answer))


def test_weights_are_missed_before_the_start(config: Path, tmp_path: Path) -> None:
    env = {"TOTALSEG_WEIGHTS_PATH": str(tmp_path)}
    refused = lesionforge("generate", config, f"output={tmp_path / 'run'}", env=env, timeout=60)
    assert refused.returncode == EXIT_USAGE
    assert "Dataset297_TotalSegmentator_total_3mm_1559subj should lie in" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


NETWORKS = {"mask": {"backend": "lmnet", "checkpoint": "x"}, "paint": {"backend": "linet", "checkpoint": "x"}}


@pytest.mark.parametrize(
    ("gpus", "asked", "count", "share"),
    [
        ([0], {}, 1, 0.0),
        ([1], {}, 1, 1.0),
        ([4, 4], {}, 8, 1.0),
        ([4, 4], {"organs": {**MAKES, "device": "cpu"}}, 1, 0.0),
        ([1], NETWORKS, 1, 0.25),
        ([2], NETWORKS, 1, 0.25),
        ([8, 8], NETWORKS, 1, 0.25),
        ([4], {"execution": {"organ_pool": {"min": 1, "max": 9, "num_gpus": 0.5}}}, 8, 0.5),
    ],
)
def test_actors_find_their_place(gpus: list[int], asked: dict[str, Any], count: int, share: float) -> None:
    settings = parse_settings({"output": "x", "cases": {"source": "y"}, "organs": MAKES, **asked})
    nodes = [{"CPU": 16.0, "GPU": float(n)} for n in gpus]
    laid_out = with_pools(settings, nodes)
    check_layout(laid_out, nodes)
    assert laid_out.organ_pool is not None
    assert (laid_out.organ_pool.min, laid_out.organ_pool.max) == (count, count)
    assert laid_out.organ_pool.num_gpus == share


def test_a_place_that_does_not_exist() -> None:
    pool = {"organ_pool": {"min": 3, "max": 5, "num_gpus": 1}}
    settings = parse_settings({"output": "x", "cases": {"source": "y"}, "organs": MAKES, "execution": pool})
    nodes = [{"CPU": 16.0, "GPU": 2.0}]
    with pytest.raises(LayoutError, match=r"needs 3 GPUs \(organ_pool 3 x 1\), the cluster has 2"):
        check_layout(with_pools(settings, nodes), nodes)


@pytest.mark.parametrize(
    ("organs", "told"),
    [
        ({"fast": False}, "'fast' belongs to totalsegmentator, and the backend is given"),
        ({**MAKES, "parts": "all"}, "parts are those of fast: false"),
        (
            {**MAKES, "fast": False, "parts": ["heart"]},
            "organs.parts: should be auto, all, or a list of organs, vertebrae, cardiac",
        ),
    ],
)
def test_settings_that_contradict_each_other(organs: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        parse_settings({"output": "x", "cases": {"source": "y"}, "organs": organs})
    with pytest.raises(SettingsError, match=r"organ_pool belongs to organs\.backend: totalsegmentator"):
        parse_settings({"output": "x", "cases": {"source": "y"}, "execution": {"organ_pool": {}}})
