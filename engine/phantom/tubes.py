"""Tubes through given points, and trees of vessels that reach given points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from engine.phantom.solids import Capsule

_MURRAY = 2.7
"""Radius^2.7 is kept at a fork (Murray's law has 3; measured trees of vessels 2.3 to 3)."""


def tube(
    points: ArrayLike, radii: Sequence[float], *, step_mm: float = 8.0, haustra_mm: float = 0.0, tall: float = 1.0
) -> list[Capsule]:
    """A smooth tube through `points` (n, 3) with `radii` (n,); `haustra_mm` pinches it every 28 mm.

    A level one may be `tall` times as high as it is thick.
    """
    knots = np.asarray(points, float)
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    path, width = CubicSpline(at, knots), CubicSpline(at, np.asarray(radii, float))
    steps = np.linspace(0, at[-1], max(2, int(np.ceil(at[-1] / step_mm)) + 1))
    line = path(steps)
    # |sin| makes broad sacs between narrow folds.
    wide = np.maximum(width(steps) + haustra_mm * (1.6 * np.abs(np.sin(np.pi * steps / 28.0)) - 1.0), 1.0)
    return [
        Capsule(a, b, (float(ra), float(rb)), tall)
        for a, b, ra, rb in zip(line[:-1], line[1:], wide[:-1], wide[1:], strict=True)
    ]


def tree(root: NDArray[np.float64], targets: NDArray[np.float64], tip_mm: float) -> list[Capsule]:
    """Vessels that fork from `root` (3,) until each of `targets` (n, 3) has its own twig of radius `tip_mm`.

    Constrained constructive optimisation in its simplest form: the targets are halved across their widest spread, and
    a stem goes part of the way to each half.
    """
    count = len(targets)
    if count == 0:
        return []
    radius = tip_mm * count ** (1 / _MURRAY)
    if count == 1:
        return [Capsule(root, targets[0], (radius, 0.6 * tip_mm))]
    fork = root + 0.42 * (targets.mean(axis=0) - root)
    order = np.argsort(targets[:, np.ptp(targets, axis=0).argmax()], kind="stable")
    halves = order[: count // 2], order[count // 2 :]
    twigs = [Capsule(root, fork, (radius, 0.93 * radius))]
    for half in halves:
        twigs += tree(fork, targets[half], tip_mm)
    return twigs
