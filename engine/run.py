"""What every stage of a run knows: settings, output folder, identity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine import __version__
from engine.io.storage import OutputFolder
from engine.settings import Settings

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """Small, picklable, equal on every worker."""

    settings: Settings
    cases_base: str
    """Folder that relative URIs of the case list start from."""
    output: OutputFolder
    """Fenced by its driver's epoch: a worker of an older epoch can no longer put files in place."""
    code_version: str
    weights: str = ""

    @property
    def name(self) -> str:
        """Last part of the output's URI: what tells apart the runs that share a cluster."""
        return self.settings.output.rstrip("/").rpartition("/")[2]

    @property
    def config_hash(self) -> str:
        return self.settings.config_hash


def code_version() -> str:
    """Package version and a digest of the engine's own sources: what resuming a run requires to be equal."""
    digest = hashlib.sha256()
    for package in ("engine", "models", "actors"):
        for file in sorted((_ROOT / package).rglob("*.py")):
            digest.update(file.relative_to(_ROOT).as_posix().encode())
            digest.update(file.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
