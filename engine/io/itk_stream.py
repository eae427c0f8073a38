"""Compressed voxels of NRRD and MetaImage files, checked before they are decoded.

ITK hands out a volume even where their stream breaks off or its checksum is wrong: what it could not fill stays as the
memory was.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO

from isal import igzip, isal_zlib

from engine.core.errors import VolumeError

_CHUNK_BYTES = 1 << 16  # of either side; a stream may grow a thousandfold

_META = re.compile(r"^CompressedData\s*=\s*[tT1]", re.MULTILINE)
_NRRD = re.compile(r"^encoding\s*:\s*(?:gz|gzip)\s*$", re.MULTILINE)
_META_END = re.compile(rb"^ElementDataFile\s*=\s*LOCAL\s*?\n", re.MULTILINE)
_NRRD_END = re.compile(rb"\r?\n\r?\n")


def is_compressed(header: str) -> bool:
    return bool((_NRRD if header.startswith("NRRD") else _META).search(header))


def require_whole_stream(data: Path, voxel_bytes: int) -> None:
    """Raises `VolumeError` unless `data`, a file or a detached data file, holds all voxels, with a right checksum."""
    with data.open("rb") as file:
        head = file.read(_CHUNK_BYTES)
        end = (_NRRD_END if head.startswith(b"NRRD") else _META_END).search(head)
        file.seek(end.end() if end else 0)
        magic = file.read(2)
        file.seek(-len(magic), 1)
        try:
            held = _gunzipped_bytes(file) if magic == b"\x1f\x8b" else _inflated_bytes(file)
        except (igzip.BadGzipFile, isal_zlib.IsalError, EOFError) as error:  # type: ignore[misc] # as in streams.py
            raise VolumeError(f"the file is truncated or corrupt: its voxels do not decompress ({error})") from None
    if held != voxel_bytes:
        raise VolumeError(f"its voxels decompress to {held} bytes, and its header asks for {voxel_bytes}")


def _gunzipped_bytes(file: IO[bytes]) -> int:
    unzipped = igzip.IGzipFile(fileobj=file, mode="rb")
    return sum(len(chunk) for chunk in iter(lambda: unzipped.read(_CHUNK_BYTES), b""))


def _inflated_bytes(file: IO[bytes]) -> int:
    stream, held = isal_zlib.decompressobj(), 0
    while not stream.eof:
        if not (chunk := file.read(_CHUNK_BYTES)):
            raise EOFError("the stream breaks off")
        held += len(stream.decompress(chunk))
    return held
