"""A folder of phantom cases: volumes, organ maps, and the list that names them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import UsageError
from engine.core.geometry import Shape3
from engine.core.seeds import SAMPLE_LEVEL, rng_for, seed_for
from engine.io.nifti import encode_label, encode_nifti
from engine.io.nifti_header import new_header
from engine.io.storage import OutputFolder, open_output
from engine.phantom.body import CENTRE_MM, Phantom, make_phantom
from engine.phantom.phase import Phase

LIST_NAME = "cases.jsonl"

_ORIENTATIONS = ("RAS", "LPS", "LAS", "PSR", "RPI", "ASL")
_PHASES = (Phase.PORTAL, Phase.UNENHANCED, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
"""Portal venous twice: so it is in a hospital's archive."""
_TURN_DEG, _OBLIQUE_DEG, _OBLIQUE_EVERY = np.array([3.0, 3.0, 7.0]), np.array([4.0, 4.0, 6.0]), 4
_VIEW_MM = np.array([380.0, 286.0, 462.0])
"""Along right, anterior, superior: chest to bladder, with some air around."""


@dataclass(frozen=True)
class Scan:
    """How one phantom is scanned; lengths along (right, anterior, superior)."""

    shape: Shape3
    spacing_mm: tuple[float, float, float]
    orientation: str
    centre_mm: tuple[float, float, float]
    phase: Phase
    turn_deg: tuple[float, float, float]
    """How the patient lies askew: about the right, anterior and superior axis."""
    oblique_deg: tuple[float, float, float]
    """How the grid is turned in the world; most scans are not."""


def draw_scan(seed: int, number: int) -> Scan:
    """Spacing, orientation, view, phase and pose of the `number`-th case, counted from 1. Belly organs stay in view."""
    rng = rng_for(seed, case_id(number), SAMPLE_LEVEL, 0, "scan")
    in_plane = round(float(rng.uniform(1.5, 2.1)), 2)
    slices = round(float(rng.uniform(2.0, 4.0)), 1)
    spacing = (in_plane, in_plane, slices)
    lost_top_mm = float(rng.uniform(0, 70))
    margin_mm = rng.uniform(0, 25)
    view = _VIEW_MM + np.array([margin_mm, margin_mm, -lost_top_mm])
    a, b, c = (int(n) for n in np.ceil(view / spacing))
    x, y = (round(float(v), 1) for v in rng.uniform(-6, 6, 2))
    centre = (x, y, round(CENTRE_MM[2] - lost_top_mm / 2, 1))
    # In turn, not by lot: a handful of cases already shows several orientations, phases and an oblique grid.
    turn = number - 1 + seed
    askew = rng.uniform(-1, 1, 3) * _TURN_DEG
    oblique = rng.uniform(-1, 1, 3) * _OBLIQUE_DEG if turn % _OBLIQUE_EVERY == 0 else np.zeros(3)
    return Scan(
        (a, b, c),
        spacing,
        _ORIENTATIONS[turn % len(_ORIENTATIONS)],
        centre,
        _PHASES[turn % len(_PHASES)],
        _rounded(askew),
        _rounded(oblique),
    )


def write_phantoms(folder: str, count: int, seed: int, *, written: Callable[[str], None] | None = None) -> str:
    """Write `count` cases below `folder` (local or any fsspec URI) and return the URI of their list.

    `<folder>/phantom-0001/ct.nii.gz` and `organs.nii.gz`, and `<folder>/cases.jsonl` with relative paths, which is put
    in place last. The same seed gives the same bytes, and more cases begin with the same ones. `written` is told each
    case id. Raises `UsageError`: no case asked for, or no place one can write to; `OutputError` where writing fails.
    """
    if count < 1:
        raise UsageError(f"{count} phantoms were asked for; at least 1 can be made")
    output = open_output(folder)
    lines = []
    for number in range(1, count + 1):
        name = case_id(number)
        scan = draw_scan(seed, number)
        phantom = make_phantom(
            seed_for(seed, name, SAMPLE_LEVEL, 0, "phantom"),
            shape=scan.shape,
            spacing_mm=scan.spacing_mm,
            orientation=scan.orientation,
            centre_mm=scan.centre_mm,
            phase=scan.phase,
            turn_deg=scan.turn_deg,
            oblique_deg=scan.oblique_deg,
        )
        ct, organs = f"{name}/ct.nii.gz", f"{name}/organs.nii.gz"
        _put(output, phantom, ct, organs)
        lines.append(json.dumps({"case_id": name, "ct": ct, "organs": organs}))
        if written is not None:
            written(name)
    output.put(LIST_NAME, ("\n".join(lines) + "\n").encode())
    return output.uri_of(LIST_NAME)


def _rounded(deg: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = (round(float(v), 1) for v in deg)
    return a, b, c


def case_id(number: int) -> str:
    return f"phantom-{number:04d}"


def _put(output: OutputFolder, phantom: Phantom, ct: str, organs: str) -> None:
    header = new_header(phantom.grid, np.int16)
    output.put(ct, encode_nifti(header, phantom.hu))
    output.put(organs, encode_label(header, phantom.organs))
