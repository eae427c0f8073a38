"""Where Ray Train keeps a training's checkpoints: below the output folder, local or any fsspec URI.

    checkpoints/step-00001000/state.ckpt      of Lightning: weights, optimisers, average
    checkpoints/step-00001000/training.json   the step, its metrics, the examples skipped until then
    checkpoints/checkpoint_manager_snapshot.json   Ray's: which there are; written last

A file is whole or not there. Of all steps the best and the last one are kept.
"""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem
from ray.train import Checkpoint, Result

from engine.core.errors import OutputError, UsageError
from engine.io.local_store import INFLIGHT
from engine.io.storage import OutputFolder

FOLDER = "checkpoints"
STATE, TRAINING = "state.ckpt", "training.json"
SCORE = "score"
"""Among the metrics of a checkpoint: higher is better. One that was not validated has the lowest."""

_SNAPSHOT = f"{FOLDER}/checkpoint_manager_snapshot.json"


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def file_system(output: OutputFolder) -> tuple[FileSystem, str]:
    """Arrow's, and the path of the output on it. Raises `UsageError` for a place that other processes do not see."""
    if "://" not in output.uri:
        inflight = Path(output.uri, INFLIGHT, output.token)
        return PyFileSystem(_WholeFiles(os.fspath(inflight))), output.uri
    if output.uri.startswith("memory://"):
        raise UsageError(f"output '{output.uri}' is seen by one process alone; give a folder, or s3://bucket/training")
    store, path = fsspec.core.url_to_fs(output.uri, use_listings_cache=False)
    return PyFileSystem(FSSpecHandler(store)), path


class _WholeFiles(FSSpecHandler):  # type: ignore[misc] # pyarrow has no types
    """A local disk on which a file takes its name when it is complete, and only while its driver holds the output."""

    def __init__(self, inflight: str) -> None:
        super().__init__(LocalFileSystem())
        self.inflight = inflight

    def open_output_stream(self, path: str, metadata: Mapping[str, str]) -> pa.NativeFile:
        return pa.PythonFile(_Staged(Path(self.inflight, uuid.uuid4().hex), Path(path)), mode="w")


class _Staged(io.BufferedWriter):
    """Renamed as it is closed; gone instead where something could not be written."""

    def __init__(self, staged: Path, target: Path) -> None:
        super().__init__(io.FileIO(staged, "xb"))
        self._staged, self._target, self._broken = staged, target, False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            self._broken = True
            raise

    def close(self) -> None:
        if self.closed:
            return
        try:
            self.flush()
            os.fsync(self.fileno())
        except OSError:
            self._broken = True
            raise
        finally:
            super().close()
            if self._broken:
                self._staged.unlink(missing_ok=True)
            else:
                self._staged.replace(self._target)


@dataclass(frozen=True)
class Kept:
    """The checkpoints of a training, as its last driver left them."""

    last: Checkpoint
    best: Checkpoint
    last_metrics: Mapping[str, Any]
    best_metrics: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.last_metrics["step"])

    def skipped(self) -> list[list[Any]]:
        """The examples that were skipped until the last step: ordinal, case, what is wrong with it."""
        with self.last.as_directory() as folder:
            told: list[list[Any]] = json.loads(Path(folder, TRAINING).read_text())["skipped"]
        return told

    @classmethod
    def read(cls, output: OutputFolder) -> Self | None:
        """None where there is none yet. Raises `OutputError` where a file that Ray names is gone."""
        if not output.exists(_SNAPSHOT):
            return None
        store, path = file_system(output)
        try:
            return cls.of(Result.from_path(f"{path}/{FOLDER}", storage_filesystem=store))
        except RuntimeError as error:
            raise OutputError(f"{output.uri}: its checkpoints cannot be read: {error}") from error

    @classmethod
    def of(cls, result: Result) -> Self | None:
        if result.checkpoint is None:
            return None
        found = result.best_checkpoints or [(result.checkpoint, result.metrics or {})]
        best, metrics = max(found, key=lambda kept: kept[1][SCORE])
        return cls(result.checkpoint, best, result.metrics or {}, metrics)
