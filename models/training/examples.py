"""One case as LMNet and LINet are shown it in training: a crop about its largest lesion.

A case is a CT, a map of organs by TotalSegmentator v1 ids, and a label (0 nothing, 1 the host organ, 2 lesion), arrays
(z y x) of one shape on the 1 mm model grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.crops import Crop, Shape3, crop_about, with_room
from models.lesion_mask import largest_component
from models.lmnet import condition_of
from models.training.objectives import box_of

LESION = 2
"""In a label."""

Volume = NDArray[np.generic]


class LMNetExample(NamedTuple):
    """A shape to draw, and what is known before it is drawn."""

    mask: Tensor  # (1 z y x) float32, 0 or 1: x_0
    conditions: Tensor  # (3 z y x) float32: organ id / 104; host organ, 0 or 1; the mask's box, 0 or 1


class LINetExample(NamedTuple):
    """A crop with a lesion in it. The lesion comes to the latent's grid by `models.linet.latent_mask`."""

    image: Tensor  # (1 z y x) float32 on [0, 1]
    mask: Tensor  # (z y x) bool


def lesion_crop(label: Volume, size: Shape3) -> Crop:
    """About the largest lesion. Raises ValueError where the label has none."""
    lesion = label == LESION
    if not lesion.any():
        raise ValueError(f"the label has no voxel of value {LESION}, so no lesion")
    return crop_about(largest_component(lesion), size, within=with_room(label.shape, size))


def host_organ(organs: Volume, label: Volume, candidates: Sequence[int]) -> int:
    """Of organs that a report names, the one that holds most of the lesions. A single candidate is taken as it is.

    Raises ValueError where none of several holds any of it.
    """
    if len(candidates) == 1:
        return candidates[0]
    inside = organs[label == LESION]
    held = {organ: int((inside == organ).sum()) for organ in candidates}
    if not any(held.values()):
        raise ValueError(f"none of the organs {list(candidates)} holds any voxel of the lesion")
    return max(held, key=lambda organ: held[organ])


def lmnet_example(organs: Volume, label: Volume, crop: Crop, hosts: Sequence[int]) -> LMNetExample:
    """`hosts` are the ids of the organ it lies in, several where that is an organ in parts, such as the lung."""
    seen = crop.of(organs, fill=0)
    mask = _tensor(largest_component(crop.of(label, fill=0) == LESION))
    box = box_of(mask[None])[0, 0].numpy() > 0
    return LMNetExample(mask, condition_of(seen, np.isin(seen, hosts), box))


def linet_example(image: NDArray[np.floating[Any]], label: Volume, crop: Crop, *, outside: float = 0.0) -> LINetExample:
    """`image` is on [0, 1]; beyond its end it is `outside`, 0 being air. The released training has 0 HU there."""
    mask = crop.of(label, fill=0) == LESION
    return LINetExample(_tensor(crop.of(image, fill=outside)), torch.from_numpy(mask))


def _tensor(values: NDArray[Any]) -> Tensor:
    """(1 z y x), float32."""
    return torch.from_numpy(values.astype(np.float32))[None]
