"""{ct_uri, organs_uri?} -> {organs_uri} + {source}: volume and organ map are there, fit for use, and in one space."""

from __future__ import annotations

from dataclasses import replace

from engine.core.errors import OrganMapError
from engine.core.requests import Segmenter
from engine.core.sample import Sample, Source
from engine.io.reader import CaseReader
from engine.io.uris import resolve
from engine.run import Run


def find_organs(sample: Sample, run: Run, reader: CaseReader, segmenter: Segmenter | None = None) -> Sample:
    """One sample in, one out; a case without an organ map is given one where there is a segmenter to make it.

    Raises `VolumeError`, `OrganMapError`, and what the segmenter raises.
    """
    volume = reader.volume(sample.ct_uri)
    organs_uri = sample.organs_uri
    if not organs_uri and segmenter is not None:
        organs_uri = segmenter(resolve(sample.ct_uri, run.cases_base), volume.sha256)
    if not organs_uri:
        raise OrganMapError(
            "no organ map is given for this case; name one in the case list or in cases.organs, "
            "or have it made with organs.backend: totalsegmentator"
        )
    _, organs_sha256 = reader.organs(organs_uri, volume.grid)
    return replace(sample, organs_uri=organs_uri, source=Source(volume.grid, volume.sha256, organs_sha256))
