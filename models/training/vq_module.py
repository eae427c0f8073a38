"""The VQ-GAN's training: an autoencoder and its two discriminators, by an optimiser each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.layout import vq_state
from models.training.batch import Batch
from models.training.codebook import Reconstruction, codebook_use, reconstruct, restart_codes, unit_latents
from models.training.examples import LESION
from models.training.framework import OptimizerLRScheduler
from models.training.measures import TISSUES_HU, hu_errors, psnr_db, ssim
from models.training.optimiser import adam, scheduled
from models.training.perceptual_weights import load_perceptual
from models.training.pictures import Picture, most_of, side_by_side
from models.training.ranks import over_ranks
from models.training.recipe import Recipe
from models.training.training_module import Best, TrainingModule, nothing_of
from models.training.vq_loss import JudgeTerms, VQLoss, VQTerms
from models.vq import VQ, VQResBlock

_STAND_IN = (1, 1, 16, 16, 16)


class VQModule(TrainingModule):
    """Both optimisers step from the same backward pass: neither loss gives the other's parameters a gradient.

    Lightning is told of the autoencoder's steps alone, so that its global step is that of this training, with
    discriminators or without. It must not accumulate by itself: `recipe.accumulate` batches make a step here. `judges`
    is the state of a loss, as a published checkpoint has it, whose discriminators are to begin with; `fresh` codes are
    where they were drawn, and may all be put elsewhere. Raises CheckpointError for perceptual weights that are missing
    or do not fit, ValueError for such discriminators.
    """

    monitored: ClassVar[tuple[str, Best]] = ("val/hu_error", "min")
    measured = ("psnr_db", "ssim", "hu_error", *(f"hu_error_{tissue}" for tissue in TISSUES_HU))

    def __init__(
        self,
        recipe: Recipe,
        vq: VQ,
        perceptual: Sequence[Path] = (),
        judges: Mapping[str, Tensor] | None = None,
        *,
        fresh: bool = True,
    ) -> None:
        super().__init__(recipe)
        self.automatic_optimization = False
        self.vq, self.loss = vq.requires_grad_(True).train(), VQLoss(recipe.loss)
        if self.loss.perceptual_loss is not None:
            load_perceptual(self.loss.perceptual_loss, perceptual)
        if judges is not None:
            _begin_with(self.loss, judges)
        if recipe.checkpointing:
            _recompute(vq)
        if recipe.compile:
            vq.encoder.compile()
            vq.decoder.compile()
        self.autoencoder_steps: Tensor
        self.register_buffer("autoencoder_steps", torch.zeros((), dtype=torch.int64))
        self.codes_chosen: Tensor  # since they were last restarted, by all ranks
        self.register_buffer("codes_chosen", torch.full((vq.config.codes,), int(not fresh), dtype=torch.int64))
        self.latent_mean: Tensor  # (c), as validation saw it, and the deviation of all channels
        self.latent_std: Tensor
        self.register_buffer("latent_mean", torch.zeros(vq.config.latent_channels))
        self.register_buffer("latent_std", torch.ones(()))
        self._accumulated = 0
        self._codes_met = torch.zeros(vq.config.codes, dtype=torch.int64)
        self._latents_met = torch.zeros(vq.config.latent_channels, 3, dtype=torch.float64)  # how many, sum, squares

    def configure_optimizers(self) -> OptimizerLRScheduler:
        recipe, loss = self.recipe, self.loss.config
        begins = {self.vq: 0} | ({self.loss: loss.adversarial_from_step} if loss.adversarial else {})
        optimisers = [adam(part.parameters(), recipe.rate, adversarial=loss.adversarial) for part in begins]
        falls = [max(1, recipe.steps - begin) if recipe.rate_falls else None for begin in begins.values()]
        return optimisers, [
            scheduled(optimiser, warm_up=recipe.warm_up_steps, falls_until=until)
            for optimiser, until in zip(optimisers, falls, strict=True)
        ]

    def on_train_start(self) -> None:
        self._accumulated = 0

    def training_step(self, batch: Batch, _index: int) -> None:
        step = int(self.autoencoder_steps)
        adversarial, every = self.loss.adversarial(step), self.recipe.restart_codes_every
        if every and step % every == 0 and not self._accumulated:
            self._restart_codes(batch, step)
        self.manual_backward(self._loss(batch, adversarial=adversarial) / self.recipe.accumulate)
        self._accumulated += 1
        if self._accumulated == self.recipe.accumulate:
            self._accumulated = 0
            self._step(adversarial=adversarial)

    def _restart_codes(self, batch: Batch, step: int) -> None:
        """Where latents of the step's first example lie, which the first rank has, however many there are."""
        first = batch.images(self.device)[:1] if self.global_rank == 0 and len(batch) else None
        if float(over_ranks(torch.tensor(float(first is not None), device=self.device))):
            restart_codes(self.vq, self.codes_chosen == 0, first, seed=(self.recipe.seed + step) % 2**64)
            self.codes_chosen.zero_()

    def _loss(self, batch: Batch, *, adversarial: bool) -> Tensor:
        """Of the autoencoder, and of the discriminators where they take part."""
        made, volume, planes = self._reconstructed(batch)
        terms = self.loss.autoencoder(
            volume, made, planes, step=int(self.autoencoder_steps), last_weight=self.vq.decoder.conv_out.weight
        )
        judged = self.loss.discriminators(volume, made.image, planes) if adversarial else None
        total = terms.total + (nothing_of(self.loss.parameters()) if judged is None else judged.total)
        if len(batch):
            self._tell(batch, terms, made, judged)
        if self.recipe.restart_codes_every:
            chosen = torch.bincount(made.indices.flatten(), minlength=len(self.codes_chosen)) * min(1, len(batch))
            self.codes_chosen += over_ranks(chosen)
        return total if len(batch) else 0.0 * total

    def _reconstructed(self, batch: Batch) -> tuple[Reconstruction, Tensor, Tensor]:
        """A rank without examples sends a little air through, for the others wait for it at every sum over ranks."""
        if len(batch):
            volume, planes = batch.images(self.device), batch.planes()
        else:
            volume, planes = torch.zeros(_STAND_IN, device=self.device), torch.zeros(1, dtype=torch.int64)
        volume = volume.to(self.vq.dtype)
        return reconstruct(self.vq, volume), volume, planes

    def _step(self, *, adversarial: bool) -> None:
        (autoencoder, *judges), (rate, *judges_rate) = _listed(self.optimizers()), _listed(self.lr_schedulers())
        autoencoder.step()
        rate.step()
        if adversarial:
            judges[0].optimizer.step()  # past Lightning, which would count it
            judges_rate[0].step()
        for optimiser in (autoencoder, *judges):
            optimiser.zero_grad()
        self.autoencoder_steps += 1

    def _tell(self, batch: Batch, terms: VQTerms, made: Reconstruction, judged: JudgeTerms | None) -> None:
        use = codebook_use(made.indices, self.vq.config.codes)
        told: dict[str, Tensor | float] = {"loss": terms.total.detach(), "perplexity": use.perplexity}
        told |= {name: term for name, term in terms._asdict().items() if name != "total"}
        if judged is not None:
            told |= {"judges": judged.total.detach()}
            told |= {name: term for name, term in judged._asdict().items() if name != "total"}
        self.told(told, batch)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._codes_met.zero_()
        self._latents_met.zero_()

    def measures(self, batch: Batch) -> dict[str, list[float]]:
        volume = batch.images(self.device)
        with torch.no_grad():
            made = reconstruct(self.vq, volume)
        self._codes_met += torch.bincount(made.indices.flatten().cpu(), minlength=len(self._codes_met))
        latents = made.latent.double().movedim(1, 0).flatten(1).cpu()
        self._latents_met += torch.stack([torch.ones_like(latents), latents, latents.square()], dim=1).sum(dim=2)
        pairs = [
            (a.float().cpu(), b.float().cpu().clamp(0, 1)) for a, b in zip(volume[:, 0], made.image[:, 0], strict=True)
        ]
        errors = [hu_errors(*(self.recipe.to_hu(crop.numpy()) for crop in pair)) for pair in pairs]
        return {
            "psnr_db": [psnr_db(*pair) for pair in pairs],
            "ssim": [ssim(*pair) for pair in pairs],
            "hu_error": [error["all"] for error in errors],
            **{f"hu_error_{tissue}": [error[tissue] for error in errors] for tissue in TISSUES_HU},
        }

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        met = self.summed(self._codes_met)
        use = codebook_use(torch.arange(len(met)).repeat_interleave(met), len(met))
        self.log_dict({"val/perplexity": use.perplexity, "val/codes_used": float(use.used)}, sync_dist=True)
        count, total, squares = self.summed(self._latents_met).T
        if int(count[0]):
            mean = total / count
            self.latent_mean.copy_(mean)
            self.latent_std.copy_((squares / count - mean.square()).mean().sqrt())

    @torch.no_grad()
    def pictures(self, batch: Batch) -> dict[str, Picture]:
        if not len(batch):
            return {}
        images = reconstruct(self.vq, batch.images(self.device)).image[:, 0].float().cpu().numpy()
        made = {}
        for number, (example, image) in enumerate(zip(batch.examples, images, strict=True)):
            lesion = example.label.numpy() == LESION
            made[str(number)] = side_by_side([example.image[0].numpy(), image, lesion], most_of(lesion))
        return made

    def published_state(self) -> dict[str, Tensor]:
        state = self.vq.state_dict()
        if self.recipe.unit_latents:
            state = unit_latents(state, self.latent_mean, self.latent_std)
        return vq_state(state, self.loss.state_dict())


def _listed(found: Any) -> list[Any]:
    """Lightning gives the only one as it is."""
    return found if isinstance(found, list) else [found]


def _begin_with(loss: VQLoss, judges: Mapping[str, Tensor]) -> None:
    wanted = {name: tensor.shape for name, tensor in loss.state_dict().items() if "_discriminator." in name}
    for name, shape in wanted.items():
        if name not in judges or judges[name].shape != shape:
            found = f"of shape {tuple(judges[name].shape)}" if name in judges else "missing"
            raise ValueError(f"the discriminators to begin with: '{name}' is {found}, {tuple(shape)} is wanted")
    loss.load_state_dict({name: judges[name] for name in wanted}, strict=False)


def _recompute(vq: VQ) -> None:
    """Of its residual blocks, which hold nearly all of the activations, only the input is kept until backward."""
    for module in vq.modules():
        if isinstance(module, VQResBlock):
            module.forward = partial(_recomputed, module.forward)  # type: ignore[method-assign]


def _recomputed(forward: Any, x: Tensor, slab_values: int | None) -> Tensor:
    if not torch.is_grad_enabled():
        there: Tensor = forward(x, slab_values)
        return there
    later: Tensor = checkpoint(forward, x, slab_values, use_reentrant=False)
    return later
