"""The noise that LMNet and LINet were trained to see, and what a network says of it.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps for t = 0..999 (Ho et al. 2020, eq. 4); the published networks predict
eps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""x_t (b c z y x) float32 and t (b) int64 -> eps (b c z y x). Conditions and the network's dtype are its own affair."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Variances of the added noise, their square roots rising evenly ("scaled linear"). float64; t runs from 0."""

    steps: int = 1000
    first_beta: float = 0.0015
    last_beta: float = 0.0195

    @property
    def betas(self) -> NDArray[np.floating]:
        """(steps)"""
        return np.linspace(self.first_beta**0.5, self.last_beta**0.5, self.steps) ** 2

    @property
    def alphas_cumprod(self) -> NDArray[np.float64]:
        """abar_t (steps): the share of x_0 in the variance of x_t."""
        return np.cumprod(1.0 - self.betas)

    def buffers(self) -> dict[str, Tensor]:
        """The twelve of a published checkpoint, in its order, float32 (steps)."""
        betas, abar = self.betas, self.alphas_cumprod
        abar_prev = np.append(1.0, abar[:-1])
        variance = betas * (1.0 - abar_prev) / (1.0 - abar)  # of q(x_{t-1} | x_t, x_0): Ho et al. 2020, eq. 7
        values = {
            "betas": betas,
            "alphas_cumprod": abar,
            "alphas_cumprod_prev": abar_prev,
            "sqrt_alphas_cumprod": np.sqrt(abar),
            "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - abar),
            "log_one_minus_alphas_cumprod": np.log(1.0 - abar),
            "sqrt_recip_alphas_cumprod": np.sqrt(1.0 / abar),
            "sqrt_recipm1_alphas_cumprod": np.sqrt(1.0 / abar - 1.0),
            "posterior_variance": variance,
            "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
            "posterior_mean_coef1": betas * np.sqrt(abar_prev) / (1.0 - abar),
            "posterior_mean_coef2": (1.0 - abar_prev) * np.sqrt(1.0 - betas) / (1.0 - abar),
        }
        return {name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()}


PUBLISHED = Schedule()
"""Of LMNet.ckpt and LINet.ckpt."""


@dataclass(frozen=True)
class Noising:
    """x_t, and what its parts are to one another, from tables of sqrt(abar_t) and sqrt(1 - abar_t) (steps), float32.

    The velocity is v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans & Ho 2022, section 4). A network that tells v
    is as sure of x_0 at every t; one that tells eps has to be exact to the size of the signal, where that is faint.
    All take (b c z y x) and steps (b), int64.
    """

    signal: Tensor
    noise: Tensor

    @classmethod
    def of(cls, schedule: Schedule = PUBLISHED, device: torch.device | str = "cpu") -> Noising:
        buffers = schedule.buffers()
        return cls(
            buffers["sqrt_alphas_cumprod"].to(device),
            buffers["sqrt_one_minus_alphas_cumprod"].to(device),
        )

    def __call__(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t."""
        return _each(self.signal, t) * x0 + _each(self.noise, t) * eps

    def velocity(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return _each(self.signal, t) * eps - _each(self.noise, t) * x0

    def noise_in(self, x: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """eps of x_t and its velocity."""
        return _each(self.noise, t) * x + _each(self.signal, t) * velocity


def _each(table: Tensor, t: Tensor) -> Tensor:
    return table[t].view(-1, 1, 1, 1, 1)


def guided(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """eps_u + scale (eps_c - eps_u): Ho & Salimans 2022, eq. 6, where scale is their 1 + w.

    1 leaves the condition as it was learned, 0 leaves it out; neither evaluates the network twice.
    """
    if scale == 1.0:
        return conditional
    if scale == 0.0:
        return unconditional

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        without = unconditional(x, t).float()
        return without + scale * (conditional(x, t).float() - without)

    return denoise
