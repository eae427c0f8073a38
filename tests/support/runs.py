"""Running the command as a user would, and comparing what two runs left behind."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def write_config(path: Path, **settings: object) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "jobs.cli", *map(str, arguments)]


def lesionforge(
    *arguments: object, env: dict[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess:
    """The `lesionforge` command in a process of its own."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def files(run: Path) -> dict[str, str]:
    """Relative name -> sha256 of all that identical runs share: no `metrics/`, `reports/`, nor times in `run.json`."""
    out = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_dir() or name.startswith(("metrics/", "reports/")):
            continue
        data = path.read_bytes()
        if name == "run.json":
            content = json.loads(data)
            content.pop("times")
            data = json.dumps(content, sort_keys=True).encode()
        out[name] = hashlib.sha256(data).hexdigest()
    return out


def differences(a: Path, b: Path) -> list[str]:
    """Names of files that one run has and the other lacks, or that differ."""
    left, right = files(a), files(b)
    return sorted(n for n in left.keys() | right.keys() if left.get(n) != right.get(n))
