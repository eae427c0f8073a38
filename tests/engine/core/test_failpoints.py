"""A process dies where it is told to, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.core import failpoints

_WALK = """
from engine.core.failpoints import reached
for step in range(3):
    reached("written", "a")
    reached("written", f"b{step}")
    print(step, flush=True)
reached("committed")
print("end", flush=True)
"""


def _walk(**environment: str) -> tuple[int, list[str]]:
    root = str(Path(failpoints.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _WALK],
        env=os.environ | {"PYTHONPATH": root} | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("failpoint", "printed"),
    [
        ("written", []),
        ("written@b1", ["0"]),
        ("written#5", ["0", "1"]),
        ("written@a#2", ["0"]),
        ("committed", ["0", "1", "2"]),
    ],
)
def test_dies_there(failpoint: str, printed: list[str]) -> None:
    assert _walk(LESIONFORGE_FAILPOINT=failpoint) == (-signal.SIGKILL, printed)


@pytest.mark.parametrize("failpoint", ["", "writ", "written@c", "written#9", "a"])
def test_lives_elsewhere(failpoint: str) -> None:
    assert _walk(LESIONFORGE_FAILPOINT=failpoint) == (0, ["0", "1", "2", "end"])


def test_once(tmp_path: Path) -> None:
    asked = {"LESIONFORGE_FAILPOINT": "committed", "LESIONFORGE_FAILPOINT_ONCE": str(tmp_path / "killed")}
    assert _walk(**asked)[0] == -signal.SIGKILL
    assert _walk(**asked) == (0, ["0", "1", "2", "end"])
