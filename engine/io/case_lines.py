"""The reference's aligned list files: line n of each belongs to the same case.

Every file is one URI a line, but for the attributes: a JSON object a line. In all but the images a blank line means
"not given for this case". URIs are relative to the folder of the file they stand in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import fsspec
import pyarrow as pa

from engine.core.errors import CaseListError
from engine.io.case_rows import BATCH_ROWS, CASE_SCHEMA, parse_json, wanted_text
from engine.io.case_uris import absolute, folder_of, normal, reading, relative
from engine.io.uris import resolve
from engine.settings import ListFiles


@dataclass(frozen=True)
class AlignedCases:
    """`files`: what a line holds (image, organs, attributes, report) -> absolute URI of its list."""

    files: Mapping[str, str]

    @classmethod
    def of(cls, lists: ListFiles) -> AlignedCases:
        return cls({kind: absolute(uri) for kind, uri in lists.model_dump().items() if uri is not None})

    @property
    def origin(self) -> str:
        return self.files["image"]

    @property
    def base(self) -> str:
        return folder_of(self.files["image"])

    def rows(self) -> Iterator[pa.RecordBatch]:
        count = self._common_length()
        lines = {kind: _lines(uri) for kind, uri in self.files.items()}
        rows = (dict(zip(lines, row, strict=True)) for row in zip_longest(*lines.values(), fillvalue=""))
        numbered = enumerate(islice(rows, count), 1)
        while chunk := list(islice(numbered, BATCH_ROWS)):
            parsed = [self._row(number, row) for number, row in chunk]
            yield pa.RecordBatch.from_pylist(parsed, schema=CASE_SCHEMA)

    def _common_length(self) -> int:
        """Cases in the lists. Raises `CaseListError` where a file has more or fewer lines than the images."""
        lengths = {kind: _length(uri) for kind, uri in self.files.items()}
        cases = lengths["image"].filled
        for kind, length in lengths.items():
            if not length.filled <= cases <= length.lines:
                raise CaseListError(
                    f"list files of unequal length: {self.files['image']} has {cases} lines, "
                    f"{self.files[kind]} has {length.filled}"
                )
        return cases

    def _row(self, number: int, row: Mapping[str, str]) -> dict[str, Any]:
        if not row["image"]:
            raise CaseListError(f"{self.files['image']}:{number}: blank line, should be a volume's URI")
        return {
            "case_id": None,
            "ct_uri": row["image"],
            "organs_uri": self._from_base("organs", row.get("organs", "")),
            "wanted": self._wanted(number, row),
            "variants": 0,
        }

    def _wanted(self, number: int, row: Mapping[str, str]) -> str:
        where = f"{self.files.get('attributes')}:{number}"
        text, report = row.get("attributes", ""), row.get("report", "")
        if not report:
            return wanted_text(text, where)
        attributes = parse_json(text, where) if text else {}
        if not isinstance(attributes, dict):
            raise CaseListError(f"{where}: beside a report this should be one JSON object, which holds for its lesions")
        return wanted_text({**attributes, "type_json": self._from_base("report", report)}, where)

    def _from_base(self, kind: str, uri: str) -> str:
        """A URI out of the list of `kind` as it looks from the images' list."""
        folder = folder_of(self.files.get(kind, self.files["image"]))
        return uri if not uri or folder == self.base else relative(normal(resolve(uri, folder)), self.base)


@dataclass(frozen=True)
class _Length:
    lines: int
    filled: int
    """Lines up to the last that is not blank."""


def _length(uri: str) -> _Length:
    lines = filled = 0
    for lines, line in enumerate(_lines(uri), 1):
        if line:
            filled = lines
    return _Length(lines, filled)


def _lines(uri: str) -> Iterator[str]:
    with reading(uri), fsspec.open(uri, "rt", encoding="utf-8-sig") as stream:
        for line in stream:
            yield line.strip()
