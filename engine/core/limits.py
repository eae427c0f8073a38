"""The thresholds of every quality gate, in one place. Wide on purpose: a gate is for faults, not for taste."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a finished lesion must hold. The first five are settings (`check`); the rest follow from physics."""

    min_voxels: int = 3
    min_thickness_vox: int = 2
    volume_share: Range = (0.5, 1.75)
    """Of the volume asked for."""
    min_inside: float = 0.85
    """Share of a lesion in its organ, where its cavity says inside."""
    contrast_share: Range = (0.4, 1.6)
    """Of the contrast asked for."""

    volume_slack: float = 1.5
    """Voxels of slack for the square root of each voxel asked for: a label counts whole voxels."""
    largest_piece: float = 0.85
    """Share of the label in its largest connected piece."""
    beyond_place_mm: float = 1.0
    """How far the label may reach beyond the box it was given, rounded to voxels."""
    protruding_inside: Range = (0.1, 0.95)
    """Share in its organ of a lesion that sticks out of it."""
    spilled: float = 0.05
    """Share in lung, airway, bone or gas of another organ: partial volume at a border reaches that."""
    wall_mm: float = 3.0
    """A lesion of a wall comes this near to its organ's surface (or the neighbouring voxel)."""

    contrast_slack_hu: Range = (1.5, 6.0)
    """Below and above the range of contrasts: what noise and rounding do to a weak one."""
    isodense_hu: float = 20.0
    """Most shift where no contrast is asked for."""
    value_slack_hu: float = 12.0
    """An asked mean is met within this, and 0.4 of the way from what was there."""
    changed: float = 0.8
    """Share of the label's voxels that must have been painted."""

    halo: float = 0.75
    """Most that is left of the change in the margin, as a share of its strength in the lesion: a blurred thin wall
    keeps that much, a change that does not end keeps all."""
    step: Range = (0.3, 1.8)
    """Most mean step of the change across a plane of n voxels, as shares of its strength: a + b / sqrt(n), since blobs
    of texture leave more in the mean of a few."""
    step_over_others: float = 4.0
    """And as a multiple of those across the other planes: texture and anatomy have steps everywhere, a seam in one."""
    least_step_hu: float = 4.0
    """Halos and steps below this drown in any noise."""
    alternation: Range = (-0.32, -0.4)
    """Least correlation of the change between voxels one and two apart: noise has 0 or more, a checkerboard -1."""
    hu: Range = (-1100.0, 3100.0)
    """CT numbers of 12 bits and some noise, unless the source itself goes beyond them."""
