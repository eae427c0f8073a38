"""Cases read from S3 and a run written there, killed and continued, is the run that a local folder holds."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest

from engine.core.errors import EXIT_DONE, EXIT_SOME_FAILED
from killed_runs import DriverProcess, assert_same
from runs import lesionforge

pytestmark = pytest.mark.cluster
pytest_plugins = ["output_places"]


@pytest.fixture
def place(s3_bucket: str, restless: Path) -> str:
    """A prefix with the cases in it."""
    place = f"{s3_bucket}/{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("s3", use_listings_cache=False).put(
        f"{restless.parent}/cases/", f"{place}/cases/", recursive=True
    )
    return place


def test_run_on_s3_is_the_local_one(place: str, restless: Path, undisturbed: Path, tmp_path: Path) -> None:
    s3 = fsspec.filesystem("s3", use_listings_cache=False)
    run, log = f"{place}/run", tmp_path / "log.txt"
    overrides = (f"cases.source={place}/cases/cases.jsonl", f"output={run}")

    first = DriverProcess.waiting(restless, *overrides, log=log)
    second = DriverProcess.waiting(restless, *overrides, log=log)
    assert first.go().until(lambda: len(s3.find(f"{run}/manifest")) >= 2), first.text
    first.kill()
    assert s3.find(f"{run}/lease"), "a killed driver lets go of nothing"
    assert second.go().wait() == EXIT_SOME_FAILED, second.text
    assert "resuming" in second.text

    verdict = lesionforge("inspect", run, "--verify")
    assert verdict.returncode == EXIT_DONE, verdict.stdout
    s3.get(f"{run}/", f"{tmp_path}/run/", recursive=True)
    assert_same(undisturbed, tmp_path / "run")
