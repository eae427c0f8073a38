"""The noise schedule and DDIM's tables against the reference's, bit by bit where they are stored as such."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from golden import Case, Golden
from models.ddim import DDIM
from models.diffusion import PUBLISHED, Noising, guided

SIGMA_TOLERANCE = 5e-8
HALF_SIGMA_TOLERANCE = 2e-4  # the reference divides in float16, we in float64
CRASHING = {3, 9, 27, 36, 37, *range(101, 112), *range(251, 334), *range(501, 1001)}  # counts, in the reference


@pytest.fixture(scope="module")
def schedule(golden: Golden) -> Case:
    return golden.case("schedule")


def test_buffers_of_a_checkpoint(schedule: Case, golden: Golden) -> None:
    buffers = PUBLISHED.buffers()
    saved = [key for key in golden.manifest("linet_ckpt") if key in buffers]
    assert list(buffers) == saved
    assert len(buffers) == 12
    for name, buffer in buffers.items():
        assert torch.equal(buffer, schedule[f"buf.{name}"]), name


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [10, 50, 200, 250])
def test_ddim_tables(schedule: Case, steps: int, eta: float) -> None:
    assert _differs(DDIM(steps=steps, eta=eta), schedule, f"S{steps}_eta{eta}") < SIGMA_TOLERANCE


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [10, 200])
def test_ddim_tables_in_half(schedule: Case, steps: int, eta: float) -> None:
    ddim = DDIM(steps=steps, eta=eta, half=True)
    assert _differs(ddim, schedule, f"half_S{steps}_eta{eta}") < HALF_SIGMA_TOLERANCE
    assert bool((1 - ddim.tables.abar_prev >= ddim.tables.sigma**2).all()), "the root of a negative number"


def _differs(ddim: DDIM, schedule: Case, prefix: str) -> float:
    """All tables equal but for sigma: its largest difference. Stored smallest t first, ours largest first."""

    def stored(name: str) -> np.ndarray[tuple[int], np.dtype[np.floating]]:
        return schedule.arrays[f"{prefix}.ddim_{name}"][::-1]

    assert ddim.timesteps == tuple(stored("timesteps"))
    np.testing.assert_array_equal(ddim.tables.abar, stored("alphas"))
    np.testing.assert_array_equal(ddim.tables.abar_prev, stored("alphas_prev"))
    np.testing.assert_array_equal(ddim.tables.root, stored("sqrt_one_minus_alphas"))
    return float(np.abs(ddim.tables.sigma - stored("sigmas")).max())


def test_counts_that_crash_the_reference_are_refused_and_no_other() -> None:
    def refused(steps: int) -> bool:
        try:
            DDIM(steps=steps)
        except ValueError:
            return True
        return False

    assert {steps for steps in range(1, 1001) if refused(steps)} == CRASHING


@pytest.mark.parametrize(
    ("steps", "nearest"), [(3, "2 or 4"), (105, "100 or 112"), (300, "250 or 334"), (1000, "500"), (0, "1"), (-5, "1")]
)
def test_a_refused_count_names_the_nearest(steps: int, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"{steps} steps of DDIM .*: {nearest}$"):
        DDIM(steps=steps)


def test_a_count_that_does_not_divide_gives_more_steps() -> None:
    assert len(DDIM(steps=7).timesteps) == 8
    assert len(DDIM(steps=200).timesteps) == 200
    assert DDIM(steps=200).timesteps[-2:] == (6, 1)


def test_eta_outside_its_range() -> None:
    with pytest.raises(ValueError, match=r"eta is 1\.5"):
        DDIM(eta=1.5)


def test_velocity_is_how_x_changes_along_the_circle_of_signal_and_noise() -> None:
    x0, eps = torch.randn(2, 3, 1, 2, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    angles = torch.linspace(0, torch.pi / 2, 100_001, dtype=torch.float64)
    circle, t = Noising(angles.cos(), angles.sin()), torch.tensor([1, 40_000, 99_999])
    ahead, behind = circle(x0, eps, t + 1), circle(x0, eps, t - 1)
    velocity = circle.velocity(x0, eps, t)
    torch.testing.assert_close(velocity, (ahead - behind) / float(angles[2]), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(circle.noise_in(circle(x0, eps, t), velocity, t), eps)


def test_guidance_and_what_it_costs() -> None:
    calls: list[str] = []
    x, t = torch.randn(2, 1, 2, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 5])

    def with_context(x: Tensor, t: Tensor) -> Tensor:
        calls.append("c")
        return 2 * x

    def without(x: Tensor, t: Tensor) -> Tensor:
        calls.append("u")
        return x + 1

    torch.testing.assert_close(guided(with_context, without, 3.0)(x, t), (x + 1) + 3 * (2 * x - (x + 1)))
    assert sorted(calls) == ["c", "u"]
    calls.clear()
    torch.testing.assert_close(guided(with_context, without, 1.0)(x, t), 2 * x)
    torch.testing.assert_close(guided(with_context, without, 0.0)(x, t), x + 1)
    assert calls == ["c", "u"]
