"""Bones and the muscles along the spine."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import V1_IDS
from engine.phantom.canvas import Canvas, Mask, Region
from engine.phantom.solids import Capsule, Ellipsoid, Part, Solid, tube
from engine.phantom.tissue import Tissues
from engine.phantom.torso import Build, Rooms

LEVELS_MM = {
    "T1": 279.0, "T2": 260.0, "T3": 240.0, "T4": 219.0, "T5": 198.0, "T6": 176.0, "T7": 153.0, "T8": 129.0,
    "T9": 104.0, "T10": 78.0, "T11": 51.0, "T12": 23.0, "L1": -7.0, "L2": -39.0, "L3": -72.0, "L4": -105.0,
    "L5": -138.0,
}  # fmt: skip
"""z of each vertebral body's middle."""

_SPINE_Y_MM = -58.0
_SIDES = {"right": 1, "left": -1}
_CORTEX_MM = 2.2
_RIB_DEPTH_MM = 6.5


def paint_muscles(canvas: Canvas, rooms: Rooms, tissues: Tissues) -> None:
    """Erector spinae (autochthon) and iliopsoas of both sides."""
    for name, side in _SIDES.items():
        back = Solid([Capsule(np.array([side * 34.0, -83, -260]), np.array([side * 32.0, -84, 300]), (24.0, 21.0))])
        path = [(27, -46, 0), (41, -42, -80), (58, -22, -150), (84, 8, -230)]
        psoas = Solid(tube([(side * x, y, z) for x, y, z in path], [9, 17, 20, 17], step_mm=12))
        for solid, organ in ((back, "autochthon"), (psoas, "iliopsoas")):
            region = canvas.region(solid)
            where = region.inside & rooms.frame[region.box.slices]
            canvas.fill(region.box, where, tissues.muscle, V1_IDS[f"{organ}_{name}"])


def paint_skeleton(canvas: Canvas, build: Build, rooms: Rooms, tissues: Tissues, rng: np.random.Generator) -> None:
    """Ribs, sternum, pelvis, then the spine over all."""
    for name, side in _SIDES.items():
        for number in range(1, 13):
            parts = _rib(build, number, side)
            _bone(canvas, rooms, tissues, Solid(parts), V1_IDS[f"rib_{name}_{number}"], cortex_mm=1.5)
        head = Solid([Ellipsoid.of((side * 86.0, 4, -236), (25, 25, 25))])
        _bone(canvas, rooms, tissues, head, V1_IDS[f"femur_{name}"])
    _pelvis(canvas, rooms, tissues)
    _, y = build.on_wall(np.pi, 160.0, _RIB_DEPTH_MM)
    _bone(canvas, rooms, tissues, Solid([Ellipsoid.of((0, y, 165), (19, 6.5, 68), (-4, 0, 0))]), None)
    _spine(canvas, rooms, tissues, rng)


def _bone(
    canvas: Canvas, rooms: Rooms, tissues: Tissues, solid: Solid, organ_id: int | None, *, cortex_mm: float = _CORTEX_MM
) -> Region:
    region = canvas.region(solid)
    inside = region.inside & rooms.body[region.box.slices]
    canvas.fill(region.box, inside, tissues.dense_bone, organ_id)
    canvas.fill(region.box, inside & (region.distance_mm < -cortex_mm), tissues.spongy_bone)
    return region


def _rib(build: Build, number: int, side: int) -> list[Capsule]:
    """From its vertebra around the chest wall, forwards and down."""
    last_deg = 150.0 if number <= 7 else {8: 130.0, 9: 122.0, 10: 112.0, 11: 92.0, 12: 66.0}[number]
    angles = np.deg2rad(np.linspace(13, last_deg, 9))
    top = LEVELS_MM[f"T{number}"] + 6
    heights = top - 62 * (1 - np.cos(angles)) / 2 - 8 * np.sin(angles)
    points = [(*_mirrored(build.on_wall(a, z, _RIB_DEPTH_MM), side), z) for a, z in zip(angles, heights, strict=True)]
    return tube(points, [4.6] * len(points), step_mm=10)


def _mirrored(xy: tuple[float, float], side: int) -> tuple[float, float]:
    return side * xy[0], xy[1]


