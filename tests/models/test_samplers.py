"""Samplers: DDIM against the reference's runs, every one against distributions known in closed form, and manners."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.mixtures import Mixture, latent_like, mask_like, unit_directions
from golden import Golden, error, unet_config
from models.ddim import DDIM
from models.diffusion import PUBLISHED, Denoiser
from models.fewstep import FewStep
from models.noise import SeededNoise
from models.samplers import SAMPLERS, Known, Range, Sampler, make_sampler
from models.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

TOLERANCE = 2e-5  # a tenth of what the stored tensors allow
ABAR = PUBLISHED.alphas_cumprod
EVERY_SAMPLER = pytest.mark.parametrize(
    "sampler",
    [
        make_sampler("ddim", 20, eta=0.0),
        make_sampler("ddim", 20, eta=1.0),
        make_sampler("dpm++2m", 8),
        make_sampler("unipc", 8),
    ],
    ids=["ddim-0", "ddim-1", "dpm++2m", "unipc"],
)


@dataclass(frozen=True)
class Recorded:
    """The reference's draws."""

    x_T: Tensor  # noqa: N815 # as it is called
    noise: Tensor

    def draw(self, number: int) -> Tensor:
        return self.x_T if number == 0 else self.noise[number - 1]


@dataclass(frozen=True)
class Run:
    """A run of DDIM, and what came between: entry 0 is x_T, as in the stored tensors."""

    sample: Tensor
    x: list[Tensor]
    x0: list[Tensor]


def run_ddim(eta: float, denoise: Denoiser, noise: Recorded, known: Known | None = None) -> Run:
    x, x0 = [noise.x_T], [noise.x_T]

    def watched(x_t: Tensor, t: Tensor) -> Tensor:
        eps, abar = denoise(x_t, t), float(ABAR[int(t[0])])
        x0.append((x_t - (1 - abar) ** 0.5 * eps) / abar**0.5)
        return eps

    sampler = make_sampler("ddim", 10, eta=eta)
    sample = sampler(watched, noise, known, watch=lambda done, total, now: x.append(now))
    return Run(sample, x, x0)


@pytest.mark.parametrize("eta", [0, 1])
def test_reference_lmnet(golden: Golden, eta: int) -> None:
    case = golden.case("ddim_lmnet")
    unet = UNet(unet_config(case.config["unet_params"])).eval()
    unet.load_state_dict(golden.case("unet_lmnet").weights)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        made: Tensor = unet(torch.cat([x, case["cond3"]], dim=1), t, case["context"])
        return made

    run = run_ddim(float(eta), denoise, Recorded(case["x_T"], case["noise"]))
    assert error(run.sample, case[f"sample_eta{eta}"]) < TOLERANCE
    assert error(torch.stack(run.x), case[f"x_inter_eta{eta}"]) < TOLERANCE
    assert error(torch.stack(run.x0), case[f"pred_x0_eta{eta}"]) < TOLERANCE


@pytest.mark.parametrize("eta", [0, 1])
@pytest.mark.parametrize("name", ["linet_ctx", "linet_skip"])
def test_reference_linet(golden: Golden, name: str, eta: int) -> None:
    case, given = golden.case(f"ddim_{name}"), golden.case("ddim_linet_ctx")
    unet = UNet(unet_config(case.config["unet_params"])).eval()
    unet.load_state_dict(golden.case(f"unet_{name}").weights)
    context = given["context"] if name == "linet_ctx" else None
    mask = given["mask"]

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        made: Tensor = unet(torch.cat([x, mask], dim=1), t, context)
        return made[:, :4]

    known = Known(given["z0"], mask.bool())
    run = run_ddim(float(eta), denoise, Recorded(given["x_T"], given["noise"]), known)
    stored = case["inter_steps"].tolist()
    assert error(torch.cat([run.sample, mask], dim=1), case[f"sample_eta{eta}"]) < TOLERANCE
    assert error(torch.stack([run.x[i] for i in stored]), case[f"x_inter_eta{eta}"]) < TOLERANCE
    assert error(torch.stack([run.x0[i] for i in stored]), case[f"pred_x0_eta{eta}"]) < TOLERANCE


# --- exact targets -------------------------------------------------------------------------------------------------

LESIONS, ROWS, WIDTH, PAINTED = 8, 1024, 4, 2
SHAPE = (1, 32, 32, WIDTH)
DIRECTIONS = unit_directions(WIDTH, 24, seed=3)
CLOSE = 1.5  # times the distance of draws without any error
EVERY_METHOD = pytest.mark.parametrize(
    "sampler",
    [
        make_sampler("ddim", 200, eta=0.0),
        make_sampler("ddim", 200, eta=1.0),
        make_sampler("dpm++2m", 25),
        make_sampler("unipc", 20),
    ],
    ids=["ddim-0", "ddim-1", "dpm++2m", "unipc"],
)


