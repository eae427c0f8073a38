"""Networks on many GPUs, on one and on none: each where it belongs, and the same run.

The GPUs are pretended, and the weights random: what is painted is noise, and rejected as such.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as ds
import pytest

from engine.core.errors import EXIT_DONE, UsageError
from heads import LoopbackCluster, loopback_cluster
from jobs.generate import generate
from jobs.placement import pools_on
from killed_runs import DriverProcess, assert_same, rows_committed, workers_below
from made_cases import MadeCases
from runs import ROOT, differences, lesionforge, write_config
from tiny_networks import TinyNetworks, tiny_networks

pytestmark = pytest.mark.cluster

CASES = int(os.environ.get("LESIONFORGE_NETWORK_CASES", "1"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> TinyNetworks:
    return tiny_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def config(networks: TinyNetworks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples of each case, with one or two small lesions."""
    folder = tmp_path_factory.mktemp("network-runs")
    cases = MadeCases(folder / "cases")
    for i in range(CASES):
        cases.good(f"case-{i}", seed=i)
    return write_config(
        folder / "run.yaml",
        output=str(folder / "nowhere"),
        seed=5,
        cases={"source": str(cases.list_file), "variants_per_case": 4},
        lesions={"per_sample": [1, 2], "mix": [{"organ": "liver", "size_mm": 9}, {"organ": "spleen", "size_mm": 8}]},
        check={"max_attempts": 1},
        execution={"block_size": 2, "commit_rows": 2, "commit_s": 0.5},
        **networks.settings,
    )


@pytest.fixture(scope="module")
def without_gpus(ray_here: None, config: Path) -> Path:
    run = config.parent / "without-gpus"
    assert generate(str(config), [f"output={run}"]) == EXIT_DONE
    return run


def generated(config: Path, name: str, cluster: LoopbackCluster, *overrides: str) -> Path:
    """By a driver of its own."""
    run, address = config.parent / name, f"execution.address={cluster.address}"
    ended = lesionforge("generate", config, f"output={run}", address, *overrides, env=cluster.env, timeout=400)
    assert ended.returncode == EXIT_DONE, ended.stdout + ended.stderr
    return run


def devices(run: Path) -> list[dict[str, str]]:
    """Of every sample, where each part was computed."""
    rows: list[dict[str, Any]] = ds.dataset(run / "metrics").to_table(columns=["devices"]).to_pylist()
    return [{each["part"]: each["device"] for each in row["devices"]} for row in rows]


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[LoopbackCluster]:
    with loopback_cluster(cpus=1, gpus=2) as cluster:
        for _ in range(2):
            cluster.add_worker_node(cpus=1, gpus=2)
        yield cluster


NEIGHBOURS = (
    "execution.mask_pool={max: 1, num_cpus: 0.5, num_gpus: 1}",
    "execution.paint_pool={max: 2, num_cpus: 0.5, num_gpus: 2, vq: neighbour}",
)


@pytest.mark.long
@pytest.mark.parametrize("overrides", [(), NEIGHBOURS], ids=["by-itself", "vq-beside-linet"])
def test_networks_have_gpus_of_their_own(
    config: Path, without_gpus: Path, three_nodes: LoopbackCluster, overrides: tuple[str, ...]
) -> None:
    run = generated(config, f"three-nodes-{len(overrides)}", three_nodes, *overrides)
    placed = devices(run)
    assert len(placed) == 4 * CASES
    lmnet = {row["mask"] for row in placed}
    linet = {device for row in placed for device in (row["paint"], row["vq"])}
    assert all(" gpu " in device for device in lmnet | linet)
    assert not lmnet & linet
    for row in placed:
        assert (row["paint"] != row["vq"]) == bool(overrides)
        assert row["paint"].split()[0] == row["vq"].split()[0], "decoded on another node"
    assert differences(without_gpus, run) == []


@pytest.mark.long
def test_one_gpu_is_shared(config: Path, without_gpus: Path) -> None:
    with loopback_cluster(cpus=2, gpus=1) as cluster:
        run = generated(config, "one-gpu", cluster)
    (device,) = {device for row in devices(run) for device in row.values()}
    assert device.endswith(" gpu 0")
    assert differences(without_gpus, run) == []


