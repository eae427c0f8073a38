"""Random changes of an example, so that none is shown twice alike. By TorchIO, Perez-Garcia et al. 2021.

What changes is drawn here, from the example's own seed; TorchIO's random transforms draw from torch's global generator.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.examples import LESION

AIR_HU = -1000.0

_AXES = ("S", "A", "L")


class Changes(Protocol):
    """The most that may change; nothing does where all are zero."""

    @property
    def flip(self) -> tuple[Any, ...]:
        """Axes that may be turned round, each every other time: "S", "A", "L"."""
        ...

    @property
    def rotate_deg(self) -> float:
        """About each axis, to either side."""
        ...

    @property
    def scale(self) -> float:
        """Of the size, relative, to either side; the same along all axes."""
        ...

    @property
    def shift_hu(self) -> float:
        """Of all intensities, to either side."""
        ...

    @property
    def noise_hu(self) -> float:
        """Standard deviation."""
        ...


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """`Changes` as they are written down."""

    flip: tuple[str, ...] = ()
    rotate_deg: float = 0.0
    scale: float = 0.0
    shift_hu: float = 0.0
    noise_hu: float = 0.0


class Augmented(NamedTuple):
    """Arrays (z y x), as they were given."""

    image_hu: NDArray[np.float32]
    organs: NDArray[np.uint8]
    label: NDArray[np.uint8]


class _Drawn(NamedTuple):
    """What happens to one example."""

    flipped: tuple[int, ...]
    degrees: tuple[float, float, float]
    scale: float
    shift_hu: float
    noise_hu: float


def augment(
    image_hu: NDArray[np.float32],
    organs: NDArray[np.uint8],
    label: NDArray[np.uint8],
    changes: Changes,
    seed: int,
    *,
    outside_hu: float = AIR_HU,
) -> Augmented:
    """Geometry is that of all three, about the crop's middle; what comes in from beyond is `outside_hu`, and 0 in maps.

    A lesion that no voxel would be left of is shown where it was. Reports are not told of a change: a size or an HU
    value in their words stays what it was. Raises ModuleNotFoundError where TorchIO is not installed.
    """
    random = np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64)))
    drawn = _draw(changes, random)
    moved = _moved(Augmented(image_hu, organs, label), drawn, outside_hu)
    if not (moved.label == LESION).any():
        moved = Augmented(image_hu, organs, label)
    noise = random.standard_normal(image_hu.shape, np.float32) if drawn.noise_hu else np.float32(0)
    changed = moved.image_hu + np.float32(drawn.shift_hu) + np.float32(drawn.noise_hu) * noise
    return moved._replace(image_hu=changed.astype(np.float32))


def _draw(changes: Changes, random: np.random.Generator) -> _Drawn:
    """Always as many numbers, so that switching one change off leaves the others as they were."""
    turned, about, (size, shift, noise) = random.random(3), random.uniform(-1, 1, 3), random.random(3)
    flipped = tuple(axis for axis, name in enumerate(_AXES) if name in changes.flip and turned[axis] < 0.5)
    z, y, x = (changes.rotate_deg * about).tolist()
    return _Drawn(
        flipped,
        (z, y, x),
        1 + changes.scale * (2 * size - 1),
        changes.shift_hu * (2 * shift - 1),
        changes.noise_hu * noise,
    )


def _moved(crop: Augmented, drawn: _Drawn, outside_hu: float) -> Augmented:
    transforms: list[Any] = []
    if drawn.flipped:
        transforms.append(_torchio().Flip(drawn.flipped))
    if drawn.scale != 1 or any(drawn.degrees):
        transforms.append(
            _torchio().Affine(
                scales=(drawn.scale,) * 3,
                degrees=drawn.degrees,
                translation=(0.0, 0.0, 0.0),
                default_pad_value=outside_hu,
            )
        )
    if not transforms:
        return crop
    tio = _torchio()
    subject = tio.Subject(
        image_hu=tio.ScalarImage(tensor=torch.from_numpy(crop.image_hu.astype(np.float32))[None]),
        organs=tio.LabelMap(tensor=torch.from_numpy(crop.organs.copy())[None]),
        label=tio.LabelMap(tensor=torch.from_numpy(crop.label.copy())[None]),
    )
    with torch.random.fork_rng(devices=[]):  # it draws whether to transform at all, with a probability of 1
        for transform in transforms:
            subject = transform(subject)
    image_hu, *maps = (subject[name].data[0].numpy() for name in Augmented._fields)
    organs, label = (np.rint(values).astype(np.uint8) for values in maps)  # resampled, as float32
    return Augmented(np.ascontiguousarray(image_hu), organs, label)


@cache
def _torchio() -> Any:
    """Imported when something is to be moved: it takes a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies, for its authors
        try:
            import torchio
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"augmentation needs torchio; '{error.name}' is not installed (pip install 'lesionforge[training]')",
                name=error.name,
            ) from error
    return torchio
