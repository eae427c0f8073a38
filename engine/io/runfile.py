"""`run.json`: what a run is, written before its first sample and once more when it is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from engine.core.errors import RunConflictError
from engine.core.schema import SCHEMA_VERSION
from engine.io.storage import OutputFolder
from engine.settings import Settings

RUN_FILE = "run.json"
_PACKAGES = ("numpy", "scipy", "nibabel", "pyarrow", "ray", "isal", "SimpleITK")


@dataclass(frozen=True)
class RunFile:
    """Identity and outcome of a run. Nothing of where or how fast it ran, but for `times`."""

    config: Mapping[str, Any]
    config_hash: str
    cases: int
    samples: int
    cases_fingerprint: str
    code_version: str
    weights: str
    versions: Mapping[str, str]
    counts: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False
    times: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(
        cls, settings: Settings, *, cases: int, samples: int, fingerprint: str, code_version: str, weights: str
    ) -> RunFile:
        return cls(
            config=settings.content(),
            config_hash=settings.config_hash,
            cases=cases,
            samples=samples,
            cases_fingerprint=fingerprint,
            code_version=code_version,
            weights=weights,
            versions={name: version(name) for name in _PACKAGES},
        )

    @classmethod
    def read(cls, output: OutputFolder) -> RunFile | None:
        """The run in this folder, or None. Raises `RunConflictError` for a `run.json` that is not ours."""
        if not output.exists(RUN_FILE):
            return None
        try:
            return cls(**json.loads(output.get(RUN_FILE)))
        except (ValueError, TypeError):
            raise RunConflictError(
                f"{output.uri}/{RUN_FILE} is not a run of this program; choose another output"
            ) from None

    def write(self, output: OutputFolder) -> None:
        output.put(RUN_FILE, (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode(), durable=True)

    def require_same(self, other: RunFile, output: str, *, any_code: bool) -> None:
        """Raise `RunConflictError` unless `other` (what is asked for now) continues this run."""
        mine, asked = _flat(self.config), _flat(other.config)
        for key in sorted(mine.keys() | asked.keys()):
            if key in _FREE_KEYS:
                continue
            if mine.get(key) != asked.get(key):
                raise RunConflictError(
                    f"{output} holds a run with {key}={mine.get(key)}, this one has {asked.get(key)}; "
                    "choose another output or the same settings"
                )
        if self.cases_fingerprint != other.cases_fingerprint:
            raise RunConflictError(
                f"{output} holds a run over another case list ({self.cases} cases); choose another output"
            )
        if self.weights != other.weights:
            raise RunConflictError(f"{output} holds a run with other weights; choose another output")
        if self.code_version != other.code_version and not any_code:
            raise RunConflictError(
                f"{output} holds a run of code {self.code_version}, this is {other.code_version}; "
                "choose another output, or pass --any-code to continue it all the same"
            )


_FREE_KEYS = frozenset({"write.preview"})
"""May change between starts: what is only shown."""


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out
