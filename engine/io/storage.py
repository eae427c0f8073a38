"""The output folder of a run: files that are whole or absent, on a mounted file system or any fsspec object store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from engine.core.errors import OutputError, UsageError
from engine.core.store_errors import refusal, store_errors
from engine.core.suggest import did_you_mean
from engine.io.local_store import LocalStore, TakenOverError
from engine.io.object_store import ObjectStore

__all__ = ["OutputFolder", "TakenOverError", "open_input", "open_output"]

_READ_ONLY_PROTOCOLS = ("http", "https", "data", "zip", "tar", "github")


@dataclass(frozen=True)
class OutputFolder:
    """Where a run writes. Small, picklable, built by `open_output`.

    `uri`   absolute path, or protocol://bucket/path
    `token` of the driver that holds the run's lease; empty while none does

    Names are relative, with "/" between parts. Writing raises `OutputError`, one line; reading a name that is not there
    raises `FileNotFoundError`.
    """

    uri: str
    token: str = ""

    def put(self, name: str, data: bytes, *, durable: bool = False) -> None:
        """Write a file, replacing one of that name. `durable` also survives a power cut."""
        self.put_stream(name, (data,), durable=durable)

    def put_stream(self, name: str, chunks: Iterable[bytes], *, durable: bool = False) -> None:
        """As `put`, for content that is better not held in memory."""
        with self._writing():
            self._store.put(_checked(name), chunks, durable=durable)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one of that name; `data` should name its writer.

        Of several processes that try at once, exactly one gets True.
        """
        with self._writing():
            return self._store.create(_checked(name), data)

    def get(self, name: str) -> bytes:
        with self._reading():
            return self._store.get(_checked(name))

    def open(self, name: str) -> Any:
        """A seekable binary file to read from; close it."""
        with self._reading():
            return self._store.open(_checked(name))

    def exists(self, name: str) -> bool:
        with self._reading():
            return self._store.exists(_checked(name))

    def names(self, folder: str = "") -> list[str]:
        """Every file below a folder, sorted; none if there is no such folder."""
        with self._reading():
            return self._store.names(folder.rstrip("/"))

    def delete(self, names: Sequence[str]) -> None:
        """Remove files, and folders that this leaves empty. Names that are not there are fine."""
        if names:
            with self._writing():
                self._store.delete([_checked(name) for name in names])

    def fence(self, token: str) -> OutputFolder:
        """This folder for the holder of `token`; whoever writes with another token can no longer put files in place.

        On object stores nothing is taken away: what an orphan writes there has the name and bytes of its successor's.
        """
        with self._writing():
            self._store.fence(token)
        return replace(self, token=token)

    def sweep(self) -> None:
        """Remove what is in flight, at the end of a run. Puts with this token fail from here on."""
        with self._writing():
            self._store.sweep()

    def uri_of(self, name: str) -> str:
        """Path or URI of a file or folder in it, for any reader."""
        return self._store.uri_of(name)

    @property
    def _store(self) -> LocalStore | ObjectStore:
        return ObjectStore(self.uri, self.token) if "://" in self.uri else LocalStore(Path(self.uri), self.token)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except store_errors() as error:
            raise OutputError(f"{self.uri}: {refusal(error)}") from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except store_errors() as error:
            raise OutputError(f"{self.uri}: cannot be read: {refusal(error)}") from error


def open_output(uri: str) -> OutputFolder:
    """The folder at a path or URI, which need not exist yet. Raises `UsageError`: not a place one can write to."""
    output = OutputFolder(_normal(uri))
    try:
        output._store.check_writable()
    except ImportError as error:
        raise UsageError(f"output '{uri}' needs a package that is not installed: {error}") from None
    except store_errors() as error:
        raise UsageError(f"output '{uri}' cannot be written: {refusal(error)}") from None
    return output


def open_input(uri: str, name: str) -> OutputFolder:
    """The folder of a finished run, to read from: nothing is tried there that a read-only mount would refuse.

    `name` is a file that it should hold; whether it does is the caller's to ask. Raises `UsageError`: not readable.
    """
    output = OutputFolder(_normal(uri))
    try:
        output._store.get(name)
    except FileNotFoundError:
        pass
    except ImportError as error:
        raise UsageError(f"'{uri}' needs a package that is not installed: {error}") from None
    except store_errors() as error:
        raise UsageError(f"'{uri}' cannot be read: {refusal(error)}") from None
    return output


def _normal(uri: str) -> str:
    """Absolute path without `file://`, or the URI without a trailing slash. Raises `UsageError` for look-alikes."""
    if not uri.strip():
        raise UsageError("output is empty; give a folder, or a URI such as s3://bucket/run")
    known = fsspec.available_protocols()
    protocol, separator, rest = uri.partition("://")
    if not separator:
        look_alike = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)(:/?|//)(?=[^/])", uri)
        if look_alike and look_alike[1] in known:
            raise UsageError(f"output '{uri}' should read {look_alike[1]}://{uri[look_alike.end() :]}")
        return os.fspath(Path(uri).expanduser().absolute())
    if protocol in ("file", "local"):
        return os.fspath(Path("/", rest.lstrip("/")))
    if "::" in uri or protocol in _READ_ONLY_PROTOCOLS:
        raise UsageError(f"output '{uri}' cannot be written through {protocol}; give a folder, or s3://bucket/run")
    if protocol not in known:
        raise UsageError(f"output '{uri}': unknown protocol '{protocol}'{did_you_mean(protocol, known)}")
    parts = rest.rstrip("/").split("/")
    if not parts[0] or any(p in ("", ".", "..") for p in parts):
        raise UsageError(f"output '{uri}' should read {protocol}://bucket/folder, without empty, '.' or '..' parts")
    return f"{protocol}://{'/'.join(parts)}"


def _checked(name: str) -> str:
    """Names are made by the engine: one that could leave the folder is a bug."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise ValueError(f"'{name}' is not a name inside an output folder")
    return name
