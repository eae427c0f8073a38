"""Named points at which a test can have the process killed, to show that nothing is lost or doubled.

`LESIONFORGE_FAILPOINT=name`, `name@detail` or `name#N` (the N-th time in this process) sends SIGKILL there. With
`LESIONFORGE_FAILPOINT_ONCE=<path>` the kill happens only if that file could be created, so a second start survives.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path


def reached(name: str, detail: str = "") -> None:
    """Die here if the environment asks for it; otherwise one look-up."""
    wanted = os.environ.get("LESIONFORGE_FAILPOINT")
    if wanted is None:
        return
    wanted, _, nth = wanted.partition("#")
    wanted_name, _, wanted_detail = wanted.partition("@")
    if wanted_name != name or wanted_detail not in ("", detail):
        return
    if nth and next(_visits(name)) != int(nth):
        return
    if _armed():
        os.kill(os.getpid(), signal.SIGKILL)


@cache
def _visits(name: str) -> Iterator[int]:
    """Counts how often this process came by; kept for its life."""
    return count(1)


def _armed() -> bool:
    once = os.environ.get("LESIONFORGE_FAILPOINT_ONCE")
    if once is None:
        return True
    try:
        Path(once).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
