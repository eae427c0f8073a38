"""Organ maps that were made rather than given: kept under the digest of their CT, so that each is made once.

    <cache>/<model>/<sha256 of the CT>.nii.gz      v1 ids on the CT's grid

In a manifest their URI begins with `made:`, which says whose ids they hold; what follows is a path or URI, and a
relative one starts at the run's own folder. A run with its maps in it can so be moved, and two runs be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.errors import UsageError
from engine.io.storage import OutputFolder, open_output
from engine.io.uris import resolve

MADE = "made:"
FOLDER = "organs"
"""Of a run, where no other cache is named."""


@dataclass(frozen=True)
class OrganCache:
    """The maps of one model. Small, picklable, built by `open_cache`.

    `model` names the model, its version and its weights: maps of another are never taken for its own.
    """

    folder: OutputFolder
    model: str
    base: str
    """What the URIs of its maps begin with after `made:`."""
    inside: str = ""
    """Its place in `folder`, with a slash at the end."""

    def find(self, ct_sha256: str) -> str | None:
        """URI of this CT's map, if it is there. Raises `OutputError` where the cache cannot be read."""
        return self._uri(ct_sha256) if self.folder.exists(self._name(ct_sha256)) else None

    def keep(self, ct_sha256: str, data: bytes) -> str:
        """Put a map (.nii.gz) in place, whole or not at all; returns its URI. Raises `OutputError`."""
        self.folder.put(self._name(ct_sha256), data)
        return self._uri(ct_sha256)

    def _name(self, ct_sha256: str) -> str:
        return f"{self.inside}{self.model}/{ct_sha256}.nii.gz"

    def _uri(self, ct_sha256: str) -> str:
        return f"{MADE}{self.base}/{self.model}/{ct_sha256}.nii.gz"


def open_cache(cache: str | None, model: str, output: OutputFolder) -> OrganCache:
    """The cache at a path or URI; without one that of the run itself. Raises `UsageError`: not a place to write to."""
    if cache is None:  # by the run's own folder, so that its workers are fenced out of it, too
        return OrganCache(output, model, base=FOLDER, inside=f"{FOLDER}/")
    try:
        folder = open_output(cache)
    except UsageError as error:
        raise UsageError(f"organs.cache: {error}") from None
    return OrganCache(folder, model, base=folder.uri)


def opened_as(organs_uri: str, cases_base: str, output: OutputFolder) -> tuple[str, bool]:
    """(an organ map's URI as it can be opened, whether it was made and so holds v1 ids)."""
    if organs_uri.startswith(MADE):
        return resolve(organs_uri.removeprefix(MADE), output.uri), True
    return resolve(organs_uri, cases_base), False
