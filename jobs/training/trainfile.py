"""`train.json`: what a training is, written before its first step and once more when it is complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from engine.core.errors import RunConflictError
from engine.io.storage import OutputFolder
from engine.training.lesions import KnownLesion
from engine.training.settings import TrainSettings

TRAIN_FILE = "train.json"
_PACKAGES = ("numpy", "torch", "lightning", "ray", "torchio")
_FREE = frozenset(
    {
        "output", "address", "workers", "max_failures", "device", "compile", "checkpointing", "log_every", "loggers",
        "pictures_every", "checkpoint_every", "data.cache",
    }
)  # fmt: skip
"""Where and how fast, and what is only shown: may change between starts."""


@dataclass(frozen=True)
class TrainFile:
    """Identity and outcome of a training."""

    config: Mapping[str, Any]
    lesions: Mapping[str, int]
    """How many are trained on, and how many validated on."""
    fingerprint: str
    """Of the lesions, in their order."""
    weights: str
    code_version: str
    versions: Mapping[str, str]
    best: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    bad_cases: Sequence[Mapping[str, Any]] = ()
    files: Sequence[str] = ()
    complete: bool = False
    times: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        settings: TrainSettings,
        trained: Sequence[KnownLesion],
        validated: Sequence[KnownLesion],
        *,
        weights: str,
        code_version: str,
    ) -> Self:
        return cls(
            config=settings.model_dump(mode="json"),
            lesions={"trained": len(trained), "validated": len(validated)},
            fingerprint=_digest(trained, validated),
            weights=weights,
            code_version=code_version,
            versions=dict(_versions()),
        )

    @classmethod
    def read(cls, output: OutputFolder) -> Self | None:
        """The training in this folder, or None. Raises `RunConflictError` for a `train.json` that is not ours."""
        if not output.exists(TRAIN_FILE):
            return None
        try:
            return cls(**json.loads(output.get(TRAIN_FILE)))
        except (ValueError, TypeError):
            raise RunConflictError(
                f"{output.uri}/{TRAIN_FILE} is not a training of this program; choose another output"
            ) from None

    def write(self, output: OutputFolder) -> None:
        output.put(TRAIN_FILE, (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode(), durable=True)

    def require_same(self, asked: TrainFile, output: str) -> None:
        """Raise `RunConflictError` unless `asked` continues this training."""
        for key, mine, theirs in _differences(self.config, asked.config):
            raise RunConflictError(
                f"{output} holds a training with {key}={mine}, this one has {theirs}; "
                "choose another output or the same settings"
            )
        if self.fingerprint != asked.fingerprint:
            raise RunConflictError(
                f"{output} holds a training on other lesions ({self.lesions['trained']} trained on, "
                f"{self.lesions['validated']} validated on); choose another output"
            )
        if self.weights != asked.weights:
            raise RunConflictError(f"{output} holds a training that started from other weights; choose another output")


def _differences(mine: Any, asked: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value here, value there), of settings that decide what comes out."""
    if key in _FREE:
        return
    if isinstance(mine, Mapping) and isinstance(asked, Mapping):
        for name in sorted(mine.keys() | asked.keys()):
            yield from _differences(mine.get(name), asked.get(name), f"{key}.{name}" if key else name)
    elif mine != asked:
        yield key, mine, asked


def _digest(*parts: Sequence[KnownLesion]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"\n\n")
        for lesion in part:
            digest.update(json.dumps(asdict(lesion), sort_keys=True).encode())
    return digest.hexdigest()


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue  # what a training can do without
