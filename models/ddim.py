"""DDIM as the reference runs it (Song et al. 2021): its choice of steps, and its end on step 0's noise instead of none.

With c = 1000 // steps it visits t = 1, 1 + c, 1 + 2c, ... up to 1000. So there may be more evaluations than were asked
for (of 7, 8: `timesteps` tells), and where c divides 999 the last would lie off the schedule, which is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion import PUBLISHED, Schedule
from models.noise import Noise
from models.solver import Step


@dataclass(frozen=True)
class DDIMTables:
    """Coefficients of the steps, largest t first (s): abar_t, abar_{t-1}, sigma_t, sqrt(1 - abar_t) of Song et al."""

    abar: NDArray[np.floating]
    abar_prev: NDArray[np.float64]
    sigma: NDArray[np.float64]
    root: NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class DDIM:
    """`eta` 0 solves an ODE, 1 adds as much noise at every step, the last too, as DDPM does.

    `half` takes the coefficients from a schedule rounded to float16, as the released inference does.
    Raises ValueError for a number of steps that would leave the schedule.
    """

    steps: int = 200
    eta: float = 1.0
    half: bool = False
    schedule: Schedule = PUBLISHED

    def __post_init__(self) -> None:
        _refuse_off_schedule(self.steps, self.schedule.steps)
        if not 0.0 <= self.eta <= 1.0:
            raise ValueError(f"eta is {self.eta:g}; it goes from 0 (no noise) to 1 (as much as DDPM adds)")

    @cached_property
    def timesteps(self) -> tuple[int, ...]:
        """Falling."""
        return tuple(reversed(_visited(self.steps, self.schedule.steps)))

    @cached_property
    def tables(self) -> DDIMTables:
        """Song et al. 2021, eq. 16; made, as in the reference, of the rounded buffer and not of what it was made of."""
        stored = self.schedule.alphas_cumprod.astype(np.float32)
        if self.half:
            stored = stored.astype(np.float16)
        t = np.array(self.timesteps)
        abar, abar_prev = stored[t], stored[np.append(t[1:], 0)].astype(np.float64)
        sigma = self.eta * np.sqrt((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev))
        return DDIMTables(abar, abar_prev, sigma, np.sqrt(1 - abar))

    def begin(self, noise: Noise) -> Step:
        tables = self.tables

        def step(index: int, x: Tensor, eps: Tensor) -> Tensor:
            """Song et al. 2021, eq. 12."""
            abar, root = float(tables.abar[index]), float(tables.root[index])
            abar_prev, sigma = float(tables.abar_prev[index]), float(tables.sigma[index])
            x0 = (x - root * eps) / abar**0.5
            x = abar_prev**0.5 * x0 + (1 - abar_prev - sigma**2) ** 0.5 * eps
            return x if sigma == 0 else x + sigma * noise.draw(index + 1)

        return step


def _visited(steps: int, trained: int) -> range:
    return range(1, trained + 1, trained // steps)


def _on_schedule(steps: int, trained: int) -> bool:
    return 0 < steps <= trained and _visited(steps, trained)[-1] < trained


def _refuse_off_schedule(steps: int, trained: int) -> None:
    if _on_schedule(steps, trained):
        return
    fewer = next((n for n in range(min(steps, trained), 0, -1) if _on_schedule(n, trained)), None)
    more = next((n for n in range(max(steps, 1), trained) if _on_schedule(n, trained)), None)
    nearest = " or ".join(f"{n}" for n in (fewer, more) if n is not None)
    raise ValueError(f"{steps} steps of DDIM would leave the schedule of {trained}; the nearest that do not: {nearest}")
