"""CT -> organ map: a resident TotalSegmentator, its maps kept in the run's cache."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import ray
from numpy.typing import NDArray

from engine.core.anatomy import OrganMap, v2_to_v1
from engine.core.errors import CaseError, LesionForgeError, OrganMapError, OutputError, ServiceLostError
from engine.core.geometry import Box
from engine.core.intensity import AIR_HU
from engine.core.store_errors import refusal
from engine.io.nifti import encode_label
from engine.io.organ_cache import OrganCache
from engine.io.streams import name_of
from engine.io.volumes import Volume, read_volume
from engine.settings import Input

if TYPE_CHECKING:
    from actors.organ_models import OrganModels
    from actors.totalsegmentator import TotalSegmentator

_MOST_STARTS = 4
_CANNOT = (ArithmeticError, AssertionError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What torch, scipy and nnU-Net raise for a CT that they cannot take, or that is too large for the device."""


class SegmentActor:
    """One CT at a time. Weights are loaded for the first that is not in the cache."""

    def __init__(self, models: OrganModels, device: str, cache: OrganCache, rules: Input, starts: Any) -> None:
        """`rules` as the CTs of the run are read by; `starts` is the `Starts` of all these actors."""
        self._models, self._device, self._cache, self._rules, self._starts = models, device, cache, rules, starts
        self._segment: TotalSegmentator | None = None
        self._kept = 0

    def kept(self) -> int:
        """How many maps this process has made."""
        return self._kept

    def segment(self, ct_uri: str, ct_sha256: str) -> str | LesionForgeError:
        """URI of the CT's map in the cache, or why there is none: an exception that is raised here loses its line."""
        if made := self._cache.find(ct_sha256):
            return made
        try:
            if why_not := ray.get(self._starts.begin.remote(ct_sha256)):
                raise OrganMapError(why_not)
            made = self._made(ct_uri, ct_sha256)
        except CaseError as error:
            ray.get(self._starts.failed.remote(ct_sha256, str(error)))
            return OrganMapError(str(error))
        except OutputError as error:
            return error
        ray.get(self._starts.done.remote(ct_sha256))
        self._kept += 1
        return made

    def _made(self, ct_uri: str, ct_sha256: str) -> str:
        volume = read_volume(ct_uri, self._rules)
        if volume.sha256 != ct_sha256:
            raise OrganMapError(f"{name_of(ct_uri)} has changed while it was being read")
        return self._cache.keep(ct_sha256, encode_label(volume.header, self._map_of(volume, name_of(ct_uri))))

    def _map_of(self, volume: Volume, name: str) -> OrganMap:
        segment = self._loaded()
        try:
            return organ_map(volume, segment)
        except _CANNOT as error:
            line = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise OrganMapError(f"TotalSegmentator cannot segment {name}: {line[:200]}") from error

    def _loaded(self) -> TotalSegmentator:
        if self._segment is None:
            from actors.torch_devices import given_devices
            from actors.totalsegmentator import TotalSegmentator
            from models.tensor_file import CheckpointError

            device = given_devices(processors_only=self._device == "cpu")[0]
            try:
                self._segment = TotalSegmentator(self._models, device)
            except CheckpointError as error:
                raise ServiceLostError(f"organs: {error}") from error
            except OSError as error:
                raise ServiceLostError(f"organs: {error.filename} cannot be read: {refusal(error)}") from error
        return self._segment


class Starts:
    """How often each CT was begun, by whichever actor: one that ends its actor's process every time is given up.

    Also which ones failed, and why: the next variant of the case need not try again.
    """

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._why: dict[str, str] = {}

    def begin(self, ct_sha256: str) -> str:
        """Why this CT should not be begun; empty where it may be."""
        if ct_sha256 not in self._why and self._begun[ct_sha256] >= _MOST_STARTS:
            self._why[ct_sha256] = (
                f"TotalSegmentator's process ended {_MOST_STARTS} times while it segmented this CT; has it the memory?"
            )
        self._begun[ct_sha256] += 1
        return self._why.get(ct_sha256, "")

    def failed(self, ct_sha256: str, why: str) -> None:
        self._why[ct_sha256] = why

    def done(self, ct_sha256: str) -> None:
        self._begun.pop(ct_sha256, None)


def organ_map(volume: Volume, segment: TotalSegmentator) -> OrganMap:
    """v1 ids on the CT's grid. NaN and infinities, which only matter where a lesion goes, are taken for air."""
    hu: NDArray[np.float32] = volume.hu(Box.whole(volume.raw.shape))
    hu[~np.isfinite(hu)] = AIR_HU
    ids = segment(nib.Nifti1Image(hu, volume.grid.affine))
    return np.asfortranarray(v2_to_v1()[ids])
