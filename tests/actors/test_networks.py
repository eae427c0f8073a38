"""Networks behind the engine's requests: nothing moves by a voxel, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from actors.linet_painter import LINetPainter
from actors.lmnet_masker import LMNetMasker
from actors.networks import linet_painter, lmnet_masker
from engine.backends import Mask, Paint
from engine.core.anatomy import V1_IDS
from engine.core.errors import ServiceLostError, UsageError
from engine.core.geometry import Box
from engine.core.intensity import hu_to_unit
from engine.core.report import Report
from engine.core.requests import MaskRequest, PaintRequest, Refusal
from engine.core.sample import Crop
from models import linet, lmnet
from models.attributes import AttributeConfig, AttributeEncoder
from models.batches import Batches
from models.context import Silent
from models.lesion_mask import DrawnMask
from tiny_networks import CROP, TinyNetworks, tiny_networks

LIVER = V1_IDS["liver"]
FRAME = Box((30, -4, 50), (46, 12, 66))
"""A crop of the model grid that reaches beyond its start."""
REPORT = Report.from_json(
    {
        "organ": "liver", "lesion_type": "cancer", "enhancement_status": "enhanced CT", "shape": "irregular",
        "density": "hyperdense lesion", "density_variations": "homogeneous",
        "surface_characteristics": "ill-defined margin",
        "adjacent_organs": "no close relationship with surrounding organs", "cavity": "within the parenchymal organ",
        "size_mm": 6, "contrast_hu": 40,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyNetworks:
    return tiny_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get_gpu_ids", list)


def mask_request(box: Box, seed: int = 1) -> MaskRequest:
    organs = np.full(FRAME.shape, LIVER, np.uint8)
    organs[:, :4] = 0
    return MaskRequest(Crop(FRAME, organs), (LIVER,), box, REPORT, seed)


def paint_request(mask_box: Box, ct: np.ndarray | None = None, seed: int = 1) -> PaintRequest:
    hu = np.full(FRAME.shape, 60, np.int16) if ct is None else ct
    organ, mask = Crop(FRAME, np.ones(FRAME.shape, bool)), Crop(mask_box, np.ones(mask_box.shape, np.float32))
    return PaintRequest(Crop(FRAME, hu), organ, LIVER, mask, REPORT, seed)


class BoxDrawer:
    """Draws the box that it is given, and keeps what it was asked."""

    def draw(self, requests: Sequence[lmnet.MaskRequest]) -> list[lmnet.Drawing | None]:
        self.asked = list(requests)
        return [
            None if request.seed == 0 else lmnet.Drawing(request.box.astype(np.float32), DrawnMask(request.box, 0.5))
            for request in requests
        ]


class Brightener:
    """Adds a twentieth of the range to all of the crop."""

    def paint(self, requests: Sequence[linet.PaintRequest]) -> list[torch.Tensor]:
        self.asked = list(requests)
        return [request.image + 0.05 for request in requests]


def test_a_mask_lies_where_its_box_is() -> None:
    drawer, box = BoxDrawer(), Box((33, 2, 55), (38, 9, 58))
    (drawn,) = LMNetMasker(drawer, Mask(backend="lmnet", checkpoint="x"))([mask_request(box)])
    assert isinstance(drawn, Crop)
    inside = np.argwhere(drawn.values > 0.5) + drawn.box.start
    assert (inside.min(0).tolist(), inside.max(0).tolist()) == ([33, 2, 55], [37, 8, 57])
    (asked,) = drawer.asked
    assert np.argwhere(asked.box).min(0).tolist() == [3, 6, 5]
    assert asked.host.sum() == 16 * 12 * 16
    assert asked.volume_vox == pytest.approx(np.pi / 6 * 6**3)
    assert asked.attributes["lesion location"] == "liver"


def test_what_a_network_cannot_draw_or_paint_is_refused_alone() -> None:
    inside, beyond = Box((33, 2, 55), (38, 9, 58)), Box((33, 2, 55), (50, 9, 58))
    masker = LMNetMasker(BoxDrawer(), Mask(backend="lmnet", checkpoint="x"))
    too_large, drawn, nothing = masker([mask_request(beyond), mask_request(inside), mask_request(inside, seed=0)])
    assert too_large == Refusal("its box of 17x7x3 mm exceeds the 16x16x16 mm that LMNet sees")
    assert isinstance(drawn, Crop)
    assert nothing == Refusal("LMNet drew no lesion in its box")
    painter = LINetPainter(Brightener(), Paint(backend="linet", checkpoint="x"))
    painted, refused = painter([paint_request(inside), paint_request(beyond)])
    assert isinstance(painted, Crop)
    assert refused == Refusal("its lesion of 17x7x3 mm exceeds the 16x16x16 mm that LINet sees")


class NoRoom:
    """A network on a device of no size."""

    def draw(self, requests: Sequence[object]) -> list[lmnet.Drawing | None]:
        return Batches().run(requests, lambda _: (FRAME.shape,), self._full)

    paint = draw

    def _full(self, batch: Sequence[object]) -> list[lmnet.Drawing | None]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_no_room_for_one_crop_ends_the_run_and_fails_no_case() -> None:
    box = Box((33, 2, 55), (38, 9, 58))
    lacking = "out of memory with one crop of 16x16x16; it takes a smaller crop, bfloat16, or a device with more memory"
    with pytest.raises(ServiceLostError, match=f"^mask: {lacking}$"):
        LMNetMasker(NoRoom(), Mask(backend="lmnet", checkpoint="x"))([mask_request(box)])
    with pytest.raises(ServiceLostError, match=f"^paint: {lacking}$"):
        LINetPainter(NoRoom(), Paint(backend="linet", checkpoint="x"))([paint_request(box)])


def test_hu_beyond_the_curve_stay_around_a_lesion_and_go_inside() -> None:
    ct = np.full(FRAME.shape, 60, np.int16)
    ct[0, 0, 0], ct[5, 8, 8] = 2500, 2500
    lesion, painter = Box((34, 2, 56), (40, 9, 60)), LINetPainter(Brightener(), Paint(backend="linet", checkpoint="x"))
    (painted,) = painter([paint_request(lesion, ct)])
    assert isinstance(painted, Crop)
    assert painted.box == FRAME
    assert painted.values[0, 0, 0] == pytest.approx(2500)
    assert painted.values[5, 8, 8] == pytest.approx(1000)
    assert painted.values[1, 1, 1] == pytest.approx(60 + 0.05 * 400 / 0.6, abs=0.01)


def test_linet_is_told_the_mean_that_the_contrast_asks_for() -> None:
    brightener = Brightener()
    painter = LINetPainter(brightener, Paint(backend="linet", checkpoint="x"))
    painter([paint_request(Box((34, 2, 56), (40, 9, 60)))])
    (asked,) = brightener.asked
    assert asked.attributes["CT value"] == "100.0 HU,"
    assert np.array_equal(asked.image, hu_to_unit(np.full(FRAME.shape, 60)))
    assert np.argwhere(asked.mask.numpy()).min(0).tolist() == [4, 6, 6]


@pytest.mark.usefixtures("without_gpu")
def test_published_checkpoints_draw_and_paint(tiny: TinyNetworks) -> None:
    """With random weights: a mask inside its box, and nothing but numbers."""
    box = Box((33, 2, 55), (41, 10, 63))
    masker, painter = (
        lmnet_masker(Mask(**tiny.settings["mask"])),
        linet_painter(Paint(**tiny.settings["paint"]), neighbour=True),
    )
    drawn = masker([mask_request(box, seed) for seed in (1, 2, 3)])
    for crop in drawn:
        assert isinstance(crop, Crop)
        inside = np.argwhere(crop.values > 0.5) + crop.box.start
        assert (inside >= box.start).all()
        assert (inside < box.stop).all()
    first, _, again = painter([paint_request(box, seed=seed) for seed in (7, 8, 7)])
    assert isinstance(first, Crop)
    assert isinstance(again, Crop)
    assert first.values.shape == CROP
    assert np.array_equal(first.values, again.values)


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"checkpoint": "{folder}/VQ.ckpt"}, r"^mask: .*VQ.ckpt looks like VQ, and LMNet is wanted"),
        ({"checkpoint": "{folder}/gone.ckpt"}, r"^mask: .*gone.ckpt cannot be read: No such file"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_one_line(tiny: TinyNetworks, changes: dict[str, str], line: str) -> None:
    settings = tiny.settings["mask"] | {key: value.format(folder=tiny.folder) for key, value in changes.items()}
    with pytest.raises(UsageError, match=line):
        lmnet_masker(Mask(**settings))


def test_text_off_tells_an_attribute_encoder_nothing() -> None:
    encoder = AttributeEncoder(AttributeConfig(vocabulary=(("shape", ("round-like",)),), channels=8, width=4))
    silent = Silent(encoder)
    assert silent.channels == 8
    assert torch.equal(silent.encode([{"shape": "round-like,"}] * 2), encoder.encode([{}, {}]))
