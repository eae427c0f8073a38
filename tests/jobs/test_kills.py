"""Kill anything at any time: the same command then finishes the run, to the very files of an undisturbed one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.core.errors import EXIT_DONE, EXIT_SOME_FAILED
from heads import LoopbackCluster
from killed_runs import DriverProcess, assert_same, images_written, rows_committed
from runs import lesionforge

pytestmark = pytest.mark.cluster

SIGKILLED = -9
POINTS = ("row_returned", "part_committed#2", "compaction", "finished", "completed")


@pytest.fixture
def drivers(restless: Path, tmp_path: Path) -> Callable[..., DriverProcess]:
    """Drivers of one run in `tmp_path / "run"`, waiting to `go`."""

    def waiting(**env: str) -> DriverProcess:
        return DriverProcess.waiting(restless, f"output={tmp_path / 'run'}", log=tmp_path / "log.txt", env=env)

    return waiting


@pytest.fixture
def drivers_on_head(head: LoopbackCluster, restless: Path, tmp_path: Path) -> Callable[..., DriverProcess]:
    """The same on a cluster that outlives them."""

    def waiting(**env: str) -> DriverProcess:
        overrides = (f"output={tmp_path / 'run'}", f"execution.address={head.address}")
        return DriverProcess.waiting(restless, *overrides, log=tmp_path / "log.txt", env=head.env | env)

    return waiting


def test_driver_killed_at_every_point(
    drivers_on_head: Callable[..., DriverProcess], undisturbed: Path, tmp_path: Path
) -> None:
    """One run, killed at each named point in turn."""
    driver = drivers_on_head(LESIONFORGE_FAILPOINT=POINTS[0])
    for point, following in zip(POINTS, [*POINTS[1:], ""], strict=True):
        driver.go()
        successor = drivers_on_head(LESIONFORGE_FAILPOINT=following)
        assert driver.wait() == SIGKILLED, (point, driver.text)
        driver = successor
    assert driver.go().wait() == EXIT_SOME_FAILED, driver.text
    assert_same(undisturbed, tmp_path / "run")


@pytest.mark.parametrize("point", ["image_renamed", pytest.param("label_renamed#2", marks=pytest.mark.long)])
def test_worker_killed_between_files(
    drivers: Callable[..., DriverProcess], undisturbed: Path, tmp_path: Path, point: str
) -> None:
    once = tmp_path / "killed"
    driver = drivers(LESIONFORGE_FAILPOINT=point, LESIONFORGE_FAILPOINT_ONCE=str(once)).go()
    assert driver.wait() == EXIT_SOME_FAILED, driver.text
    assert once.exists(), "nothing was killed"
    assert_same(undisturbed, tmp_path / "run")


@pytest.mark.long
def test_driver_killed_at_random(
    drivers: Callable[..., DriverProcess], undisturbed: Path, tmp_path: Path, kills: int
) -> None:
    """Again and again in one run, the next driver at work within milliseconds, orphans of the last still writing."""
    run, aim = tmp_path / "run", random.Random(3)
    driver = drivers().go()
    for _ in range(kills):
        successor = drivers()
        goal = images_written(run) + aim.randint(1, 5)
        killed = driver.until(lambda goal=goal: images_written(run) >= goal)
        driver.kill()
        driver = successor.go()
        assert killed, driver.text
    assert driver.wait() == EXIT_SOME_FAILED, driver.text
    assert_same(undisturbed, run)


@pytest.mark.long
def test_workers_killed_at_random(
    drivers_on_head: Callable[..., DriverProcess], head: LoopbackCluster, undisturbed: Path, tmp_path: Path, kills: int
) -> None:
    run, aim, node = tmp_path / "run", random.Random(4), head.nodes[0].pid
    driver = drivers_on_head().go()
    for kill in range(kills):
        aim.choice(driver.at_work(lambda kill=kill: images_written(run) >= 2 + 5 * kill, below=node)).kill()
    assert driver.wait() == EXIT_SOME_FAILED, driver.text
    assert_same(undisturbed, run)


@pytest.mark.long
def test_unfinished_run_is_in_order(drivers: Callable[..., DriverProcess], tmp_path: Path) -> None:
    """Files of samples that are not committed yet are no problem."""
    run = tmp_path / "run"
    driver = drivers().go()
    assert driver.until(lambda: rows_committed(run) > 0), driver.text
    driver.kill()
    verdict = lesionforge("inspect", run, "--verify")
    assert verdict.returncode == EXIT_DONE, verdict.stdout
    assert "unfinished" in verdict.stdout
