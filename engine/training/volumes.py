"""The volumes of a lesion: image, label and organ map, each read once for lesions that come one after another."""

from __future__ import annotations

from engine.core.anatomy import OrganMap, table_for
from engine.core.errors import OrganMapError
from engine.core.geometry import Grid
from engine.io.organs import read_organ_map
from engine.io.streams import filesystem_of, reported
from engine.io.volumes import Volume, looks_like_ct, of_file, read_volume
from engine.training.known import KnownLesion
from engine.training.label import Pieces, read_label


class Volumes:
    """Keeps what was read last, and lets go of it before the next is read."""

    def __init__(self) -> None:
        self._image: tuple[str, Volume] | None = None
        self._label: tuple[str, Pieces] | None = None
        self._organs: tuple[str, OrganMap] | None = None

    def image(self, lesion: KnownLesion) -> Volume:
        """Raises `VolumeError`, also where it is not in HU."""
        if self._image is None or self._image[0] != lesion.image_uri:
            self._image = self._label = self._organs = None
            volume = read_volume(lesion.image_uri)
            if not lesion.ours:
                with of_file(lesion.image_uri):
                    looks_like_ct(volume)
            self._image = (lesion.image_uri, volume)
        return self._image[1]

    def label(self, lesion: KnownLesion, like: Grid) -> Pieces:
        """Every lesion of the label; `like` is the image's grid. Raises `VolumeError`."""
        if self._label is None or self._label[0] != lesion.label_uri:
            self._label = None
            self._label = (lesion.label_uri, read_label(lesion.label_uri, like))
        return self._label[1]

    def organs(self, uri: str, lesion: KnownLesion, like: Grid) -> OrganMap:
        """v1 ids on the image's grid, of the map at `uri`. Raises `OrganMapError`."""
        if self._organs is None or self._organs[0] != uri:
            self._organs = None
            table = table_for(lesion.scheme, dict(lesion.names) if lesion.names is not None else None)
            try:
                organs, _ = read_organ_map(uri, like, table)
            except OrganMapError as error:
                raise OrganMapError(f"{error}{_where(uri, lesion)}") from None
            self._organs = (uri, organs)
        return self._organs[1]


def _where(uri: str, lesion: KnownLesion) -> str:
    """For a run, whose manifest has the URIs of its case list, and not where that lay."""
    if not lesion.ours:
        return ""
    filesystem, path = filesystem_of(uri)
    with reported():
        gone = not filesystem.exists(path)
    return f" ({uri}; relative ones start from the folder of the run's case list)" if gone else ""
