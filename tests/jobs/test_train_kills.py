"""Trainings whose workers and drivers are killed, on disk and on S3, come to the weights of an undisturbed one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from engine.core.errors import EXIT_DONE, EXIT_INTERRUPTED
from heads import LoopbackCluster, loopback_cluster
from jobs.train import train
from known_cases import KnownCases
from runs import ROOT, lesionforge
from train_runs import furthest, known_cases, start, training, weights, write

pytestmark = [pytest.mark.cluster, pytest.mark.long]
pytest_plugins = ["output_places"]

SIGKILLED = -9


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> KnownCases:
    return known_cases(tmp_path_factory.mktemp("train-kills") / "cases")


@pytest.fixture(scope="module")
def config(known: KnownCases) -> str:
    """LMNet on two workers."""
    settings = training(known, "lmnet", known.folder.parent / "nowhere", workers={"min": 2, "max": 2})
    return write(known.folder.parent / "lmnet.yaml", settings)


@pytest.fixture(scope="module")
def undisturbed(ray_here: None, config: str) -> Path:
    output = Path(config).parent / "undisturbed"
    assert train(config, [f"output={output}"]) == EXIT_DONE
    return output


def assert_same(undisturbed: Path, output: Path) -> None:
    for name in ("LMNet.ckpt", "LMNet-last.ckpt"):
        assert furthest(weights(undisturbed, name), weights(output, name)) == 0
    assert {p.name for p in (undisturbed / "checkpoints").iterdir()} == {
        p.name for p in (output / "checkpoints").iterdir()
    }
    assert not (output / "lease").exists()
    assert not (output / ".inflight").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_workers_is_killed(config: str, undisturbed: Path, tmp_path: Path, rank: int) -> None:
    once = tmp_path / "killed"
    kill = {"LESIONFORGE_FAILPOINT": f"train_step@{rank}:5", "LESIONFORGE_FAILPOINT_ONCE": str(once)}
    ended = lesionforge("train", config, f"output={tmp_path}/out", env=kill)
    assert ended.returncode == EXIT_DONE, ended.stderr
    assert once.exists(), "nothing was killed"
    assert_same(undisturbed, tmp_path / "out")


def test_a_worker_that_dies_every_time_is_given_up(config: str, tmp_path: Path) -> None:
    kill = {"LESIONFORGE_FAILPOINT": "train_step@0:3"}
    ended = lesionforge("train", config, f"output={tmp_path}/out", "max_failures=1", env=kill)
    assert ended.returncode == 4, ended.stderr
    assert "lesionforge: workers died more often than max_failures allows" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("point", ["last_step", "trained"])
def test_a_driver_is_killed_at_its_end(config: str, undisturbed: Path, tmp_path: Path, point: str) -> None:
    asked = ("train", config, f"output={tmp_path}/out")
    assert lesionforge(*asked, env={"LESIONFORGE_FAILPOINT": point}).returncode == SIGKILLED
    ended = lesionforge(*asked)
    assert ended.returncode == EXIT_DONE, ended.stderr
    assert "resuming" not in ended.stderr
    assert_same(undisturbed, tmp_path / "out")


def test_a_driver_is_killed_and_another_takes_over(
    config: str, undisturbed: Path, new_shared_output: Callable[[], str], tmp_path: Path
) -> None:
    """Once there is a checkpoint; the next driver starts at once."""
    output, log = new_shared_output(), tmp_path / "log.txt"
    store, path = fsspec.core.url_to_fs(output, use_listings_cache=False)
    first = start(config, f"output={output}", log=log)
    wait_for(lambda: store.exists(f"{path}/checkpoints/checkpoint_manager_snapshot.json"), log)
    first.kill()
    assert first.wait() == SIGKILLED
    second = start(config, f"output={output}", log=log)
    assert second.wait(300) == EXIT_DONE, log.read_text()
    assert "resuming: " in log.read_text()
    store.get(f"{path}/", f"{tmp_path}/there/", recursive=True)
    assert_same(undisturbed, tmp_path / "there")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_training_that_continues(
    config: str, undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output, log = tmp_path / "out", tmp_path / "log.txt"
    started = start(config, f"output={output}", log=log)
    wait_for(lambda: (output / "checkpoints/checkpoint_manager_snapshot.json").exists(), log)
    started.send_signal(number)
    assert started.wait(60) == EXIT_INTERRUPTED, log.read_text()
    assert log.read_text().endswith(f"stopped; the same command continues {output}\n")
    assert "Traceback" not in log.read_text()
    assert not (output / "lease").exists()
    ended = lesionforge("train", config, f"output={output}")
    assert ended.returncode == EXIT_DONE, ended.stderr
    assert_same(undisturbed, output)


def test_a_node_is_killed(config: str, undisturbed: Path, tmp_path: Path) -> None:
    """Of three, each with room for one worker."""
    with loopback_cluster(cpus=1) as cluster:
        for _ in range(2):
            cluster.add_worker_node(cpus=1)
        output, log = tmp_path / "out", tmp_path / "log.txt"
        started = start(config, f"output={output}", f"address={cluster.address}", log=log, env=cluster.env)
        wait_for(lambda: (output / "checkpoints/checkpoint_manager_snapshot.json").exists(), log)
        cluster.kill(cluster.nodes[-1])
        assert started.wait(300) == EXIT_DONE, log.read_text()
    assert_same(undisturbed, output)


def test_more_and_fewer_workers_come_to_the_same(
    known: KnownCases, config: str, undisturbed: Path, tmp_path: Path
) -> None:
    """Two that may be one: those that find room."""
    for number, cpus in enumerate((1, 2)):
        with loopback_cluster(cpus=cpus) as cluster:
            output = tmp_path / f"out-{number}"
            asked = (f"output={output}", f"address={cluster.address}", "workers.min=1")
            ended = lesionforge("train", config, *asked, env=cluster.env)
            assert ended.returncode == EXIT_DONE, ended.stderr
            assert ("2 workers" in ended.stderr) == (cpus == 2)
        assert furthest(weights(undisturbed, "LMNet-last.ckpt"), weights(output, "LMNet-last.ckpt")) < 1e-6


def test_a_submitted_job_trains_and_a_relative_output_is_refused(
    head: LoopbackCluster, config: str, undisturbed: Path, tmp_path: Path
) -> None:
    entry = ("python", "-m", "jobs.train", config)
    code, said = submit(head, *entry, f"output={tmp_path}/out")
    assert code == EXIT_DONE, said
    assert f"weights: {tmp_path}/out/weights/LMNet.ckpt" in said
    assert_same(undisturbed, tmp_path / "out")
    code, said = submit(head, *entry, "output=runs/here")
    assert code == 1
    assert "output 'runs/here' is relative, and inside a submitted job that is a temporary folder" in said


def submit(head: LoopbackCluster, *entry: str) -> tuple[int, str]:
    """Exit code of the client, and all that was said."""
    where = ("--address", head.dashboard, "--working-dir", str(ROOT))
    limit = time.monotonic() + 60
    while True:
        done = head.ray("job", "submit", *where, "--", *entry)
        if "No available agent" not in done.stderr or time.monotonic() > limit:  # a head is up before it takes jobs
            return done.returncode, done.stdout + done.stderr


def wait_for(happened: Callable[[], bool], log: Path, timeout: float = 180) -> None:
    limit = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.05)
