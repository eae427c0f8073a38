"""Distributions for which the prediction of a network that has learned everything is known in closed form.

For a mixture of Gaussians, x_t = sqrt(a) x_0 + sqrt(1 - a) eps is a mixture too, with means sqrt(a) m_k and covariances
C_k = a S_k + (1 - a) I. So E[eps | x_t] = sqrt(1 - a) sum_k r_k C_k^-1 (x_t - sqrt(a) m_k), where r_k is the posterior
probability of component k; it is also -sqrt(1 - a) times the score of x_t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_GRID = 2048  # points of an integral over a projection: a sharp mode is twenty of them wide


@dataclass(frozen=True)
class Mixture:
    """k Gaussians over d coordinates: `log_weights` (n k), `means` (n k d), `covariances` (k d d), all float32.

    n is 1, or a row may have weights and means of its own.
    """

    log_weights: Tensor
    means: Tensor
    covariances: Tensor

    def draw(self, rows: int, generator: torch.Generator) -> Tensor:
        """(rows d)"""
        component = torch.multinomial(self.log_weights.exp().expand(rows, -1), 1, generator=generator)[:, 0]
        means = self.means.expand(rows, -1, -1)[torch.arange(rows), component]
        normal = torch.randn(means.shape, generator=generator)
        return means + (torch.linalg.cholesky(self.covariances)[component] @ normal[:, :, None])[:, :, 0]

    def eps(self, x: Tensor, abar: float) -> Tensor:
        """E[eps | x_t], (n d) -> (n d)."""
        noisy = abar * self.covariances.double() + (1 - abar) * torch.eye(x.shape[1])
        away = (x[:, None] - abar**0.5 * self.means).transpose(0, 1)  # (k n d)
        pulls = away @ torch.linalg.inv(noisy).float()
        log_posterior = self.log_weights.T - 0.5 * ((away * pulls).sum(-1) + torch.logdet(noisy).float()[:, None])
        return (1 - abar) ** 0.5 * (torch.softmax(log_posterior, dim=0)[:, :, None] * pulls).sum(0)

    def given(self, known: Tensor) -> Mixture:
        """Of the first coordinates, the last being known, (n j): Bishop 2006, eq. 2.81 and 2.82, and Bayes' rule."""
        first = self.means.shape[-1] - known.shape[-1]
        u, v, s = slice(first), slice(first, None), self.covariances
        away = known[:, None] - self.means[..., v]  # (n k j)
        pulls = torch.einsum("nkj,kji->nki", away, torch.linalg.inv(s[:, v, v]))
        log_weights = self.log_weights - 0.5 * ((away * pulls).sum(-1) + torch.logdet(s[:, v, v]))
        means = self.means[..., u] + torch.einsum("kuj,nkj->nku", s[:, u, v], pulls)
        left = s[:, u, u] - s[:, u, v] @ torch.linalg.solve(s[:, v, v], s[:, v, u])
        return Mixture(torch.log_softmax(log_weights, dim=1), means, left)

    def distance(self, samples: Tensor, directions: Tensor) -> float:
        """Energy distance of samples (n d) to this mixture, in the samples' unit; directions are (d m), of length 1.

        Root of the mean, over directions, of 2 int (F_n - F)^2 (Szekely & Rizzo 2013, section 2), where F, the
        distribution of the projected mixture, is exact. So the noise is that of `samples` alone.
        """
        squares = [
            self._squared_distance(projected, direction.double())
            for projected, direction in zip((samples @ directions).T, directions.T, strict=True)
        ]
        return (sum(squares) / len(squares)) ** 0.5

    def _squared_distance(self, projected: Tensor, direction: Tensor) -> float:
        means = self.means[0].double() @ direction
        deviations = torch.einsum("i,kij,j->k", direction, self.covariances.double(), direction).sqrt()
        low = torch.minimum(projected.min(), (means - 5 * deviations).min())
        high = torch.maximum(projected.max(), (means + 5 * deviations).max())
        at = torch.linspace(float(low), float(high), _GRID, dtype=torch.float64)
        exact = torch.special.ndtr((at[:, None] - means) / deviations) @ self.log_weights[0].double().exp()
        found = torch.searchsorted(projected.double().sort().values, at, right=True) / len(projected)
        return 2 * float(torch.trapezoid((found - exact).square(), at))


def unit_directions(coordinates: int, count: int, seed: int) -> Tensor:
    """(coordinates count)"""
    normal = torch.randn(coordinates, count, generator=torch.Generator().manual_seed(seed))
    return normal / normal.norm(dim=0)


def latent_like() -> Mixture:
    """Four coordinates about zero, of about unit spread, six overlapping components of any orientation: latents."""
    generator = torch.Generator().manual_seed(1)
    means = 0.9 * torch.randn(6, 4, generator=generator)
    factors = 0.25 * torch.randn(6, 4, 4, generator=generator)
    weights = 0.2 + torch.rand(6, generator=generator)
    weights /= weights.sum()
    covariances = factors @ factors.mT + 0.01 * torch.eye(4)
    return Mixture(weights.log()[None], (means - weights @ means)[None], covariances)


def mask_like() -> Mixture:
    """Four neighbouring voxels of a mask: 0 or 1, give or take 0.03, and seldom unlike their neighbours."""
    rows = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 0]])
    weights = torch.tensor([0.35, 0.25, 0.15, 0.1, 0.1, 0.05])
    return Mixture(weights.log()[None], rows.float()[None], (0.03**2 * torch.eye(4)).expand(6, 4, 4))
