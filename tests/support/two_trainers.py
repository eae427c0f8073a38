"""A few steps of each network's training by Lightning, in one process or in two that share every batch."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from models.training.batch import Batch
from models.training.vq_loss import VQLossConfig
from small_trainings import NETWORKS, Name, batches, module, train

Weights = dict[str, Tensor]
Told = dict[str, float]

STEPS = 2
_BATCH = 2

VARIANTS: Mapping[str, tuple[Name, dict[str, Any]]] = {
    "low rank": ("lmnet", {"lora_rank": 2, "checkpointing": True}),
    "no text": ("linet", {"text": False}),
    "restarted codes": ("vq", {"loss": VQLossConfig(perceptual=False, adversarial=False), "restart_codes_every": 1}),
    "later judges": ("vq", {"loss": VQLossConfig(perceptual=False, adversarial_from_step=1)}),
}
"""In which other parameters have no part in a step."""


def trained_alone(network: Name) -> tuple[Weights, Told]:
    return _trained(network, range(_BATCH))


def trained_by_two(folder: Path) -> dict[tuple[str, int], tuple[Weights, Told]]:
    """Of each network, or variant, and rank. In float64, in which rounding is out of the way of Adam."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_rank, (folder, port), nprocs=2)
    names = [*NETWORKS, *VARIANTS]
    return {(name, rank): torch.load(folder / f"{name}-{rank}.pt") for name in names for rank in range(2)}


def _rank(rank: int, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
                   "NODE_RANK": "0", "LOCAL_RANK": str(rank), "RANK": str(rank)}  # fmt: skip
    mine = range(rank, _BATCH, 2)
    for name in NETWORKS:
        torch.save(_trained(name, mine), folder / f"{name}-{rank}.pt")
    for variant, (name, changes) in VARIANTS.items():
        torch.save(_trained(name, mine, **changes), folder / f"{variant}-{rank}.pt")


def _trained(network: Name, mine: range, **changes: Any) -> tuple[Weights, Told]:
    """On those examples of every batch."""
    made = module(network, drop_text=0.3, rate=1e-4, **changes).double()
    given, looked_at = (
        [Batch(tuple(batch.examples[n] for n in mine)) for batch in batches(count, _BATCH)] for count in (STEPS, 1)
    )
    shared = {} if len(mine) == _BATCH else {"devices": 2, "strategy": "ddp"}
    trainer = train(made, given, STEPS, validation=looked_at, **shared)
    told = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    return {name: parameter.detach() for name, parameter in made.named_parameters()}, told
