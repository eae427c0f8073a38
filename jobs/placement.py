"""Where the networks go when the settings leave it open: by the GPUs that the cluster has.

none        a masker and a painter on the processors
1           they share it
2           one each
3 and more  one in three for maskers, the others for painters, each with its VQ-GAN beside LINet on the same GPU

A VQ-GAN on a second GPU (`paint_pool.vq: neighbour`) takes a tenth of LINet's time (on two processor cores, see
docs/networks.md) and would leave that GPU idle for the rest. So it is chosen only where it is asked for: where both do
not fit into one GPU's memory.

TotalSegmentator, where it makes the organ maps, has a share of a masker's GPU: it works once a case, not once a lesion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from engine.core.errors import LayoutError
from engine.pipeline import check_layout
from engine.settings import Execution, PaintPool, Pool, Settings

_ACTOR_CPUS = 0.5
_GPUS_A_MASKER = 3
"""A lesion takes LINet and the VQ-GAN about twice as long as LMNet: docs/networks.md, not measured on GPUs."""
_ORGANS_SHARE = 0.25


def with_pools(settings: Settings, nodes: Sequence[Mapping[str, float]], *, grows: bool = False) -> Execution:
    """The execution as asked for; with pools for the networks, and for TotalSegmentator, where none are given.

    Its own has then as many actors as find room: nothing adds to them later. Raises `LayoutError` where the cluster
    `grows` and has no GPU yet: it would never be asked for one.
    """
    execution = settings.execution
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    segments = settings.organs.backend == "totalsegmentator"
    if not execution.pools and (settings.mask.is_network or settings.paint.is_network):
        if grows and not any(gpus):
            raise LayoutError(
                "this cluster brings up GPUs when they are asked for: say what the networks take, such as "
                "execution.mask_pool.num_gpus=1 execution.paint_pool.num_gpus=1 (0 for the processors)"
            )
        mask, paint = pools_on(gpus, shared=segments and execution.organ_pool is None)
        execution = execution.model_copy(update={"mask_pool": mask, "paint_pool": paint})
    if not segments:
        return execution.model_copy(update={"organ_pool": None})
    organ_pool = execution.organ_pool or _organ_pool(gpus, settings, alone=not execution.pools)
    return execution.model_copy(update={"organ_pool": _filling(organ_pool, execution, nodes)})


def _organ_pool(gpus: Sequence[int], settings: Settings, *, alone: bool) -> Pool:
    """TotalSegmentator on every GPU where it has them to itself; else one actor, on the share that networks leave."""
    if settings.organs.device == "cpu" or not sum(gpus):
        return _pool(1, 0)
    return _pool(sum(gpus), 1) if alone else _pool(1, _ORGANS_SHARE)


def _filling(pool: Pool, execution: Execution, nodes: Sequence[Mapping[str, float]]) -> Pool:
    """The pool with a fixed number of actors: the most up to its `max` that fit beside all else, at least its `min`."""
    for count in range(pool.max, pool.min, -1):
        fixed = pool.model_copy(update={"min": count, "max": count})
        with suppress(LayoutError):
            check_layout(execution.model_copy(update={"organ_pool": fixed}), nodes)
            return fixed
    return pool.model_copy(update={"max": pool.min})


def pools_on(gpus: Sequence[int], *, shared: bool = False) -> tuple[Pool, PaintPool]:
    """A mask and a paint pool for nodes with so many GPUs each; both start with one actor.

    `shared`: TotalSegmentator is to find room beside a masker.
    """
    total, beside = sum(gpus), _ORGANS_SHARE if shared else 0.0
    if total <= 2:
        share = (0.0, (1 - beside) / 2, 1.0)[total]
        return _pool(1, share - beside if total == 2 else share), PaintPool(**dict(_pool(1, share)))
    maskers = max(1, round(total / _GPUS_A_MASKER))
    return _pool(maskers, 1 - beside), PaintPool(**dict(_pool(total - maskers, 1)))


def _pool(most: int, num_gpus: float) -> Pool:
    return Pool(max=most, num_cpus=_ACTOR_CPUS, num_gpus=num_gpus)
