"""Whether a cluster can ever hold a training's workers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from engine.core.errors import LayoutError
from engine.training.settings import Workers


def require_room(workers: Workers, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise `LayoutError` where nodes of these resources have no room for the fewest workers; Ray would wait for ever.

    Loaders need none of their own: they share what their worker has reserved.
    """
    room = sum(_fitting(workers, node) for node in nodes)
    if room >= workers.min:
        return
    needs = [f"{count:g} {name}" for name, count in (("CPUs", workers.num_cpus), ("GPUs", workers.num_gpus)) if count]
    have = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes) or "none"
    raise LayoutError(
        f"workers.min {workers.min}: a worker needs {' and '.join(needs)} of one node, and there is room for {room}; "
        f"nodes: {have}"
    )


def bundles_of(workers: Workers) -> list[dict[str, float]]:
    """The fewest workers, each as what must lie together on a node."""
    bundle = {"CPU": workers.num_cpus, "GPU": workers.num_gpus}
    return [{name: share for name, share in bundle.items() if share}] * workers.min


def _fitting(workers: Workers, node: Mapping[str, float]) -> float:
    """How many of them a node holds."""
    wanted = {"CPU": workers.num_cpus, "GPU": workers.num_gpus}
    return min(
        (math.floor(node.get(name, 0.0) / share + 1e-9) for name, share in wanted.items() if share), default=math.inf
    )
