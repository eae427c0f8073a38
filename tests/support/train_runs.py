"""Trainings as a user runs them: configurations of tiny ones, the command, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from known_cases import KnownCases
from runs import ROOT, command

CASES = ("case-0", "case-1", "case-2", "case-3")
SMALL = {"width": 16, "res_blocks": 1, "width_multipliers": [1, 1, 2], "context_channels": 32}


def known_cases(folder: Path) -> KnownCases:
    """Four of them, one lesion each that a training takes."""
    folder.mkdir()
    known = KnownCases(folder)
    for number, case_id in enumerate(CASES):
        known.add(case_id, seed=number)
    return known


def training(known: KnownCases, network: str, output: object, **other: Any) -> dict[str, Any]:
    """Settings: six steps of two examples on crops of 16 voxels, with a stop at every second."""
    data = {"lists": known.lists(*CASES), "crop": [16, 16, 16], "validation": 0.25}
    settings: dict[str, Any] = {
        "network": network, "output": str(output), "seed": 3, "steps": 6, "batch": 2, "learning_rate": 1e-3,
        "checkpoint_every": 2, "validate_every": 4, "validation_examples": 2, "pictures_every": 4, "log_every": 1,
        "loggers": [],
    }  # fmt: skip
    if network == "vq":
        settings |= {"sizes": {"width": 16, "codes": 16}}
        settings |= {"objective": {"perceptual": False, "adversarial_from_step": 3}}
    else:
        settings |= {"sizes": SMALL, "text": {"encoder": "attributes", "words": "published", "drop": 0.2}}
    return settings | other | {"data": data | other.get("data", {})}


def write(path: Path, settings: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def start(config: str, *overrides: str, log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`lesionforge train` in a process of its own, its words in a file."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command("train", config, *overrides),
            cwd=ROOT,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **(env or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def weights(output: Path, name: str) -> dict[str, Tensor]:
    """State dict of a published checkpoint that a training wrote."""
    state: dict[str, Tensor] = torch.load(output / "weights" / name, weights_only=True)["state_dict"]
    return state


def furthest(some: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """The largest difference of any weight."""
    assert some.keys() == others.keys()
    return max(float((tensor.double() - others[name].double()).abs().max()) for name, tensor in some.items())