def _pelvis(canvas: Canvas, rooms: Rooms, tissues: Tissues) -> None:
    """Iliac wings as a bowl, muscle around it, the sacrum behind."""
    bowl = canvas.region(Solid([Ellipsoid.of((0, 2, -172), (120, 84, 96))]), 60)
    x, y, z = canvas.axes(bowl.box)
    low = (z < -122 + 0.25 * y) & (y < 42) & (z > -240)
    room = rooms.body[bowl.box.slices] & (canvas.organs[bowl.box.slices] == 0) & (canvas.hu[bowl.box.slices] > -200)
    inner = rooms.belly[bowl.box.slices]
    canvas.fill(bowl.box, room & inner & low & (bowl.distance_mm > 0), tissues.muscle)
    plate = room & low & (np.abs(bowl.distance_mm) < 5.5) & (np.abs(x) > 44)
    for name, side in _SIDES.items():
        own = plate & (x * side > 0)
        canvas.fill(bowl.box, own, tissues.dense_bone, V1_IDS[f"hip_{name}"])
        canvas.fill(bowl.box, own & (np.abs(bowl.distance_mm) < 3), tissues.spongy_bone)
    sacrum = Solid([Ellipsoid.of((0, -66, -186), (50, 17, 42), (-14, 0, 0))])
    _bone(canvas, rooms, tissues, sacrum, V1_IDS["sacrum"])


def _spine(canvas: Canvas, rooms: Rooms, tissues: Tissues, rng: np.random.Generator) -> None:
    """Bodies with discs between them, arches and processes behind, the canal through all."""
    sway_mm = float(rng.uniform(-3, 3))
    discs = Solid([Capsule(np.array([0.0, _SPINE_Y_MM, -158]), np.array([sway_mm, _SPINE_Y_MM, 300]), (20.0, 16.0))])
    region = canvas.region(discs)
    canvas.fill(region.box, region.inside & rooms.body[region.box.slices], tissues.disc, 0)
    for level, z in LEVELS_MM.items():
        width = 24.0 if level.startswith("L") else 19.0
        tall = 0.42 * _pitch(z)
        body = _drum(canvas, (sway_mm * (z + 158) / 458, _SPINE_Y_MM, z), (width, 0.78 * width, tall))
        _fill_drum(canvas, rooms, tissues, body, V1_IDS[f"vertebrae_{level}"])
        _bone(canvas, rooms, tissues, Solid(_arch(z, width)), V1_IDS[f"vertebrae_{level}"], cortex_mm=1.8)
    canal = canvas.region(Solid([Capsule(np.array([0.0, -82, -200]), np.array([0.0, -80, 300]), (8.0, 8.0))]))
    canvas.fill(canal.box, canal.inside, tissues.cord, 0)


def _pitch(z: float) -> float:
    """Distance to the next vertebra, larger further down."""
    return float(np.interp(z, [-138, 279], [33.0, 19.0]))


def _drum(canvas: Canvas, centre: tuple[float, float, float], half: tuple[float, float, float]) -> Region:
    """A vertebral body: an upright elliptic cylinder, a little waisted."""
    at, size = np.asarray(centre), np.asarray(half)
    box = canvas.window(np.array([at - size - 2, at + size + 2]))
    x, y, z = (a - np.float32(c) for a, c in zip(canvas.axes(box), centre, strict=True))
    waist = 0.9 + 0.1 * (z / np.float32(half[2])) ** 2
    across = np.sqrt((x / half[0]) ** 2 + (y / half[1]) ** 2) / waist
    distance = np.maximum((across - 1) * np.float32(half[1]), np.abs(z) - np.float32(half[2]))
    return Region(box, np.asarray(distance, np.float32))


def _fill_drum(canvas: Canvas, rooms: Rooms, tissues: Tissues, drum: Region, organ_id: int) -> None:
    inside: Mask = drum.inside & rooms.body[drum.box.slices]
    canvas.fill(drum.box, inside, tissues.dense_bone, organ_id)
    canvas.fill(drum.box, inside & (drum.distance_mm < -_CORTEX_MM), 0.75 * tissues.spongy_bone)


def _arch(z: float, width: float) -> list[Part]:
    """Transverse processes, lamina and spinous process."""
    y = _SPINE_Y_MM - 24
    beams: list[Part] = [Capsule(np.array([0.0, y - 6, z - 3]), np.array([0.0, y - 19, z - 10]), (4.5, 3.5))]
    for side in (1, -1):
        root = np.array([side * 12.0, y, z])
        beams.append(Capsule(root, np.array([side * (width + 15), y + 2, z - 2]), (5.5, 3.5)))
        beams.append(Capsule(root, np.array([0.0, y - 9, z - 4]), (5.0, 5.0)))
        beams.append(Capsule(root, np.array([side * 13.0, _SPINE_Y_MM - 8, z + 2]), (5.0, 5.0)))
    return beams
