"""A run's files on a mounted file system: whole or not at all, and closed to the workers of an earlier driver.

A file is written as `.inflight/<token>/<random>` and then renamed. Taking the token's folder away therefore stops every
process that still holds that token from putting anything in place, however long it outlives its driver.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from engine.core.errors import OutputError

INFLIGHT = ".inflight"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_PARENT_TRIES = 5


class TakenOverError(OutputError):
    """This process writes for a driver that no longer holds the run."""


@dataclass(frozen=True)
class LocalStore:
    """Files below `root`. Raises `OSError` as the system does, and `TakenOverError` for writing when fenced out."""

    root: Path
    token: str = ""

    def check_writable(self) -> None:
        """Raise `OSError` unless a file could be made here. Leaves nothing behind, not even the folder."""
        place = self.root
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass

    def put(self, name: str, chunks: Iterable[bytes], *, durable: bool) -> None:
        target = self.root / name
        with self._staged(chunks, durable=durable) as staged:
            self._into_place(os.replace, staged, target)
        if durable:
            _sync_folder(target.parent)

    def create(self, name: str, data: bytes) -> bool:
        target = self.root / name
        with self._staged((data,), durable=True) as staged:
            try:
                self._into_place(_link, staged, target)
            except FileExistsError:
                return False
        return True

    def get(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def open(self, name: str) -> pa.NativeFile:
        return pa.OSFile(os.fspath(self.root / name), "rb")

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def names(self, folder: str) -> list[str]:
        top = os.fspath(self.root / folder)
        found = []
        for path, folders, files in os.walk(top, onerror=_raise_unless_gone):
            if path == os.fspath(self.root) and INFLIGHT in folders:
                folders.remove(INFLIGHT)
            found += [os.path.relpath(f"{path}/{file}", self.root) for file in files]
        return sorted(found)

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)
        for parent in {(self.root / name).parent for name in names}:
            self._remove_if_empty(parent)

    def fence(self, token: str) -> None:
        """Make the folder of this token and take away all others."""
        _make_folder(self.root / INFLIGHT / token)
        for other in (self.root / INFLIGHT).iterdir():
            if other.name != token:
                _remove_at_once(other)

    def sweep(self) -> None:
        """Take away all that is in flight, and the room for it."""
        with suppress(FileNotFoundError):
            for folder in (self.root / INFLIGHT).iterdir():
                _remove_at_once(folder)
        with suppress(OSError):
            (self.root / INFLIGHT).rmdir()

    def uri_of(self, name: str) -> str:
        return os.fspath(self.root / name)

    @contextmanager
    def _staged(self, chunks: Iterable[bytes], *, durable: bool) -> Iterator[Path]:
        """The content under a name nobody else has; gone again afterwards, unless it was renamed."""
        folder = self.root / INFLIGHT / (self.token or f"unfenced-{uuid.uuid4().hex}")
        if not self.token:
            _make_folder(folder)
        path = folder / uuid.uuid4().hex
        try:
            with self._taken_over_if_gone(), path.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)
            if not self.token:
                self._remove_if_empty(folder)

    def _into_place(self, move: Callable[[Path, Path], None], staged: Path, target: Path) -> None:
        for _ in range(_PARENT_TRIES):  # another process may remove a parent that it has just emptied
            with suppress(FileNotFoundError):
                move(staged, target)
                return
            if not staged.exists():
                break
            _make_folder(target.parent)
        with self._taken_over_if_gone():
            move(staged, target)

    @contextmanager
    def _taken_over_if_gone(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise TakenOverError(f"{self.root}: this run was taken over by another driver; writing ends here") from None

    def _remove_if_empty(self, folder: Path) -> None:
        """Remove a folder and those above it, up to the root, while they are empty."""
        with suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent


def _link(staged: Path, target: Path) -> None:
    """Give the content its name unless that is taken. Raises `FileExistsError`."""
    try:
        os.link(staged, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Some mounts know no hard links: still exclusive there, but a reader may catch the file half written.
        with target.open("xb") as file:
            file.write(staged.read_bytes())


def _make_folder(folder: Path) -> None:
    for _ in range(_PARENT_TRIES):
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _remove_at_once(folder: Path) -> None:
    """Rename first: from that instant on nothing can be added to it, or renamed out of it, under the old name."""
    gone = folder.with_name(f"gone-{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_gone(error: OSError) -> None:
    """A listing with holes would pass committed rows off as missing."""
    if not isinstance(error, FileNotFoundError):
        raise error
