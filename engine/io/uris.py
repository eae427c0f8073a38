"""URIs of a case list: relative ones start at the list's own folder, so a list and its data can move together."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath


def is_remote(uri: str) -> bool:
    return "://" in uri


def resolve(uri: str, base: str) -> str:
    """`uri` as it can be opened; `base` is the folder that relative ones start from."""
    if is_remote(uri) or PurePosixPath(uri).is_absolute() or not base:
        return uri
    protocol, mark, path = f"{base.rstrip('/')}/{uri}".rpartition("://")
    return protocol + mark + posixpath.normpath(path)  # object stores do not work out ".." themselves
