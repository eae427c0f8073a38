"""Low-rank changes or all of the weights: which brings a trained LINet further on lesions that it does not know?

The phantoms' LINet knows the liver and the spleen. It is tuned for as many steps in either way on lesions of kidney and
pancreas, at several rates each, and validated on bodies that were kept out, always with the same noise.

python -m benchmarks.fine_tuning [--start models/phantom/LINet.safetensors] [--output runs/fine-tuning] [--steps 300]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.phantom_training import run

BODIES = 30
MEASURED = ("val/loss", "val/hu_error", "val/margin_hu")
MIX = [
    {"organ": organ, "density": density, "size_mm": size_mm}
    for organ, size_mm in (("kidney", 12), ("kidney", 16), ("pancreas", 12))
    for density in ("hypodense", "hyperdense")
]


@dataclass(frozen=True)
class Way:
    name: str
    rate: float
    lora_rank: int | None = None

    @property
    def changes(self) -> list[str]:
        return [f"learning_rate={self.rate}", *([f"lora_rank={self.lora_rank}"] if self.lora_rank else [])]


WAYS = (
    *(Way("all weights", rate) for rate in (2e-4, 5e-4, 1e-3)),
    *(Way("low-rank, 16", rate, 16) for rate in (5e-4, 2e-3, 5e-3)),
)


def lesions(folder: Path) -> list[str]:
    """Makes bodies and their lesions; the settings that name them."""
    config = folder / "lesions.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    cases = {"source": f"{folder}/bodies/cases.jsonl", "variants_per_case": 6}
    settings = {"output": f"{folder}/lesions", "seed": 13, "cases": cases, "lesions": {"mix": MIX}}
    config.write_text(yaml.safe_dump(settings | {"write": {"form": "crop"}}))
    run("phantoms", f"{folder}/bodies", "--count", str(BODIES), "--seed", "11")
    run("generate", str(config))
    return [f"data.run={folder}/lesions", f"data.cases={folder}/bodies", f"data.cache={folder}/cache"]


def training(folder: Path, start: Path, steps: int) -> Path:
    """The phantoms' training with the sizes of `start`."""
    settings = yaml.safe_load(Path("configs/train/phantom-linet.yaml").read_text())
    del settings["sizes"]
    at_the_end = dict.fromkeys(("steps", "validate_every", "checkpoint_every", "pictures_every"), steps)
    settings |= at_the_end | {"start_from": str(start), "vq": str(start), "validation_examples": 32, "ema_decay": 0.99}
    config = folder / f"linet-{steps}.yaml"
    config.write_text(yaml.safe_dump(settings))
    return config


def tuned(folder: Path, config: Path, way: Way, taught: Sequence[str]) -> dict[str, float]:
    """What validation says at the end, of the averaged weights."""
    output = folder / f"{way.name}-{way.rate:g}".replace(", ", "-").replace(" ", "-")
    run("train", str(config), f"output={output}", *taught, *way.changes)
    events = EventAccumulator(str(next(output.rglob("events.*")).parent))
    events.Reload()
    return {name: events.Scalars(name)[-1].value for name in MEASURED}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", type=Path, default=Path("models/phantom/LINet.safetensors"))
    parser.add_argument("--output", type=Path, default=Path("runs/fine-tuning"))
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    taught = lesions(asked.output)
    console, table = Console(highlight=False), Table("tuned", "rate", *(name.removeprefix("val/") for name in MEASURED))
    once, config = (training(asked.output, asked.start, steps) for steps in (1, asked.steps))
    before = tuned(asked.output, once, Way("not at all", 1e-12), taught)
    table.add_row("not at all", "", *(f"{value:.3f}" for value in before.values()))
    for way in WAYS:
        found = tuned(asked.output, config, way, taught)
        table.add_row(way.name, f"{way.rate:g}", *(f"{value:.3f}" for value in found.values()))
    console.print(table)


if __name__ == "__main__":
    main()
