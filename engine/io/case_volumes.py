"""Cases that are simply there: a folder of volumes, a glob, or one volume.

A volume is a file of a known format, or a folder that holds a DICOM series (`.dcm` files, or files without suffix that
begin as DICOM does). Names that begin with a dot are left out.

With `cases.organs`, a template such as `{dir}/labels.nii.gz` or `maps/{case_id}.nii.gz`, one rule tells organ maps from
cases: **a volume whose path fits the template, its placeholders standing for anything, is an organ map and no case.**
Without a template every volume is a case. A volume that is named by itself always is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from engine.core.errors import CaseListError
from engine.core.suggest import did_you_mean
from engine.io.case_id import PathNaming
from engine.io.case_rows import BATCH_ROWS, CASE_SCHEMA
from engine.io.case_uris import (
    VOLUME_SUFFIXES,
    absolute,
    filesystem,
    folder_of,
    name_of,
    normal,
    reading,
    relative,
    stem_of,
)

_DICOM_MAGIC = slice(128, 132)


@dataclass(frozen=True)
class OrganTemplate:
    """A volume's organ map: URI with `{case_id}`, `{dir}` (the volume's folder) and `{stem}` (its name, no suffix)."""

    text: str

    @classmethod
    def parse(cls, text: str) -> OrganTemplate:
        """Raises `CaseListError` for another placeholder. A relative template is relative to the working folder."""
        for name in re.findall(r"\{(.*?)\}", text):
            if name not in ("case_id", "dir", "stem"):
                hint = did_you_mean(name, ("case_id", "dir", "stem")) or "; known are {case_id}, {dir} and {stem}"
                raise CaseListError(f"cases.organs: unknown placeholder '{{{name}}}'{hint}")
        return cls(text if text.startswith("{dir}") else absolute(text))

    def filled(self, case_id: str, uri: str) -> str:
        """`uri` is the volume's, absolute."""
        values = {"case_id": case_id, "dir": folder_of(uri), "stem": stem_of(uri)}
        return normal(re.sub(r"\{(\w+)\}", lambda found: values[found[1]], self.text))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What an organ map's absolute URI looks like, whatever stands for the placeholders."""
        # "{dir}/.." is one folder up from anywhere: still any folder.
        text = re.sub(r"\{dir\}(/\.\.)+", "{dir}", self.text)
        anything = {"{dir}": ".*", "{case_id}": "[^/]+", "{stem}": "[^/]+"}
        parts = re.split(r"(\{\w+\})", normal(text))
        return re.compile("".join(anything.get(part) or re.escape(part) for part in parts))


@dataclass(frozen=True)
class VolumeCases:
    """Volumes found under the folder `base`; `paths` string array, relative to it, sorted."""

    origin: str
    base: str
    paths: pa.Array
    organs: OrganTemplate | None = None

    def rows(self) -> Iterator[pa.RecordBatch]:
        for paths in self._slices():
            ids = self._naming.ids(paths)
            columns = [ids, paths, self._organs(ids, paths), *_open_rows(len(paths))]
            yield pa.RecordBatch.from_arrays(columns, schema=CASE_SCHEMA)

    def _slices(self) -> Iterator[pa.Array]:
        for start in range(0, len(self.paths), BATCH_ROWS):
            yield self.paths.slice(start, BATCH_ROWS)

    @cached_property
    def _naming(self) -> PathNaming:
        return PathNaming.over(self._slices)

    def _organs(self, ids: pa.Array, paths: pa.Array) -> pa.Array:
        if self.organs is None:
            return pa.array([""] * len(ids), pa.string())
        uris = [
            relative(self.organs.filled(case_id, f"{self.base}/{path}"), self.base)
            for case_id, path in zip(ids.to_pylist(), paths.to_pylist(), strict=True)
        ]
        return pa.array(uris, pa.string())


def _open_rows(count: int) -> tuple[pa.Array, pa.Array]:
    """`wanted` and `variants` of rows that say nothing of either."""
    return pa.array([""] * count, pa.string()), pa.array([0] * count, pa.int32())


def volumes_in(folder: str, organs: OrganTemplate | None) -> VolumeCases:
    """Every volume in a folder and those below. Raises `CaseListError`: unreadable, or no case in it."""
    fs, root = filesystem(folder)
    root = root.rstrip("/")
    with reading(folder):
        found = sorted(_walk(fs, root))
    if "." in found:
        # The folder is a series itself, so it is a case, and cases lie in its parent.
        return _cases(folder, folder_of(folder), [normal(f"{name_of(folder)}/{path}") for path in found], organs)
    return _cases(folder, folder, found, organs)


def volumes_matching(pattern: str, organs: OrganTemplate | None) -> VolumeCases:
    """Volumes and DICOM folders that a glob names. Raises `CaseListError` if there is none."""
    base = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    fs, path = filesystem(pattern)
    skip = len(filesystem(base)[1].rstrip("/")) + 1
    with reading(pattern):
        matches = fs.glob(path, detail=True)
        found = [p[skip:] for p, info in matches.items() if _is_case(fs, p, info)]
    return _cases(pattern, base, sorted(found), organs)


def one_volume(uri: str, organs: OrganTemplate | None) -> VolumeCases:
    return VolumeCases(uri, folder_of(uri), pa.array([name_of(uri)]), organs)


def is_volume(name: str) -> bool:
    return name.lower().endswith(VOLUME_SUFFIXES)


def _cases(origin: str, base: str, found: list[str], organs: OrganTemplate | None) -> VolumeCases:
    if not found:
        raise CaseListError(f"{origin}: no volume there ({', '.join(VOLUME_SUFFIXES)} or a DICOM series folder)")
    if organs is not None:
        found = [path for path in found if organs.pattern.fullmatch(f"{base}/{path}") is None]
        if not found:
            raise CaseListError(f"{origin}: cases.organs '{organs.text}' fits every volume there; no case is left")
    return VolumeCases(origin, base, pa.array(found, pa.string()), organs)


def _walk(fs: Any, root: str) -> Iterator[str]:
    """Paths of volumes relative to `root`; "." where the root itself is a DICOM series."""
    for folder, _, files in fs.walk(root, on_error="raise"):
        inside = folder.rstrip("/")[len(root) + 1 :]
        if any(part.startswith(".") for part in inside.split("/") if part):
            continue
        seen = [name for name in files if not name.startswith(".")]
        yield from (f"{inside}/{name}".lstrip("/") for name in seen if is_volume(name))
        if _is_series(fs, folder, seen):
            yield inside or "."


def _is_case(fs: Any, path: str, info: dict[str, Any]) -> bool:
    name = name_of(path)
    if name.startswith("."):
        return False
    if info["type"] != "directory":
        return is_volume(name)
    inside = fs.ls(path, detail=True)
    return _is_series(fs, path, [name_of(child["name"]) for child in inside if child["type"] == "file"])


def _is_series(fs: Any, folder: str, files: Sequence[str]) -> bool:
    """Whether the files of a folder are DICOM: by suffix, or by the magic of the first without one."""
    if any(name.lower().endswith(".dcm") for name in files):
        return True
    # Slices are often named by their UID, whose last part is a number and no suffix.
    bare = [name for name in sorted(files) if re.fullmatch(r"[^.]+|[^.].*\.\d+", name) and name.upper() != "DICOMDIR"]
    if not bare:
        return False
    head: bytes = fs.cat_file(f"{folder.rstrip('/')}/{bare[0]}", start=0, end=_DICOM_MAGIC.stop)
    return head[_DICOM_MAGIC] == b"DICM"
