"""TotalSegmentator's networks for its task "total", as they lie on disk: where, whether they are whole, and which.

    <weights>/Dataset297_TotalSegmentator_total_3mm_1559subj/       $TOTALSEG_WEIGHTS_PATH, or the package's own folder
        nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres/
            plans.json  dataset.json  fold_0/checkpoint_final.pth

Nothing is downloaded here, nor is anything of the package called that would.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from totalsegmentator.config import get_weights_dir
from totalsegmentator.map_tasks_config import TASK_CONFIGS, TASK_ID_WEIGHTS_CONFIGS
from totalsegmentator.map_to_binary import class_map_5_parts, map_taskid_to_partname_ct

from engine.core.anatomy import V1_IDS, V1_NAMES, V2_NAMES, find_organ, v2_to_v1
from engine.core.errors import UsageError
from engine.organ_maps import OrganPart
from models.tensor_file import read_tensors

CONFIGURATION, PLANS = "3d_fullres", "nnUNetPlans"
WEIGHTS_ENTRY = "network_weights"
ALL_PARTS: tuple[OrganPart, ...] = get_args(OrganPart)
_PART_PREFIX = "class_map_part_"


@dataclass(frozen=True)
class OrganModel:
    """One network of nnU-Net. Small and picklable."""

    task_id: int
    trainer: str
    folder: Path
    """Of this trainer and these plans."""

    @property
    def plans(self) -> Path:
        return self.folder / "plans.json"

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset.json"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "fold_0" / "checkpoint_final.pth"


@dataclass(frozen=True)
class OrganModels:
    """The networks that make a run's organ maps, and the grid they work on."""

    networks: tuple[OrganModel, ...]
    fast: bool
    spacing_mm: float
    digest: str
    """Of all their files."""

    @property
    def name(self) -> str:
        """Of package, version, mode and weights: what makes two maps of one CT equal."""
        mode = "fast" if self.fast else "full"
        return f"totalsegmentator-{version('TotalSegmentator')}-{mode}-{self.digest[:16]}"


def find_models(*, fast: bool, parts: Sequence[OrganPart] = ALL_PARTS) -> OrganModels:
    """The networks on this machine, looked at but not loaded.

    Raises `UsageError` for one that is not there, saying where it should lie, or `CheckpointError` for a damaged one.
    """
    config: dict[str, Any] = TASK_CONFIGS["total"]["sub_modes"]["fast" if fast else "default"]
    task_ids = [config["task_id"]] if fast else [i for i in config["task_id"] if part_of(i) in parts]
    folders = {i: str(TASK_ID_WEIGHTS_CONFIGS[i]["foldername"]) for i in task_ids}
    weights = get_weights_dir()
    missing = [name for name in folders.values() if not (weights / name).is_dir()]
    if missing:
        raise UsageError(
            f"organs: TotalSegmentator's weights are not there: {' and '.join(missing)} should lie in {weights}, "
            "or where TOTALSEG_WEIGHTS_PATH says; where there is a network, "
            f"'totalseg_download_weights -t {'total_fast' if fast else 'total'}' brings them"
        )
    inner = f"{config['trainer']}__{PLANS}__{CONFIGURATION}"
    networks = tuple(OrganModel(i, config["trainer"], weights / name / inner) for i, name in folders.items())
    for network in networks:
        _require_whole(network)
    return OrganModels(networks, fast, float(config["resample"]), _digest(networks))


def part_of(task_id: int) -> OrganPart:
    """Which of the five networks at 1.5 mm."""
    name: OrganPart = map_taskid_to_partname_ct[task_id].removeprefix(_PART_PREFIX)
    return name


def parts_with(organs: Iterable[str]) -> tuple[OrganPart, ...]:
    """The parts that hold these organs (loose names), and the one of the trunk's organs, which are every lesion's
    surroundings. Raises `PlacementError` for an organ nobody knows.
    """
    wanted = {organ_id for name in organs for organ_id in find_organ(name).ids}
    table, v2_ids = v2_to_v1(), {name: i + 1 for i, name in enumerate(V2_NAMES)}
    found = {
        part.removeprefix(_PART_PREFIX)
        for part, classes in class_map_5_parts.items()
        if wanted & {int(table[v2_ids[name]]) for name in classes.values() if name in v2_ids}
    }
    return tuple(part for part in ALL_PARTS if part in found | {"organs"})


def lacking() -> list[str]:
    """Organs of version 1 that version 2, and so every map made here, does not tell apart."""
    made = set(v2_to_v1().tolist())
    return [name for name in V1_NAMES if V1_IDS[name] not in made]


def _require_whole(network: OrganModel) -> None:
    for path in (network.plans, network.dataset, network.checkpoint):
        if not path.is_file():
            raise UsageError(f"organs: TotalSegmentator's weights are not whole: {path} is missing")
    for path in (network.plans, network.dataset):
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            raise UsageError(f"organs: {path} is damaged: not valid JSON") from None
        if not isinstance(content, dict):
            raise UsageError(f"organs: {path} is damaged: not a JSON object")
    read_tensors(network.checkpoint, entry=WEIGHTS_ENTRY)


def _digest(networks: Iterable[OrganModel]) -> str:
    digest = hashlib.sha256()
    for network in networks:
        for path in (network.plans, network.dataset, network.checkpoint):
            with path.open("rb") as file:
                digest.update(
                    f"{network.task_id} {path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
                )
    return digest.hexdigest()