@pytest.mark.long
@pytest.mark.parametrize("victim", ["MaskActor", "PaintActor", "node", "driver"])
def test_whatever_is_killed_the_run_is_the_same(
    config: Path, without_gpus: Path, three_nodes: LoopbackCluster, tmp_path: Path, victim: str
) -> None:
    """At a moment drawn for it, with samples on their way."""
    run = tmp_path / "run"
    overrides = (f"output={run}", f"execution.address={three_nodes.address}")
    goal = random.Random(victim).randint(0, 2 * CASES - 2)

    def networks() -> list[psutil.Process]:
        name = victim if victim.endswith("Actor") else "Actor"
        return [w for node in three_nodes.nodes for w in workers_below(node.pid) if name in " ".join(w.cmdline())]

    def waiting() -> DriverProcess:
        return DriverProcess.waiting(config, *overrides, log=tmp_path / "log.txt", env=three_nodes.env)

    driver = waiting().go()
    successor = waiting() if victim == "driver" else None
    assert driver.until(lambda: rows_committed(run) >= goal and bool(networks())), driver.text
    if successor is not None:
        driver.kill()
        driver = successor.go()
    elif victim == "node":
        three_nodes.kill(three_nodes.nodes[-1])
        three_nodes.add_worker_node(cpus=1, gpus=2)
    else:
        random.Random(victim).choice(networks()).kill()
    assert driver.wait() == EXIT_DONE, driver.text
    assert_same(without_gpus, run)


def test_without_gpus_the_processors_do(without_gpus: Path) -> None:
    placed = devices(without_gpus)
    assert len(placed) == 4 * CASES
    assert all(device.endswith(" cpu") for row in placed for device in row.values())


@pytest.mark.parametrize(
    ("gpus", "mask", "paint"),
    [
        ([0], (1, 0.0), (1, 0.0)),
        ([1, 0], (1, 0.5), (1, 0.5)),
        ([1, 1], (1, 1.0), (1, 1.0)),
        ([1, 1, 1], (1, 1.0), (2, 1.0)),
        ([3], (1, 1.0), (2, 1.0)),
        ([2, 2, 2], (2, 1.0), (4, 1.0)),
        ([8], (3, 1.0), (5, 1.0)),
        ([8, 8, 4], (7, 1.0), (13, 1.0)),
    ],
)
def test_gpus_are_shared_out(gpus: list[int], mask: tuple[int, float], paint: tuple[int, float]) -> None:
    """Actors at most, and GPUs of each."""
    masker, painter = pools_on(gpus)
    assert (masker.max, masker.num_gpus) == mask
    assert (painter.max, painter.num_gpus) == paint
    assert masker.min == painter.min == 1
    assert painter.vq == "same"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("mask.checkpoint={networks}/LINet.ckpt", r"^mask: .*LINet.ckpt looks like LINet, and LMNet is wanted$"),
        ("paint.checkpoint={networks}/gone.ckpt", r"^paint: .*gone.ckpt cannot be read: No such file or directory$"),
        ("mask.crop=[16, 18, 16]", r"^mask: crop \[16, 18, 16\]: its sides should be divisible by 4$"),
        ("paint.crop=[16, 16, 20]", r"^paint: crop \[16, 16, 20\]: its sides should be divisible by 8$"),
        ("paint.vq={networks}/LMNet.ckpt", r"^paint.vq: .*LMNet.ckpt is a checkpoint of LMNet without VQ autoencoder"),
    ],
)
def test_what_a_network_cannot_take_is_known_before_the_start(
    config: Path, networks: TinyNetworks, override: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        generate(str(config), [override.format(networks=networks.folder)])


@pytest.mark.long
def test_the_benchmark_of_the_pipeline_measures_a_runs_own_networks(config: Path, three_nodes: LoopbackCluster) -> None:
    address = f"execution.address={three_nodes.address}"
    command = [sys.executable, "-m", "benchmarks.pipeline", "--settings", str(config), address, *NEIGHBOURS]
    ended = subprocess.run(
        [*command, "--reference-samples", "2"],
        cwd=ROOT,
        env={**three_nodes.env, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == EXIT_DONE, ended.stdout + ended.stderr
    assert len(re.findall(r"gpu \d \d+%", ended.stdout)) == 3, "LMNet's, LINet's and the VQ-GAN's"
    seconds = dict(re.findall(r"(lmnet|linet|encode|decode) ([\d.]+)", ended.stdout))
    assert set(seconds) == {"lmnet", "linet", "encode", "decode"}
    assert all(float(spent) > 0 for spent in seconds.values())
    rates = [float(row.split("│")[-3].strip("│ ").replace(",", "")) for row in ended.stdout.splitlines() if "│ " in row]
    assert len(rates) == 2
    assert min(rates) > 0
