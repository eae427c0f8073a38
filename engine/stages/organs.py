"""{ct_uri, organs_uri} -> + {source}: the volume and its organ map are there, fit for use, and in one space."""

from __future__ import annotations

from dataclasses import replace

from engine.core.errors import OrganMapError
from engine.core.sample import Sample, Source
from engine.io.reader import CaseReader
from engine.run import Run


def find_organs(sample: Sample, run: Run, reader: CaseReader) -> Sample:
    """One sample in, one out. Raises `VolumeError`, `OrganMapError`."""
    del run
    volume = reader.volume(sample.ct_uri)
    if not sample.organs_uri:
        raise OrganMapError("no organ map is given for this case; name one in the case list or in cases.organs")
    _, organs_sha256 = reader.organs(sample.organs_uri, volume.grid)
    return replace(sample, source=Source(volume.grid, volume.sha256, organs_sha256))
