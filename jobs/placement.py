"""Where the networks go when the settings leave it open: by the GPUs that the cluster has.

none        a masker and a painter on the processors
1           they share it
2           one each
3 and more  a masker for every nine; painters on two GPUs of a node each, the VQ-GAN beside LINet
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.core.errors import LayoutError
from engine.settings import Execution, PaintPool, Pool, Settings

_ACTOR_CPUS = 0.5
_GPUS_A_MASKER = 9
"""A lesion takes LINet several times as long as LMNet."""


def with_pools(settings: Settings, nodes: Sequence[Mapping[str, float]], *, grows: bool = False) -> Execution:
    """The execution as asked for; with pools for the networks where none are given.

    Raises `LayoutError` where the cluster `grows` and has no GPU yet: it would never be asked for one.
    """
    execution = settings.execution
    if execution.pools or not (settings.mask.is_network or settings.paint.is_network):
        return execution
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    if grows and not any(gpus):
        raise LayoutError(
            "this cluster brings up GPUs when they are asked for: say what the networks take, such as "
            "execution.mask_pool.num_gpus=1 execution.paint_pool.num_gpus=1 (0 for the processors)"
        )
    mask, paint = pools_on(gpus)
    return execution.model_copy(update={"mask_pool": mask, "paint_pool": paint})


def pools_on(gpus: Sequence[int]) -> tuple[Pool, PaintPool]:
    """A mask and a paint pool for nodes with so many GPUs each; both start with one actor."""
    total = sum(gpus)
    if total <= 2:
        share = (0.0, 0.5, 1.0)[total]
        return _pool(1, share), PaintPool(**dict(_pool(1, share)))
    maskers = max(1, total // _GPUS_A_MASKER)
    pairs = _pairs_beside(maskers, gpus)
    if not pairs:
        return _pool(maskers, 1), PaintPool(**dict(_pool(total - maskers, 1)))
    return _pool(maskers, 1), PaintPool(**dict(_pool(pairs, 2)), vq="neighbour")


def _pool(most: int, num_gpus: float) -> Pool:
    return Pool(max=most, num_cpus=_ACTOR_CPUS, num_gpus=num_gpus)


def _pairs_beside(maskers: int, gpus: Sequence[int]) -> int:
    """Pairs of GPUs on single nodes that maskers leave, wherever Ray puts them: at worst each breaks one."""
    left = list(gpus)
    for _ in range(maskers):
        left.sort(key=lambda node: (node % 2, -node))  # even nodes first
        left[0 if left[0] else -1] -= 1
    return sum(node // 2 for node in left)
