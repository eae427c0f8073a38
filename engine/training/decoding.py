"""{number of a lesion} -> its crop, on the model grid: read, cut out, resampled to 1 mm, and told.

Crops are cut on the native grid, so of a volume only the part about the lesion is ever resampled, and lie as
`engine/stages/place.py` lays them for the networks: about the lesion's box, evenly beyond a volume that is smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from engine.core.anatomy import OrganMap
from engine.core.errors import CaseError, VolumeError
from engine.core.geometry import Box, Grid
from engine.core.intensity import AIR_HU
from engine.core.report import Wanted
from engine.core.resample import resample
from engine.core.sample import Crop
from engine.io.storage import open_output
from engine.io.volumes import Volume, finite_or_raise, of_file
from engine.training.crop import LESION, ORGAN, LesionCrop
from engine.training.crop_cache import CropCache, key_of
from engine.training.host import Host, host_of, reported
from engine.training.known import KnownLesion
from engine.training.label import Pieces, lesion_in
from engine.training.settings import TrainSettings
from engine.training.told import Seen, Told, told_of
from engine.training.volumes import Volumes


class Decoder:
    """Crops of known lesions by their number, the same for the same number each time.

    Keeps the volumes it read last, which do not travel with it to another process, and decoded crops in `data.cache`
    where that is given. The VQ-GAN is shown images alone: neither organ map nor report is opened for it.
    """

    def __init__(self, settings: TrainSettings, lesions: Sequence[KnownLesion]) -> None:
        """Raises `UsageError` for a cache that cannot be written."""
        self._settings, self._lesions = settings, lesions
        cache = settings.data.cache
        self._cache = None if cache is None else CropCache(open_output(cache), settings.crop)
        self._volumes = Volumes()

    def __reduce__(self) -> tuple[type[Decoder], tuple[TrainSettings, Sequence[KnownLesion]]]:
        return Decoder, (self._settings, self._lesions)

    def __call__(self, number: int) -> LesionCrop:
        """Raises `CaseError`, headed by the case's id."""
        lesion = self._lesions[number]
        try:
            return self._found(lesion)
        except CaseError as error:
            raise type(error)(f"{lesion.case_id}: {error}") from None

    def _found(self, lesion: KnownLesion) -> LesionCrop:
        if self._cache is None:
            return self._decoded(lesion)
        key = self._key(lesion)
        crop = self._cache.find(key)
        if crop is None:
            crop = self._decoded(lesion)
            self._cache.keep(key, crop)
        return crop

    def _key(self, lesion: KnownLesion) -> str:
        settings = self._settings
        decisive = {
            "lesion": asdict(lesion),
            "network": settings.network,
            "words": settings.text.words,
            "crop": settings.crop,
            "outside": settings.data.outside,
        }
        uris = [lesion.image_uri, lesion.label_uri]
        if self._shows_organs:
            uris += filter(None, [self._organs_uri(lesion), lesion.report_uri])
        return key_of(decisive, uris)

    def _decoded(self, lesion: KnownLesion) -> LesionCrop:
        said = reported(lesion) if self._shows_organs else []  # the smallest file first
        volume = self._volumes.image(lesion)
        native, model = volume.grid, volume.grid.model_grid()
        labelled = self._volumes.label(lesion, native)
        with of_file(lesion.label_uri):
            pieces = lesion_in(labelled, native, lesion)
            on_model = _on_model(pieces, native, model)
        box = Box.window(on_model.box.centre, self._settings.crop, within=model.shape)
        image_hu, mask = self._image(lesion, volume, model.crop(box)), on_model.onto(box).values
        if not self._shows_organs:
            nothing = Told({}, {}, None)
            return _crop(lesion, image_hu, np.zeros(box.shape, np.uint8), mask, (), nothing)

        organs = self._volumes.organs(self._organs_uri(lesion), lesion, native)
        host = _host(lesion, said, organs, pieces)
        ids = _organs(organs, native, model, box)
        s, a, l = (float(n) for n in on_model.box.shape)  # noqa: E741 - the axis is called L
        seen = Seen(image_hu, mask, np.isin(ids, host.ids), (s, a, l))
        return _crop(lesion, image_hu, ids, mask, host.ids, told_of(host, seen, self._settings.text.words))

    @property
    def _shows_organs(self) -> bool:
        return self._settings.network != "vq"

    def _organs_uri(self, lesion: KnownLesion) -> str:
        """Of the map that the network sees."""
        healthy = lesion.healthy_organs_uri if self._settings.network == "lmnet" else None
        return healthy or lesion.organs_uri

    def _image(self, lesion: KnownLesion, volume: Volume, target: Grid) -> NDArray[np.float32]:
        """Whole HU, so that a crop is the same whether it comes out of the cache or not."""
        fill = AIR_HU if self._settings.data.outside == "air" else 0.0
        with of_file(lesion.image_uri), np.errstate(invalid="ignore"):  # between infinities there is no number
            hu = finite_or_raise(volume.resampled(target, fill=fill))
        return np.asarray(np.clip(np.rint(hu), -32768, 32767), np.float32)


def _on_model(pieces: Pieces, native: Grid, model: Grid) -> Crop:
    """The lesion on the model grid, on the smallest box. Raises `VolumeError` for one that falls between its voxels."""
    around = native.cover(pieces.box, model)
    there = native.crop(pieces.box)
    mask = resample(pieces.mask.view(np.uint8), there, model.crop(around), interpolation="nearest") > 0
    box = Box.of_mask(mask)
    if box is None:
        raise VolumeError("has a lesion so small that nothing of it is left at 1 mm")
    return Crop(box.shifted(around.start), mask[box.slices])


def _organs(organs: OrganMap, native: Grid, model: Grid, box: Box) -> OrganMap:
    """v1 ids in a box of the model grid, 0 beyond the volume."""
    seen = model.cover(box, native, margin=1)
    ids = resample(organs[seen.slices], native.crop(seen), model.crop(box), interpolation="nearest")
    return np.asarray(ids, np.uint8)


def _host(lesion: KnownLesion, said: Sequence[Wanted], organs: OrganMap, pieces: Pieces) -> Host:
    if lesion.organ_id is not None:
        return Host(said[0], lesion.organ_id, (lesion.organ_id,))
    return host_of(said, organs[pieces.box.slices][pieces.mask])


def _crop(
    lesion: KnownLesion,
    image_hu: NDArray[np.float32],
    organs: OrganMap,
    mask: NDArray[np.bool_],
    hosts: tuple[int, ...],
    told: Told,
) -> LesionCrop:
    label = np.isin(organs, hosts).astype(np.uint8) * np.uint8(ORGAN)
    label[mask] = LESION
    return LesionCrop(
        case_id=lesion.case_id,
        image_hu=image_hu,
        organs=organs,
        label=label,
        hosts=hosts,
        mask_text=told.mask_text,
        paint_text=told.paint_text,
        asked_hu=told.asked_hu,
    )
