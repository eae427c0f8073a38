"""A cluster that starts with its head alone: it is asked for what the run needs, grows, and shrinks again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from engine.core.errors import EXIT_DONE, EXIT_USAGE
from growing import growing_cluster
from heads import LoopbackCluster
from jobs.generate import generate
from killed_runs import DriverProcess
from made_cases import MadeCases
from runs import differences, lesionforge, write_config
from tiny_networks import tiny_networks

pytestmark = [pytest.mark.cluster, pytest.mark.alone, pytest.mark.long]

_POOLS = (
    "execution.mask_pool.num_gpus=1",
    "execution.paint_pool.num_gpus=2",
    "execution.paint_pool.vq=neighbour",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    """At most two nodes of two GPUs beside its head."""
    with growing_cluster({"gpu": ({"CPU": 2, "GPU": 2}, 2)}, idle_s=4) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples."""
    folder = tmp_path_factory.mktemp("growing")
    cases = MadeCases(folder / "cases")
    cases.good("case")
    return write_config(
        folder / "run.yaml",
        output=str(folder / "nowhere"),
        cases={"source": str(cases.list_file), "variants_per_case": 2},
        lesions={"mix": [{"organ": "liver", "size_mm": 9}]},
        check={"max_attempts": 1},
        write={"preview": 1},
    )


def nodes_up(cluster: LoopbackCluster) -> int:
    """Ray nodes, the head among them."""
    below = psutil.Process(cluster.nodes[0].pid).children(recursive=True)
    return sum(process.name() == "raylet" for process in below if process.status() != psutil.STATUS_ZOMBIE)


def most_nodes_during(driver: DriverProcess, cluster: LoopbackCluster) -> int:
    most = 0
    while driver.running:
        most = max(most, nodes_up(cluster))
        time.sleep(0.2)
    return most


def shrinks_to_its_head(cluster: LoopbackCluster, within_s: float = 90) -> bool:
    limit = time.monotonic() + within_s
    while nodes_up(cluster) > 1 and time.monotonic() < limit:
        time.sleep(0.5)
    return nodes_up(cluster) == 1


@pytest.mark.parametrize(
    ("pools", "told"),
    [
        (("execution.mask_pool.num_gpus=1", "execution.paint_pool={min: 4, max: 4, num_gpus: 1}"), "it needs 5 GPUs"),
        pytest.param(
            ("execution.mask_pool.num_gpus=4", "execution.paint_pool.num_gpus=0"),
            "it needs 4 GPUs",
            marks=pytest.mark.long,
            id="none has four",
        ),
    ],
)
def test_what_can_never_come_is_refused(
    cluster: LoopbackCluster, config: Path, tmp_path: Path, pools: tuple[str, str], told: str
) -> None:
    overrides = (f"output={tmp_path / 'run'}", f"execution.address={cluster.address}", *pools)
    refused = lesionforge("generate", config, *overrides, env=cluster.env, timeout=60)
    assert refused.returncode == EXIT_USAGE, refused.stderr
    assert told in refused.stderr
    assert refused.stderr.endswith("the cluster has 0, and its autoscaler cannot bring up the rest\n")
    assert refused.stderr.count("\n") == 1


def test_what_a_run_needs_comes_and_goes(cluster: LoopbackCluster, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = (f"output={run}", f"execution.address={cluster.address}", *_POOLS)
    driver = DriverProcess.waiting(config, *overrides, log=tmp_path / "log.txt", env=cluster.env).go()
    assert most_nodes_during(driver, cluster) == 3
    assert driver.wait() == EXIT_DONE, driver.text
    assert lesionforge("inspect", run, "--verify").returncode == EXIT_DONE
    assert shrinks_to_its_head(cluster)


@pytest.mark.long
def test_networks_on_nodes_that_come_and_go(
    ray_here: None, cluster: LoopbackCluster, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The run that they would make here, on GPUs that were not there when it started."""
    folder = tmp_path_factory.mktemp("networks")
    settings = yaml.safe_load(config.read_text()) | tiny_networks(folder).settings
    config = write_config(folder / "run.yaml", **settings)
    here, there = folder / "here", folder / "there"
    assert generate(str(config), [f"output={here}"]) == EXIT_DONE

    overrides = (f"output={there}", f"execution.address={cluster.address}", *_POOLS)
    driver = DriverProcess.waiting(config, *overrides, log=folder / "log.txt", env=cluster.env).go()
    assert most_nodes_during(driver, cluster) == 3
    assert driver.wait() == EXIT_DONE, driver.text
    assert differences(here, there) == []
    assert shrinks_to_its_head(cluster)