def of_rows(mixture: Mixture, painted: int = WIDTH) -> Denoiser:
    """The exact prediction for rows along x; where nothing is to be painted it says nonsense."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        rows = x.reshape(-1, WIDTH)
        eps = torch.full_like(rows, 1e3)
        eps[:, :painted] = mixture.eps(rows[:, :painted], float(ABAR[int(t[0])]))
        return eps.reshape(x.shape)

    return denoise


def half_known(target: Mixture) -> Known:
    z0 = target.draw(LESIONS * ROWS, torch.Generator().manual_seed(77)).reshape(LESIONS, *SHAPE)
    mask = torch.zeros(LESIONS, *SHAPE, dtype=torch.bool)
    mask[..., :PAINTED] = True
    return Known(z0, mask)


def floor(target: Mixture) -> float:
    exact = [target.draw(LESIONS * ROWS, torch.Generator().manual_seed(seed)) for seed in range(4)]
    return float(np.mean([target.distance(rows, DIRECTIONS) for rows in exact]))


def rows_of(sampler: Sampler, target: Mixture, known: Known | None = None) -> Tensor:
    mixture = target if known is None else target.given(known.z0.reshape(-1, WIDTH)[:, PAINTED:])
    denoise = of_rows(mixture, WIDTH if known is None else PAINTED)
    return sampler(denoise, SeededNoise(range(LESIONS), SHAPE), known).reshape(-1, WIDTH)


@EVERY_METHOD
def test_reaches_the_target(sampler: Sampler) -> None:
    target = latent_like()
    assert target.distance(rows_of(sampler, target), DIRECTIONS) < CLOSE * floor(target)


@EVERY_METHOD
@pytest.mark.parametrize("target", [latent_like(), mask_like()], ids=["latents", "masks"])
def test_reaches_the_target_beside_what_is_known(sampler: Sampler, target: Mixture) -> None:
    known = half_known(target)
    painted = rows_of(sampler, target, known)
    assert torch.equal(painted[:, PAINTED:], known.z0.reshape(-1, WIDTH)[:, PAINTED:])
    assert target.distance(painted, DIRECTIONS) < CLOSE * floor(target)


@EVERY_METHOD
def test_the_distance_sees_a_coefficient_that_is_two_percent_off(sampler: Sampler) -> None:
    target = latent_like()
    exact = of_rows(target)
    rows = sampler(lambda x, t: 1.02 * exact(x, t), SeededNoise(range(LESIONS), SHAPE)).reshape(-1, WIDTH)
    assert target.distance(rows, DIRECTIONS) > CLOSE * floor(target)


def test_given_is_the_conditional_distribution() -> None:
    """Bayes' rule: the log density ratio of two completions is the joint's."""
    target = latent_like()
    known = torch.tensor([[0.3, -0.4]])
    conditional = target.given(known)

    def log_density(mixture: Mixture, x: Tensor) -> Tensor:
        parts = torch.distributions.MultivariateNormal(mixture.means[0], mixture.covariances).log_prob(x)
        return torch.logsumexp(mixture.log_weights[0] + parts, dim=0)

    one, other = torch.tensor([0.5, 0.1]), torch.tensor([-0.7, 0.8])
    joint = [log_density(target, torch.cat([half, known[0]])) for half in (one, other)]
    torch.testing.assert_close(
        log_density(conditional, one) - log_density(conditional, other), joint[0] - joint[1], atol=1e-3, rtol=1e-4
    )


def test_eps_is_the_score() -> None:
    target, abar = latent_like(), 0.6
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(4)).requires_grad_()
    noisy = abar * target.covariances + (1 - abar) * torch.eye(4)
    with torch.enable_grad():
        parts = torch.distributions.MultivariateNormal(abar**0.5 * target.means[0], noisy).log_prob(x[:, None])
        (score,) = torch.autograd.grad(torch.logsumexp(target.log_weights + parts, dim=1).sum(), x)
    torch.testing.assert_close(target.eps(x.detach(), abar), -((1 - abar) ** 0.5) * score, atol=1e-4, rtol=1e-4)


# --- manners -------------------------------------------------------------------------------------------------------


@EVERY_SAMPLER
def test_a_lesion_alone_or_among_others(sampler: Sampler) -> None:
    target = latent_like()
    known = half_known(target)
    seeds = [3, 1, 4, 15, 9, 2, 6, 5]

    def sample(which: slice) -> Tensor:
        part = Known(known.z0[which], known.mask[which])
        return sampler(
            lambda x, t: torch.sin(3 * x) + t[:, None, None, None, None] / 500, SeededNoise(seeds[which], SHAPE), part
        )

    together = sample(slice(None))
    assert all(torch.equal(together[i : i + 1], sample(slice(i, i + 1))) for i in range(LESIONS))


@EVERY_SAMPLER
def test_a_run_leaves_no_trace_and_seeds_matter(sampler: Sampler) -> None:
    def sample(seed: int) -> Tensor:
        return sampler(lambda x, t: torch.tanh(x), SeededNoise([seed], (1, 2, 3, 4)))

    first = sample(1)
    assert not torch.equal(first, sample(2))
    assert torch.equal(first, sample(1))


@EVERY_SAMPLER
def test_nothing_outside_the_mask_reaches_the_result(sampler: Sampler) -> None:
    """Not even NaN, and the network sees z0 there at every step."""
    known = half_known(latent_like())

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        assert torch.equal(x[~known.mask], known.z0[~known.mask])
        assert t.dtype == torch.int64
        assert t.shape == (LESIONS,)
        return torch.where(known.mask, torch.tanh(x), torch.nan)

    painted = sampler(denoise, SeededNoise(range(LESIONS), SHAPE), known)
    assert torch.equal(painted[~known.mask], known.z0[~known.mask])
    assert bool(painted.isfinite().all())


@EVERY_SAMPLER
def test_a_network_of_another_dtype(sampler: Sampler) -> None:
    seen: list[tuple[int, int]] = []

    def watch(done: int, total: int, x: Tensor) -> None:
        assert x.dtype == torch.float32
        seen.append((done, total))

    sampler(lambda x, t: torch.tanh(x).bfloat16(), SeededNoise([1], (1, 2, 3, 4)), watch=watch)
    assert seen == [(done, sampler.evaluations) for done in range(1, sampler.evaluations + 1)]


@pytest.mark.parametrize("method", ["dpm++2m", "unipc"])
@pytest.mark.parametrize("steps", [1, 5, 20, 50])
def test_timesteps_lie_at_the_schedulers_sigmas(method: str, steps: int) -> None:
    solver = FewStep(method=method, steps=steps)  # type: ignore[arg-type]
    log_sigmas = 0.5 * np.log((1 - ABAR) / ABAR)
    wanted = np.log(solver.scheduler().sigmas[:-1].double().numpy())
    nearest = np.abs(log_sigmas - wanted[:, None]).min(axis=1)
    np.testing.assert_allclose(np.abs(log_sigmas[list(solver.timesteps)] - wanted), nearest, atol=1e-4)


def test_ddim_needs_no_diffusers() -> None:
    code = """
