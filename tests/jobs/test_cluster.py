"""Three nodes make the run that one makes, and two finish it when the third is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.core.errors import EXIT_SOME_FAILED, EXIT_USAGE
from heads import LoopbackCluster, loopback_cluster
from killed_runs import DriverProcess, assert_same, images_written, workers_below
from runs import lesionforge

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    """A head and two more nodes, a CPU each."""
    with loopback_cluster(cpus=1) as cluster:
        for _ in range(2):
            cluster.add_worker_node(cpus=1)
        yield cluster


@pytest.fixture
def driver(cluster: LoopbackCluster, restless: Path, tmp_path: Path) -> Callable[[], DriverProcess]:
    """A driver of the run in `tmp_path / "run"` on the cluster."""

    def waiting() -> DriverProcess:
        overrides = (f"output={tmp_path / 'run'}", f"execution.address={cluster.address}")
        return DriverProcess.waiting(restless, *overrides, log=tmp_path / "log.txt", env=cluster.env)

    return waiting


def all_work(started: DriverProcess, cluster: LoopbackCluster, run: Path) -> bool:
    """Wait until every node has been at work, and the last one is, with images there."""
    worked: set[int] = set()

    def all_have_worked() -> bool:
        at_work = {n for n, node in enumerate(cluster.nodes) if workers_below(node.pid, busy=True)}
        worked.update(at_work)
        return worked == {0, 1, 2} and 2 in at_work and images_written(run) > 3

    return started.until(all_have_worked)


@pytest.mark.long
def test_three_nodes_make_the_same_run(
    driver: Callable[[], DriverProcess], cluster: LoopbackCluster, undisturbed: Path, tmp_path: Path
) -> None:
    started = driver().go()
    assert all_work(started, cluster, tmp_path / "run"), started.text
    assert started.wait() == EXIT_SOME_FAILED, started.text
    assert_same(undisturbed, tmp_path / "run")


def test_a_node_dies(
    driver: Callable[[], DriverProcess], cluster: LoopbackCluster, undisturbed: Path, tmp_path: Path
) -> None:
    """Two finish what three have begun; the command need not even be given again."""
    run, victim = tmp_path / "run", cluster.nodes[-1]
    started = driver().go()
    assert all_work(started, cluster, run), started.text
    cluster.kill(victim)
    assert started.wait() == EXIT_SOME_FAILED, started.text
    assert_same(undisturbed, run)


def test_no_cluster_at_the_address(restless: Path, tmp_path: Path) -> None:
    for address, told in (("127.0.0.1:9", "no Ray cluster there"), ("10.0.0.1", "host:port")):
        refused = lesionforge("generate", restless, f"output={tmp_path / 'run'}", f"execution.address={address}")
        assert refused.returncode == EXIT_USAGE
        assert told in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_layout_that_never_fits(restless: Path, tmp_path: Path) -> None:
    pools = ("execution.mask_pool={min: 400, max: 400, num_cpus: 1}", "execution.paint_pool={num_cpus: 0.5}")
    refused = lesionforge("generate", restless, f"output={tmp_path / 'run'}", *pools, timeout=60)
    assert refused.returncode == EXIT_USAGE
    assert "the layout needs 401.5 CPUs" in refused.stderr
    assert refused.stderr.count("\n") == 1
