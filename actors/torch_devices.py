"""The devices that Ray gave the actor of this process, as torch has them."""

from __future__ import annotations

import os

import ray
import torch


def given_devices(*, processors_only: bool = False) -> list[torch.device]:
    """Those that Ray gave the actor of this process, which sees no other GPU; without any, where torch runs else.

    On processors all cores are used, whatever share of them was asked for: bits depend on the number of threads, and
    must not on the layout.
    """
    gpus = ray.get_gpu_ids()
    if gpus and torch.cuda.is_available() and not processors_only:
        return [torch.device("cuda", n) for n in range(len(gpus))]
    torch.set_num_threads(os.cpu_count() or 1)
    return [torch.device("mps" if torch.backends.mps.is_available() and not processors_only else "cpu")]
