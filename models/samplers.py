"""From noise to data with a network that predicts noise; inside a mask, where all around it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor

from models.ddim import DDIM
from models.diffusion import PUBLISHED, Denoiser, Schedule
from models.fewstep import FewStep
from models.noise import Noise
from models.solver import Solver

SAMPLERS = ("ddim", "dpm++2m", "unipc")

Watch = Callable[[int, int, Tensor], None]
"""Told after each step: steps done, of how many, x (b c z y x)."""


@dataclass(frozen=True)
class Known:
    """What inpainting leaves as it is: `z0` (b c z y x) float32 wherever `mask`, bool (b 1 z y x), is False.

    The networks were trained beside clean surroundings, so no noise is added to z0 (unlike RePaint).
    """

    z0: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise ValueError(f"the mask is {self.mask.dtype}, bool is wanted")
        if self.mask.ndim != self.z0.ndim or self.mask.shape[2:] != self.z0.shape[2:]:
            raise ValueError(f"a mask of {tuple(self.mask.shape)} does not lie on z0 of {tuple(self.z0.shape)}")

    def around(self, x: Tensor) -> Tensor:
        """x inside, z0 outside, bit by bit."""
        return torch.where(self.mask, x, self.z0)


@dataclass(frozen=True)
class Range:
    """What clean data lie between: scalars, or tensors that broadcast to (b c z y x)."""

    low: Tensor
    high: Tensor

    def to(self, device: torch.device) -> Range:
        return Range(self.low.to(device), self.high.to(device))

    def held(self, x: Tensor, eps: Tensor, abar: float) -> Tensor:
        """The noise of x_t (b c z y x) that leaves x_0 in the range; `eps` where it does. Ho et al. 2020, section 3.2.

        A small error of the noise is a large one of x_0 where there is little signal; out of the range, the network has
        never seen what comes next.
        """
        signal, noise = abar**0.5, (1 - abar) ** 0.5
        x0 = (x - noise * eps) / signal
        clean = x0.clamp(self.low.to(x), self.high.to(x))
        return torch.where(clean == x0, eps, (x - signal * clean) / noise)


@dataclass(frozen=True)
class Sampler:
    """Runs a solver. Holds no state: one sampler serves any number of runs, also at once."""

    solver: Solver

    @property
    def evaluations(self) -> int:
        """Of the network, a run. DDIM's may be more than the steps it was asked for."""
        return len(self.solver.timesteps)

    @torch.no_grad()
    def __call__(
        self,
        denoise: Denoiser,
        noise: Noise,
        known: Known | None = None,
        watch: Watch | None = None,
        within: Range | None = None,
    ) -> Tensor:
        """Samples (b c z y x), float32, on the noise's device. Raises ValueError where shapes disagree."""
        x = noise.draw(0)
        if known is not None and known.z0.shape != x.shape:
            raise ValueError(f"noise of {tuple(x.shape)} does not fit z0 of {tuple(known.z0.shape)}")
        step = self.solver.begin(noise)
        for index, timestep in enumerate(self.solver.timesteps):
            x = x if known is None else known.around(x)
            eps = denoise(x, torch.full((len(x),), timestep, dtype=torch.int64, device=x.device))
            if eps.shape != x.shape:
                raise ValueError(f"the network's noise is {tuple(eps.shape)}, {tuple(x.shape)} is wanted")
            eps = eps.float()
            if within is not None:
                eps = within.held(x, eps, float(self.solver.schedule.alphas_cumprod[timestep]))
            x = step(index, x, eps)
            if watch is not None:
                watch(index + 1, self.evaluations, x)
        return x if known is None else known.around(x)


def make_sampler(
    name: str = "unipc",
    steps: int = 15,
    *,
    eta: float | None = None,
    half: bool = False,
    schedule: Schedule = PUBLISHED,
) -> Sampler:
    """The default is nearer to the truth than 200 steps of DDIM where the truth is known (docs/samplers.md).

    `eta` (1 unless told otherwise) and `half` are DDIM's alone. Raises ValueError, saying what would be right.
    """
    if name in ("dpm++2m", "unipc") and (half or eta is not None):
        raise ValueError(f"eta and half belong to 'ddim'; '{name}' has neither")
    match name:
        case "ddim":
            return Sampler(DDIM(steps=steps, eta=1.0 if eta is None else eta, half=half, schedule=schedule))
        case "dpm++2m" | "unipc":
            return Sampler(FewStep(method=name, steps=steps, schedule=schedule))
    nearest = get_close_matches(name.lower(), SAMPLERS, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    raise ValueError(f"no sampler '{name}', there is {', '.join(SAMPLERS)}{hint}")