import sys, torch
from models.noise import SeededNoise
from models.samplers import make_sampler
make_sampler("unipc", 20)
make_sampler("ddim", 2)(lambda x, t: x, SeededNoise([1], (1, 2, 2, 2)))
assert "diffusers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    make_sampler("ddim", 50)
    with pytest.raises(ValueError, match=r"'unipc' is made by diffusers: .*take 'ddim'"):
        make_sampler("unipc", 20)


@pytest.mark.parametrize(
    ("name", "steps", "more", "said"),
    [
        ("unipcc", 20, {}, "no sampler 'unipcc', .* did you mean 'unipc'"),
        ("DDIM", 20, {}, "did you mean 'ddim'"),
        ("euler", 20, {}, "no sampler 'euler', there is ddim, dpm"),
        ("unipc", 20, {"eta": 1.0}, "eta and half belong to 'ddim'"),
        ("dpm++2m", 0, {}, "takes 1 to 1000 steps, not 0"),
        ("ddim", 36, {}, "the nearest that do not: 35 or 38"),
    ],
)
def test_wrong_orders(name: str, steps: int, more: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_sampler(name, steps, **more)  # type: ignore[arg-type]


def test_shapes_that_do_not_fit() -> None:
    z0, mask = torch.zeros(1, 4, 2, 2, 2), torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="bool is wanted"):
        Known(z0, mask.float())
    with pytest.raises(ValueError, match="does not lie on z0"):
        Known(z0, mask[..., :1])
    sampler, noise = Sampler(DDIM(steps=2)), SeededNoise([1, 2], (4, 2, 2, 2))
    with pytest.raises(ValueError, match="does not fit z0"):
        sampler(lambda x, t: x, noise, Known(z0, mask))
    with pytest.raises(ValueError, match="the network's noise is"):
        sampler(lambda x, t: x[:, :1], noise)


@pytest.mark.parametrize("name", SAMPLERS)
def test_within_a_range_nothing_explodes(name: str) -> None:
    """A network that takes nothing for noise takes all of x_t for signal, fourteen times as strong at first."""
    sampler, noise = make_sampler(name, 8, **({"eta": 0.0} if name == "ddim" else {})), SeededNoise([3], (1, 4, 4, 4))
    within = Range(torch.tensor(0.0), torch.tensor(1.0))

    def deaf(x: Tensor, _t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    assert float(sampler(deaf, noise).abs().max()) > 5
    held = sampler(deaf, noise, within=within)
    assert float((held - held.clamp(0, 1)).abs().max()) < 0.2  # the reference's DDIM ends on a little noise


def test_noise_that_leads_into_the_range_is_left_as_it_is() -> None:
    x, eps, abar = torch.tensor([1.0, 1.0]), torch.tensor([0.5, -2.0]), 0.64
    held = Range(torch.tensor(0.0), torch.tensor(1.0)).held(x, eps, abar)
    assert held[0] == eps[0]
    assert float((x[1] - 0.6 * held[1]) / 0.8) == pytest.approx(1.0)
