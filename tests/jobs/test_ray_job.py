"""`ray job submit` on a head on loopback: the checkout is uploaded, runs to the end, and can be stopped on the way."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from heads import LoopbackCluster
from killed_runs import assert_same, rows_committed
from runs import ROOT

pytestmark = pytest.mark.cluster

_SOURCES = ("engine", "models", "actors", "jobs", "configs", ".gitignore", "pyproject.toml", "README.md")
_UPLOAD_BYTES = 5 << 20
_PROBE = """
import ray

@ray.remote
def home():
    import engine
    return engine.__file__

ray.init(log_to_driver=False)
print("workers import", ray.get(home.remote()))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this one, with an environment and a run in it that must stay at home."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in _SOURCES:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    for heavy in (".venv/lib", "runs/demo"):
        (copy / heavy).mkdir(parents=True)
        (copy / heavy / "heavy.bin").write_bytes(bytes(1 << 20))
    (copy / "probe.py").write_text(_PROBE)
    return copy


def submit(head: LoopbackCluster, checkout: Path, *entry: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code of the client, and all that was said."""
    where = (
        "--address",
        head.dashboard,
        "--working-dir",
        str(checkout),
        "--log-style",
        "record",
        "--log-color",
        "false",
    )
    limit = time.monotonic() + 60
    while True:
        done = head.ray("job", "submit", *where, *options, "--", *entry)
        if "No available agent" not in done.stderr or time.monotonic() > limit:  # a head is up before it takes jobs
            return done.returncode, done.stdout + done.stderr


def test_job_is_stopped_and_finished(
    head: LoopbackCluster, checkout: Path, restless: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    entry = ("python", "-m", "jobs.generate", str(restless), f"output={run}")
    code, said = submit(head, checkout, *entry, options=("--submission-id", "first", "--no-wait"))
    assert code == 0, said
    wait_for_rows(run, 1)
    head.ray("job", "stop", "--address", head.dashboard, "first")
    said = head.ray("job", "logs", "--address", head.dashboard, "first").stdout
    assert f"stopped; the same command continues {run}" in said
    assert "ERROR" not in said
    assert "WARNING" not in said
    assert not (run / "lease").exists()

    code, said = submit(head, checkout, *entry)
    assert code == 1, said  # of 3: samples have failed. A job's client knows no other code
    assert "resuming: " in said
    assert "samples: 24 done, 0 rejected, 1 failed" in said
    assert_same(undisturbed, run)


def test_upload_is_what_runs(head: LoopbackCluster, checkout: Path, restless: Path) -> None:
    """Workers import the upload, not an installed LesionForge; what .gitignore names stays at home. Beside the small
    weights that come with the repository, which a job may name, it is little."""
    entry = ("sh", "-c", f"python probe.py; python -m jobs.generate {restless} output=runs/here")
    code, said = submit(head, checkout, *entry)
    uploads = [f for f in head.folder.glob("session_2*/runtime_resources/working_dir_files/*") if f.is_dir()]
    homes = [upload for upload in uploads if f"workers import {upload}/engine/__init__.py" in said]
    assert len(homes) == 1, said
    sizes = {f.relative_to(homes[0]).as_posix(): f.stat().st_size for f in homes[0].rglob("*") if f.is_file()}
    assert sum(size for name, size in sizes.items() if not name.startswith("models/phantom/")) < _UPLOAD_BYTES
    assert not [name for name in sizes if "heavy" in name]

    assert code == 1
    assert "output 'runs/here' is relative, and inside a submitted job that is a temporary folder" in said


def wait_for_rows(run: Path, count: int, timeout: float = 180) -> None:
    limit = time.monotonic() + timeout
    while rows_committed(run) < count:
        assert time.monotonic() < limit, "the job does not get on"
        time.sleep(0.05)
