"""How far from the right distribution does a sampler end, with a network that makes no mistake?

Two targets, one like LINet's latents and one like LMNet's masks, each whole and with half of it known. A row of four
voxels along x is one draw of the target; a batch is a few volumes of such rows.

Inside a mask, the networks see their surroundings clean, not noised. The best prediction of eps there is then that of
the *conditional* distribution of the masked coordinates, given the known ones: x_t carries nothing about x_0 that the
clean coordinates do not say better, except of the masked coordinates themselves. If the known ones are drawn from the
target, the painted rows as a whole follow the target if, and only if, the painted part follows its conditional one;
so both problems are measured against the same distribution.

python -m benchmarks.samplers [--pages FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.mixtures import Mixture, latent_like, mask_like, unit_directions
from models.diffusion import PUBLISHED, Denoiser
from models.noise import SeededNoise
from models.samplers import Known, Sampler, make_sampler

VOLUMES, SHAPE = 32, (1, 32, 32, 4)
ROWS, WIDTH, PAINTED = VOLUMES * 32 * 32, 4, 2
EXACT_SETS = 6
SEEDED = SeededNoise(range(VOLUMES), SHAPE)
ABAR = PUBLISHED.alphas_cumprod
DIRECTIONS = unit_directions(WIDTH, 32, seed=5)


@dataclass(frozen=True)
class Method:
    """A sampler at several numbers of evaluations."""

    label: str
    name: str
    steps: Sequence[int]
    eta: float | None = None

    def sampler(self, steps: int) -> Sampler:
        return make_sampler(self.name, steps, eta=self.eta)


DISTANCES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
FEW = (50, 25, 20, 15, 10, 5)
METHODS = (
    Method("DDIM, eta 1", "ddim", (200, 50, 25, 10), eta=1.0),
    Method("DDIM, eta 0", "ddim", (200, 50, 25, 10), eta=0.0),
    Method("DPM-Solver++ 2M", "dpm++2m", FEW),
    Method("UniPC", "unipc", FEW),
)
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
YARDSTICKS = tuple((method.label, 200) for method in METHODS[:2])


@dataclass(frozen=True)
class Problem:
    """A target, and which of it is known: the last coordinates of a row, or nothing."""

    label: str
    target: Mixture
    known: Known | None

    def exact(self, seed: int) -> Tensor:
        """Rows (ROWS 4) as a sampler without error would leave them."""
        generator = torch.Generator().manual_seed(seed)
        if self.known is None:
            return self.target.draw(ROWS, generator)
        beside = self.known.z0.reshape(-1, WIDTH)[:, PAINTED:]
        return torch.cat([self.target.given(beside).draw(ROWS, generator), beside], dim=1)

    def denoiser(self) -> Denoiser:
        """The exact prediction; outside the mask nothing, as the networks' training asks for."""
        if self.known is None:
            return over_rows(self.target.eps)
        conditional = self.target.given(self.known.z0.reshape(-1, WIDTH)[:, PAINTED:])

        def eps(rows: Tensor, abar: float) -> Tensor:
            painted = conditional.eps(rows[:, :PAINTED], abar)
            return torch.cat([painted, torch.zeros_like(painted)], dim=1)

        return over_rows(eps)

    def distance(self, rows: Tensor) -> float:
        return self.target.distance(rows, DIRECTIONS)

    def distance_of(self, sampler: Sampler) -> float:
        return self.distance(sampler(self.denoiser(), SEEDED, self.known).reshape(-1, WIDTH))


def over_rows(eps: Callable[[Tensor, float], Tensor]) -> Denoiser:
    """eps of rows (n 4) and abar, as a denoiser of volumes (b 1 z y 4)."""
    return lambda x, t: eps(x.reshape(-1, WIDTH), float(ABAR[int(t[0])])).reshape(x.shape)


def problems() -> list[Problem]:
    mask = torch.zeros(1, 1, 1, 1, WIDTH, dtype=torch.bool).expand(VOLUMES, 1, *SHAPE[1:]).clone()
    mask[..., :PAINTED] = True
    made = []
    for label, target in (("latents", latent_like()), ("masks", mask_like())):
        z0 = target.draw(ROWS, torch.Generator().manual_seed(77)).reshape(VOLUMES, *SHAPE)
        made += [Problem(label, target, None), Problem(f"{label}, half known", target, Known(z0, mask))]
    return made


