"""Finding case lists and volumes: local paths and any fsspec URI alike."""

from __future__ import annotations

import posixpath
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from engine.core.errors import CaseListError
from engine.core.store_errors import refusal, store_errors

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_PROTOCOL = r"[A-Za-z][A-Za-z0-9+.-]*(://|::)"


def absolute(uri: str) -> str:
    """A local path made absolute (against the working folder), a URI as it is; no trailing slash."""
    if re.match(_PROTOCOL, uri):
        return uri.rstrip("/")
    return posixpath.normpath(Path(uri).expanduser().absolute().as_posix())


def folder_of(uri: str) -> str:
    """The folder a file lies in."""
    return uri.rstrip("/").rpartition("/")[0]


def name_of(uri: str) -> str:
    """The last path part."""
    return uri.rstrip("/").rpartition("/")[2]


def stem_of(uri: str) -> str:
    """The last path part without the suffix of its volume format."""
    name = name_of(uri)
    for suffix in VOLUME_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def normal(uri: str) -> str:
    """`.` and `..` parts worked out; object stores do not do that themselves."""
    protocol, mark, path = uri.rpartition("://")
    return protocol + mark + posixpath.normpath(path) if path else uri


def relative(uri: str, base: str) -> str:
    """`uri` seen from the folder `base` if it lies in it, else unchanged. `engine.io.uris.resolve` undoes it."""
    return uri.removeprefix(base + "/")


def filesystem(uri: str) -> tuple[Any, str]:
    """(fsspec filesystem, path on it). Raises `CaseListError` for an unknown or uninstalled protocol."""
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise CaseListError(f"{uri}: cannot be opened ({error})") from None
    return fs, str(path)


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Turn what can go wrong while a list is read into one line that names it."""
    try:
        yield
    except FileNotFoundError:
        raise CaseListError(f"{uri}: no such file or folder") from None
    except UnicodeDecodeError as error:
        raise CaseListError(f"{uri}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except pa.ArrowInvalid as error:
        raise CaseListError(f"{uri}: not a readable Parquet file ({error})") from None
    except (EOFError, zlib.error) as error:
        raise CaseListError(f"{uri}: cannot be read ({error})") from None
    except store_errors() as error:
        raise CaseListError(f"{uri}: cannot be read ({refusal(error)})") from None
