"""Ray clusters for all tests that need one but do not kill it, and one run for all that compare theirs with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from engine.core.errors import EXIT_SOME_FAILED
from heads import LoopbackCluster, loopback_cluster
from jobs.generate import generate
from made_cases import MadeCases
from runs import write_config


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A local cluster with three task slots, kept warm: each run in it saves ten seconds of start-up."""
    ray.init(
        address="local",
        num_cpus=3,
        object_store_memory=400 << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def head() -> Iterator[LoopbackCluster]:
    """A cluster that outlives its drivers: each of them saves the start of one."""
    with loopback_cluster(cpus=2, dashboard=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kills() -> int:
    """How often a run is killed at random; `LESIONFORGE_KILLS=10` for a longer campaign."""
    return int(os.environ.get("LESIONFORGE_KILLS", "1"))


@pytest.fixture(scope="session")
def restless(kills: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of 25 samples (more for more kills), one of which fails; blocks and commits are small, so many.

    Its cases lie in the folder `cases` beside it.
    """
    folder = tmp_path_factory.mktemp("restless")
    cases = MadeCases(folder / "cases")
    for i in range(8):
        cases.good(f"case-{i}", seed=i)
    cases.good("case-absent", lesions=[{"organ": "pancreas"}], variants=1)
    return write_config(
        folder / "run.yaml",
        output=str(folder / "nowhere"),
        seed=5,
        cases={"source": str(cases.list_file), "variants_per_case": max(3, kills)},
        lesions={"per_sample": [1, 2], "mix": [{"organ": "liver"}, {"organ": "spleen"}, {"organ": "kidney_left"}]},
        write={"preview": 2},
        execution={"block_size": 2, "commit_rows": 4, "commit_s": 0.5},
    )


@pytest.fixture(scope="session")
def undisturbed(ray_here: None, restless: Path) -> Path:
    """The run of `restless` to which nothing happened."""
    run = restless.parent / "undisturbed"
    assert generate(str(restless), [f"output={run}"]) == EXIT_SOME_FAILED
    return run
