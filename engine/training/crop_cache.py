"""Decoded crops, kept so that an epoch after the first opens no volume.

    <cache>/<ab>/<key>.npz     `ab` the first two digits of the key

The key is a digest of all that a crop depends on, and of what its files' store says of them: size and time of change on
disk, the ETag on S3. So a file that changes, or vanishes, is noticed, and one cache serves any number of trainings.
Files are put in place whole, and hold no pickled objects.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from engine.core.geometry import Shape3
from engine.io.storage import OutputFolder
from engine.io.streams import filesystem_of, reported
from engine.io.volumes import of_file
from engine.training.crop import LesionCrop

_FORMAT = 1
"""Rises with any change of what is decoded, or how it is kept."""
_REST = ("case_id", "hosts", "mask_text", "paint_text", "asked_hu")
"""Of a record: what is no volume."""
_MARKS = ("ETag", "mtime", "LastModified", "updated", "created")
"""By which stores tell that a file has changed; the first that one has is taken, beside the size."""
_DAMAGE = (ValueError, KeyError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise for a file that is none of theirs."""


class CropCache:
    """Crops of one shape. Small, picklable; raises `OutputError` where the folder cannot be read or written."""

    def __init__(self, folder: OutputFolder, shape: Shape3) -> None:
        self._folder, self._shape = folder, shape

    def find(self, key: str) -> LesionCrop | None:
        """The crop, or None where there is none, or what is there does not decode."""
        try:
            return _unpacked(self._folder.get(_name(key)), self._shape)
        except FileNotFoundError:
            return None
        except (*_DAMAGE, isal_zlib.IsalError):  # type: ignore[misc] # its stub calls the class an instance
            return None  # damaged on disk: it is decoded anew, and put in its place

    def keep(self, key: str, crop: LesionCrop) -> None:
        """`crop.image_hu` holds whole numbers that int16 can hold."""
        self._folder.put(_name(key), _packed(crop))


def key_of(settings: Mapping[str, Any], uris: Sequence[str]) -> str:
    """32 digits of plain data and of the files at `uris` as they are now. Raises `VolumeError` for one that is gone."""
    text = json.dumps([_FORMAT, settings, [_identity(uri) for uri in uris]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _identity(uri: str) -> str:
    with of_file(uri):
        filesystem, path = filesystem_of(uri)
        with reported():
            info = filesystem.info(path)
    mark = next((str(info[name]) for name in _MARKS if name in info), "")
    return f"{info.get('size')} {mark}"


def _name(key: str) -> str:
    return f"{key[:2]}/{key}.npz"


def _packed(crop: LesionCrop) -> bytes:
    """The image as int16; label maps compressed, as they shrink a hundredfold and an image hardly does."""
    rest, stream = crop.to_record(), io.BytesIO()
    np.savez(
        stream,
        allow_pickle=False,
        image=crop.image_hu.astype(np.int16),
        organs=_squeezed(crop.organs),
        label=_squeezed(crop.label),
        **{name: np.array(rest[name]) for name in _REST},
    )
    return stream.getvalue()


def _unpacked(data: bytes, shape: Shape3) -> LesionCrop:
    """Raises ValueError and what numpy and zlib raise for data that is none."""
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        if kept["image"].shape != shape:
            raise ValueError("a crop of another shape")
        return LesionCrop.from_record(
            {
                "image_hu": kept["image"].astype(np.float32),
                "organs": _unsqueezed(kept["organs"], shape),
                "label": _unsqueezed(kept["label"], shape),
                "problem": "",
                **{name: kept[name] for name in _REST},
            }
        )


def _squeezed(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.frombuffer(isal_zlib.compress(np.ascontiguousarray(values), 1), np.uint8)


def _unsqueezed(data: NDArray[np.uint8], shape: Shape3) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(isal_zlib.decompress(data.tobytes())), np.uint8).reshape(shape)
