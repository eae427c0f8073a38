"""Source files as bytes: opened through fsspec, hashed as stored, gunzipped on the way.

Whether a file is gzip is read from its first two bytes, not from its name. Nothing here holds a whole file.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from engine.core.errors import VolumeError
from engine.core.store_errors import refusal, store_errors

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


def name_of(uri: str) -> str:
    """The last part of a path or URI, for messages; a query (which may carry a signature) is left out."""
    path = urlsplit(uri).path if uri.startswith(("http://", "https://")) else uri
    return path.rstrip("/").rpartition("/")[2] or path


def filesystem_of(uri: str) -> tuple[Any, str]:
    """(fsspec filesystem, path on it). Raises `VolumeError` for a protocol that cannot be served."""
    try:
        with reported():
            filesystem, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise VolumeError(f"its address cannot be opened: {error}") from None
    return filesystem, str(path)


class _HashedFile(io.RawIOBase):
    """Passes a file's bytes on and hashes them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file.read(len(view))
        view[: len(data)] = data
        self.sha256.update(data)
        return len(data)


class SourceFile:
    """A file's content in order of reading, decompressed where it is gzip."""

    def __init__(self, file: IO[bytes]) -> None:
        self._hashed = _HashedFile(file)
        self._stored = io.BufferedReader(self._hashed, _CHUNK_BYTES)
        self._content: io.BufferedIOBase = self._stored
        if self._stored.peek(2)[:2] == _GZIP_MAGIC:
            self._content = igzip.IGzipFile(fileobj=self._stored, mode="rb")

    def read(self, count: int) -> bytes:
        """`count` bytes, fewer only where the content ends."""
        return self._content.read(count)

    def skip(self, count: int) -> None:
        while count > 0 and (chunk := self.read(min(count, _CHUNK_BYTES))):
            count -= len(chunk)

    def fill(self, out: NDArray[np.uint8]) -> int:
        """Read on into `out` (n,); returns how many bytes there were, fewer than n only where the content ends."""
        view, done = memoryview(out.data), 0
        while done < len(view) and (chunk := self.read(min(_CHUNK_BYTES, len(view) - done))):
            view[done : done + len(chunk)] = chunk
            done += len(chunk)
        return done

    def finish(self) -> str:
        """Read to the end, which checks the gzip trailer; returns the sha256 of the file as stored."""
        for stream in (self._content, self._stored):
            while stream.read(_CHUNK_BYTES):
                pass
        return self._hashed.sha256.hexdigest()


def on_this_machine(uri: str, folder: Path) -> tuple[Path, str]:
    """(path, sha256) of a file for readers that need a path: its own if local, else that of a copy in `folder`."""
    filesystem, path = filesystem_of(uri)
    with reported(), filesystem.open(path, "rb") as file:
        hashed = _HashedFile(file)
        if isinstance(filesystem, LocalFileSystem):
            while hashed.read(_CHUNK_BYTES):
                pass
            return Path(path), hashed.sha256.hexdigest()
        copy = folder / name_of(uri)
        with copy.open("wb") as out:
            shutil.copyfileobj(hashed, out, _CHUNK_BYTES)
        return copy, hashed.sha256.hexdigest()


@contextmanager
def opened(uri: str) -> Iterator[SourceFile]:
    """The file at a path or URI. Every way in which opening or reading can fail is a `VolumeError`."""
    filesystem, path = filesystem_of(uri)
    with reported(), filesystem.open(path, "rb") as file:
        yield SourceFile(file)


@contextmanager
def reported() -> Iterator[None]:
    """What the file system and gzip raise, as one line."""
    try:
        yield
    except FileNotFoundError as error:  # for HTTP every refusal is one, with the refusal behind it
        raise VolumeError("no such file" + (", or no access to it" if error.__cause__ else "")) from None
    except EOFError:
        raise VolumeError("the file is truncated: its gzip stream breaks off") from None
    except (igzip.BadGzipFile, isal_zlib.IsalError) as error:  # type: ignore[misc] # its stub calls the class an instance
        raise VolumeError(f"the file is corrupt: its gzip stream does not decode ({error})") from None
    except store_errors() as error:
        raise VolumeError(f"cannot be read: {refusal(error)}") from None
