"""What file systems raise when they cannot, local and remote, and how to say it to a person."""

from __future__ import annotations

import asyncio
import errno
import os
import sys

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMOTE_ERRORS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}
"""Module -> its errors. A store that is not in use has not been imported."""


def store_errors() -> tuple[type[Exception], ...]:
    """For an `except`. Those of remote stores have their own errors beside OSError."""
    loaded = [(sys.modules[module], names) for module, names in _REMOTE_ERRORS.items() if module in sys.modules]
    return (OSError, asyncio.TimeoutError, *(getattr(module, name) for module, names in loaded for name in names))


def refusal(error: Exception) -> str:
    """Why a file system refused, for a person."""
    number = getattr(error, "errno", None)
    if number in _FULL:
        return f"{os.strerror(number).lower()}; free some and run the same command again"
    if isinstance(number, int) and getattr(error, "filename", None) is not None:
        return os.strerror(number).lower()
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
