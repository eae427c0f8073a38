"""A network without room for a single crop, as an end of the run that says what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.core.errors import ServiceLostError
from models.batches import OutOfMemoryError


@contextmanager
def room_for(section: str) -> Iterator[None]:
    """Raises `ServiceLostError`, which names the section of the settings: no case is to blame, so none is failed."""
    try:
        yield
    except OutOfMemoryError as error:
        raise ServiceLostError(f"{section}: {error}") from None
