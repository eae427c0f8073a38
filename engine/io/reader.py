"""Reading the volumes of a case, once for all its variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.anatomy import OrganMap, table_for
from engine.core.geometry import Grid
from engine.io.organ_cache import opened_as
from engine.io.organs import read_organ_map
from engine.io.uris import resolve
from engine.io.volumes import Volume, looks_like_ct, of_file, read_volume

if TYPE_CHECKING:
    from engine.run import Run


class CaseReader:
    """Keeps the latest volume and organ map: the variants of a case come one after another."""

    def __init__(self, run: Run) -> None:
        self._rules = run.settings.input
        self._base = run.cases_base
        self._output = run.output
        self._table = table_for(run.settings.organs.labels, run.settings.organs.names)
        self._v1 = table_for("total_v1")
        self._volume: tuple[str, Volume] | None = None
        self._organs: tuple[tuple[str, Grid], tuple[OrganMap, str]] | None = None

    def volume(self, uri: str) -> Volume:
        """The CT at a URI of the case list. Raises `VolumeError`, also where it is not in HU."""
        if self._volume is None or self._volume[0] != uri:
            self._volume = self._organs = None  # let go of the last case before the next is read
            volume = read_volume(resolve(uri, self._base), self._rules)
            with of_file(uri):
                looks_like_ct(volume)
            self._volume = (uri, volume)
        return self._volume[1]

    def organs(self, uri: str, like: Grid) -> tuple[OrganMap, str]:
        """v1 organ ids on the grid of the CT, and the file's sha256. Raises `OrganMapError`."""
        key = (uri, like)
        if self._organs is None or self._organs[0] != key:
            self._organs = None
            address, made = opened_as(uri, self._base, self._output)
            self._organs = (key, read_organ_map(address, like, self._v1 if made else self._table, self._rules))
        return self._organs[1]