@dataclass(frozen=True)
class Measured:
    """Distances of one problem by method and steps; `exact` and `spread` are those of sets without any error."""

    problem: Problem
    exact: float
    spread: float
    by: dict[tuple[str, int], float]

    @property
    def allowed(self) -> float:
        """Not above that of 200 steps of DDIM, whichever eta does better here, within the noise."""
        return min(self.by[yardstick] for yardstick in YARDSTICKS) + self.spread


def measure(problem: Problem) -> Measured:
    exact = [problem.distance(problem.exact(seed)) for seed in range(100, 100 + EXACT_SETS)]
    by = {(m.label, steps): problem.distance_of(m.sampler(steps)) for m in METHODS for steps in m.steps}
    return Measured(problem, float(np.mean(exact)), float(np.std(exact)), by)


def fewest(measured: Sequence[Measured], method: Method) -> int | None:
    """Evaluations at which, and above which, the method is nowhere above what is allowed."""
    enough = None
    for steps in sorted(method.steps, reverse=True):
        if any(m.by[method.label, steps] > m.allowed for m in measured):
            break
        enough = steps
    return enough


def lines(measured: Sequence[Measured]) -> list[list[str]]:
    """The table's, its head first. Distances are x 1000."""
    made = [["sampler", "evaluations", *(m.problem.label for m in measured)]]
    made.append(["exact draws", "", *(f"{1000 * m.exact:.1f} ± {1000 * m.spread:.1f}" for m in measured)])
    for method in METHODS:
        for steps in method.steps:
            cells = (f"{1000 * m.by[method.label, steps]:.1f}" for m in measured)
            made.append([method.label, str(steps), *cells])
    return made


def table(measured: Sequence[Measured]) -> Table:
    head, *body = lines(measured)
    made = Table(title="energy distance to the target, x 1000")
    for number, name in enumerate(head):
        made.add_column(name, justify="left" if number == 0 else "right")
    for line in body:
        made.add_row(*line)
    return made


def renew(page: Path, measured: Sequence[Measured]) -> None:
    """Puts the table into the page, between its marks."""
    head, *body = lines(measured)
    rule = ["---", *["---:"] * (len(head) - 1)]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{rows}\n{END}{rest.partition(END)[2]}")


def verdict(measured: Sequence[Measured]) -> str:
    """From where on each method is no worse than 200 steps of DDIM."""
    found = {method.label: fewest(measured, method) for method in METHODS}
    return "; ".join(
        f"{label}: {'more than were tried' if n is None else f'{n} evaluations'}" for label, n in found.items()
    )


def plot(measured: Sequence[Measured], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex=True, sharey=True, layout="constrained")
    ticks = sorted({steps for method in METHODS for steps in method.steps})
    for axis, m in zip(axes.flat, measured, strict=True):
        for method, style in zip(METHODS, ("o--", "s--", "^-", "D-"), strict=True):
            axis.plot(method.steps, [m.by[method.label, n] for n in method.steps], style, ms=4, label=method.label)
        axis.axhline(m.allowed, color="black", lw=0.8, ls=":", label="no worse than DDIM 200")
        axis.axhspan(m.exact - m.spread, m.exact + m.spread, color="0.8", label="exact draws")
        axis.set(xscale="log", yscale="log", title=m.problem.label)
        axis.set_xticks(ticks, [str(n) for n in ticks])
        axis.set_yticks(DISTANCES, [f"{distance:g}" for distance in DISTANCES])
        axis.minorticks_off()
        axis.grid(visible=True, which="major", lw=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("energy distance to the target")
    for axis in axes[1]:
        axis.set_xlabel("evaluations of the network")
    axes[0, 1].legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=Path, default=Path("docs"), help="folder of samplers.md and samplers.png")
    folder: Path = parser.parse_args().pages
    measured = [measure(problem) for problem in problems()]
    console = Console(width=130, highlight=False)
    console.print(table(measured))
    console.print(f"nowhere above 200 evaluations of DDIM, whichever eta is better, from: {verdict(measured)}")
    renew(folder / "samplers.md", measured)
    plot(measured, folder / "samplers.png")


if __name__ == "__main__":
    main()
