"""Networks on many GPUs, on one and on none: each where it belongs, and the same run.

The GPUs are pretended, and the weights random: what is painted is noise, and rejected as such.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from engine.core.errors import EXIT_DONE, EXIT_USAGE
from heads import LoopbackCluster, loopback_cluster
from made_cases import MadeCases
from runs import differences, lesionforge, write_config
from tiny_networks import TinyNetworks, tiny_networks

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
        **networks.settings,
    )


@pytest.fixture(scope="module")
def without_gpus(config: Path) -> Path:
    return generated(config, "without-gpus")


def generated(config: Path, name: str, *overrides: str, env: dict[str, str] | None = None) -> Path:
    run = config.parent / name
    ended = lesionforge("generate", config, f"output={run}", *overrides, env=env, timeout=400)
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


def test_networks_have_gpus_of_their_own_and_decoding_a_neighbouring_one(
    config: Path, without_gpus: Path, three_nodes: LoopbackCluster
) -> None:
    run = generated(config, "three-nodes", f"execution.address={three_nodes.address}", env=three_nodes.env)
    placed = devices(run)
    assert len(placed) == 4 * CASES
    lmnet = {row["mask"] for row in placed}
    linet = {device for row in placed for device in (row["paint"], row["vq"])}
    assert all(" gpu " in device for device in lmnet | linet)
    assert not lmnet & linet
    for row in placed:
        assert row["paint"] != row["vq"]
        assert row["paint"].split()[0] == row["vq"].split()[0], "decoded on another node"
    assert differences(without_gpus, run) == []


def test_one_gpu_is_shared(config: Path, without_gpus: Path) -> None:
    with loopback_cluster(cpus=2, gpus=1) as cluster:
        run = generated(config, "one-gpu", f"execution.address={cluster.address}", env=cluster.env)
    (device,) = {device for row in devices(run) for device in row.values()}
    assert device.endswith(" gpu 0")
    assert differences(without_gpus, run) == []


def test_without_gpus_the_processors_do(without_gpus: Path) -> None:
    assert all(device.endswith(" cpu") for row in devices(without_gpus) for device in row.values())


def test_wrong_checkpoints_are_known_before_the_start(config: Path, networks: TinyNetworks) -> None:
    for override, told in (
        (f"mask.checkpoint={networks.folder / 'LINet.ckpt'}", "looks like LINet, and LMNet is wanted"),
        (f"paint.checkpoint={networks.folder / 'gone.ckpt'}", "No such file"),
    ):
        refused = lesionforge("generate", config, override)
        assert refused.returncode == EXIT_USAGE
        assert told in refused.stderr
        assert refused.stderr.count("\n") == 1
