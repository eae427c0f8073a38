"""A run's files on an object store (S3, GCS, memory://): one PUT is whole or not at all by itself."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec

_READ_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class ObjectStore:
    """Objects below `uri`. Methods raise what the file system raises, see `store_errors`."""

    uri: str
    token: str = ""

    def check_writable(self) -> None:
        """Write and remove a probe."""
        name = f".inflight/{uuid.uuid4().hex}"
        self._fs.pipe_file(self._path(name), b"")
        self.delete((name,))

    def put(self, name: str, chunks: Iterable[bytes], *, durable: bool) -> None:
        """`durable` is what a PUT always is."""
        if isinstance(chunks, tuple) and len(chunks) == 1:
            self._fs.pipe_file(self._path(name), chunks[0])
            return
        with tempfile.NamedTemporaryFile() as spool:
            spool.writelines(chunks)
            spool.flush()
            self._fs.put_file(spool.name, self._path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Conditional PUT. A retry after a lost answer finds its own content, and so do we."""
        try:
            self._fs.pipe_file(self._path(name), data, mode="create")
        except OSError:
            if not self.exists(name):
                raise
        try:
            return self.get(name) == data
        except FileNotFoundError:
            return False

    def get(self, name: str) -> bytes:
        data: bytes = self._fs.cat_file(self._path(name))
        return data

    def open(self, name: str) -> Any:
        return self._fs.open(self._path(name), "rb", block_size=_READ_BLOCK_BYTES, cache_type="readahead")

    def exists(self, name: str) -> bool:
        return bool(self._fs.isfile(self._path(name)))

    def names(self, folder: str) -> list[str]:
        root = self._path("")
        found = [p.removeprefix(root) for p in self._fs.find(self._path(folder)) if p.startswith(root)]
        return sorted(n for n in found if not n.startswith(".inflight/"))

    def delete(self, names: Sequence[str]) -> None:
        paths = [self._path(name) for name in names]
        try:
            self._fs.rm(paths)
        except FileNotFoundError:  # one of them is gone already: S3 does not mind, others do
            for path in paths:
                if self._fs.exists(path):
                    self._fs.rm_file(path)

    def fence(self, token: str) -> None:
        """Nothing to take away: an orphan's objects have the names and bytes that its successor's have."""

    def sweep(self) -> None:
        """Nothing is ever in flight."""

    def uri_of(self, name: str) -> str:
        return f"{self.uri}/{name}"

    @property
    def _fs(self) -> Any:
        """fsspec keeps one instance a process and thread. A cached listing would hide what other processes wrote."""
        return fsspec.core.url_to_fs(self.uri, use_listings_cache=False)[0]

    def _path(self, name: str) -> str:
        root: str = self._fs._strip_protocol(self.uri)
        return f"{root.rstrip('/')}/{name}".removesuffix("/") if name else f"{root.rstrip('/')}/"
