"""LMNet's training: to draw a lesion's mask."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.crops import Crop
from models.diffusion import PUBLISHED
from models.lmnet import Drawing, LMNet, MaskRequest
from models.training.batch import Batch, Example
from models.training.diffusion_module import DiffusionModule
from models.training.examples import LMNetExample, lmnet_example
from models.training.measures import dice, volume_error
from models.training.objectives import lmnet_input, lmnet_losses
from models.training.pictures import Picture, most_of, side_by_side
from models.training.training_module import Best, nothing_of

_ORGANS, _HOST, _BOX = range(3)
_HALF = 0.5


class LMNetModule(DiffusionModule):
    """Best is the one whose masks, of the average and drawn as when it is used, are most like the true ones."""

    monitored: ClassVar[tuple[str, Best]] = ("val/dice", "max")
    measured = ("loss", "dice", "volume_error")

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        if not len(batch):
            return nothing_of(self.parameters())
        loss = self._losses(batch, [_shape_of(example) for example in batch.examples], dropping=True).mean()
        self.told({"loss": loss.detach()}, batch)
        return loss

    def _losses(self, batch: Batch, shapes: list[LMNetExample], *, dropping: bool) -> Tensor:
        """(b)"""
        mask = torch.stack([shape.mask for shape in shapes]).to(self.device)
        conditions = torch.stack([shape.conditions for shape in shapes]).to(self.device)
        eps, t = batch.noise(mask.shape[1:], self.device), batch.timesteps(PUBLISHED.steps, self.device)
        texts = [example.mask_text for example in batch.examples]
        seen = lmnet_input(self.noising()(mask, eps, t), conditions)
        told = self.output(seen, t, self.heard(texts, batch) if dropping else texts)
        return lmnet_losses(self.to_tell(mask, eps, t), told, conditions[:, _BOX:])

    def measures(self, batch: Batch) -> dict[str, list[float]]:
        """A sample that shows no lesion has Dice 0 and all of the volume missing.

        Masks are cut to the volume asked for, so its error is that of the sample itself, above one half in the box.
        """
        shapes = [_shape_of(example) for example in batch.examples]
        with self.averaged():
            losses = self._losses(batch, shapes, dropping=False)
            drawings = self._drawn(batch, shapes)
        pairs = [(_mask_of(shape), _voxels(drawing, shape)) for shape, drawing in zip(shapes, drawings, strict=True)]
        return {
            "loss": [float(loss) for loss in losses],
            "dice": [dice(true, drawn) for true, drawn in pairs],
            "volume_error": [
                volume_error(_mask_of(shape), _above_half(drawing, shape))
                for shape, drawing in zip(shapes, drawings, strict=True)
            ],
        }

    def pictures(self, batch: Batch) -> dict[str, Picture]:
        shapes = [_shape_of(example) for example in batch.examples]
        with self.averaged():
            drawings = self._drawn(batch, shapes)
        made = {}
        for number, (example, shape, drawing) in enumerate(zip(batch.examples, shapes, drawings, strict=True)):
            true = _mask_of(shape)
            sample = np.zeros(true.shape, np.float32) if drawing is None else drawing.sample
            panels = [example.image[0].numpy(), sample, _voxels(drawing, shape), true]
            made[str(number)] = side_by_side(panels, most_of(true))
        return made

    def _drawn(self, batch: Batch, shapes: list[LMNetExample]) -> list[Drawing | None]:
        """With the true mask's box, and its volume asked for."""
        if not shapes:
            return []
        network = LMNet(self.unet, self.sampler(), self.text_here(), clip=self.recipe.clip)
        return network.draw(
            [
                MaskRequest(
                    organ_ids=example.organs.numpy(),
                    host=shape.conditions[_HOST].numpy() > 0,
                    box=shape.conditions[_BOX].numpy() > 0,
                    attributes=example.mask_text,
                    volume_vox=float(shape.mask.sum()),
                    seed=example.seed,
                )
                for example, shape in zip(batch.examples, shapes, strict=True)
            ]
        )

    def published_state(self) -> dict[str, Tensor]:
        return self.published()


def _shape_of(example: Example) -> LMNetExample:
    label, organs = example.label.numpy(), example.organs.numpy()
    z, y, x = label.shape
    return lmnet_example(organs, label, Crop((0, 0, 0), (z, y, x)), example.hosts)


def _mask_of(shape: LMNetExample) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = shape.mask[0].numpy() > 0
    return mask


def _above_half(drawing: Drawing | None, shape: LMNetExample) -> NDArray[np.bool_]:
    if drawing is None:
        return np.zeros_like(_mask_of(shape))
    return (drawing.sample > _HALF) & (shape.conditions[_BOX].numpy() > 0)


def _voxels(drawing: Drawing | None, shape: LMNetExample) -> NDArray[np.bool_]:
    return np.zeros_like(_mask_of(shape)) if drawing is None else drawing.mask.voxels
