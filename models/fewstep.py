"""Ten times fewer evaluations of the same networks: solvers of second order, by diffusers.

DPM-Solver++ 2M (Lu et al. 2022) and UniPC (Zhao et al. 2023) solve DDIM's ODE, end without noise, and are elementwise:
it is all the same to them whether x are latents or voxels, inside a mask or not. Steps lie evenly in log(sigma), that
is in the logarithm of signal to noise; evenly in t, as is usual, they do worse than DDIM (docs/samplers.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from torch import Tensor

from models.diffusion import PUBLISHED, Schedule
from models.noise import Noise
from models.solver import Step


@dataclass(frozen=True, kw_only=True)
class FewStep:
    """diffusers is imported by the first run, for it takes seconds. Raises ValueError where it is not installed."""

    method: Literal["dpm++2m", "unipc"]
    steps: int
    schedule: Schedule = PUBLISHED

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.schedule.steps:
            raise ValueError(f"{self.method} takes 1 to {self.schedule.steps} steps, not {self.steps}")
        if find_spec("diffusers") is None:
            raise ValueError(f"the sampler '{self.method}' is made by diffusers: pip install diffusers, or take 'ddim'")

    @cached_property
    def timesteps(self) -> tuple[int, ...]:
        """Those next to the sigmas, which go evenly, in their logarithm, from the schedule's last to its first."""
        abar = self.schedule.alphas_cumprod
        log_sigmas = 0.5 * np.log((1 - abar) / abar)
        wanted = np.linspace(log_sigmas[-1], log_sigmas[0], self.steps)
        return tuple(int(np.abs(log_sigmas - log_sigma).argmin()) for log_sigma in wanted)

    def scheduler(self) -> Any:
        """A new one of diffusers (untyped): it remembers where it is, and what was predicted before."""
        from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

        made_by: Any = DPMSolverMultistepScheduler if self.method == "dpm++2m" else UniPCMultistepScheduler
        scheduler = made_by(trained_betas=self.schedule.betas, solver_order=2, use_exponential_sigmas=True)
        scheduler.set_timesteps(self.steps)
        scheduler.set_begin_index(0)
        return scheduler

    def begin(self, noise: Noise) -> Step:
        scheduler, timesteps = self.scheduler(), self.timesteps

        def step(index: int, x: Tensor, eps: Tensor) -> Tensor:
            stepped: Tensor = scheduler.step(eps, timesteps[index], x, return_dict=False)[0]
            return stepped

        return step
