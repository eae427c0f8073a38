"""The devices that Ray gave the actor of this process."""

from __future__ import annotations

import ray


def device_names() -> list[str]:
    """Node and GPU of each, such as "3f2a9c01 gpu 1"; "3f2a9c01 cpu" without any."""
    node = ray.get_runtime_context().get_node_id()[:8]
    return [f"{node} gpu {gpu}" for gpu in ray.get_gpu_ids()] or [f"{node} cpu"]
