"""One driver an output: an epoch file that only its holder renews.

    lease/epoch-000001.json     created exclusively; the highest epoch holds the run

A holder on this machine is looked up by its process. One elsewhere counts as gone once its heartbeats have stopped.
Taking over means creating the next epoch, so of several that try, one succeeds; the deposed holder sees the higher
epoch and stops.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Self

from engine.core.errors import OutputError, RunConflictError
from engine.io.process_identity import ProcessIdentity
from engine.io.storage import OutputFolder, TakenOverError

_EPOCH = re.compile(r"lease/epoch-(\d+)\.json")
_MISSED_BEATS = 3.5
_DYING_S = 1.0
"""A killed process may take a moment to go."""
_UNREADABLE_S = 2.0


@dataclass(frozen=True)
class Holder:
    """Content of an epoch file."""

    token: str
    process: ProcessIdentity
    heartbeat_s: float
    beats: int = 0

    def dumps(self) -> bytes:
        return (json.dumps(asdict(self), sort_keys=True) + "\n").encode()

    @classmethod
    def loads(cls, data: bytes) -> Self | None:
        """None for a file that was cut short."""
        try:
            fields = json.loads(data)
            return cls(**fields | {"process": ProcessIdentity(**fields["process"])})
        except (ValueError, TypeError, KeyError):
            return None


class Lease:
    """The right to drive a run. `token` names this holding of it and no other."""

    def __init__(self, out: OutputFolder, epoch: int, holder: Holder) -> None:
        self.token = holder.token
        self._out, self._epoch, self._holder = out.fence(holder.token), epoch, holder
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True, name="lease")

    @classmethod
    def acquire(cls, out: OutputFolder, *, heartbeat_s: float) -> Self:
        """Take the run, at once if its last driver is dead. Raises `RunConflictError`, `OutputError`.

        From here on it beats by itself, also while the driver's own loop is busy. A holder on another machine is
        watched for more than three of its heartbeats first.
        """
        while True:
            epoch, holder = _highest(out)
            if holder is not None and _alive(out, epoch, holder):
                raise RunConflictError(
                    f"{out.uri}: another driver is at work on this output, process {holder.process.pid} on "
                    f"{holder.process.host}; wait for it to end, or choose another output"
                )
            if (lease := cls._take(out, epoch + 1, heartbeat_s)) is not None:
                lease._thread.start()
                return lease

    @classmethod
    def _take(cls, out: OutputFolder, epoch: int, heartbeat_s: float) -> Self | None:
        """The lease of this epoch, unless somebody else was faster."""
        holder = Holder(f"{epoch:06d}-{secrets.token_hex(4)}", ProcessIdentity.mine(), heartbeat_s)
        name = _name(epoch)
        try:
            if not out.create(name, holder.dumps()):
                return None
        except TakenOverError:  # a faster one has just cleared away what was in flight
            return None
        highest, winner = _highest(out)
        if (highest, winner) != (epoch, holder):
            # Others went on from an epoch that had meanwhile been cleared away: theirs is higher.
            if highest != epoch:
                out.delete([name])
            return None
        return cls(out, epoch, holder)

    def beat(self) -> None:
        """Show that this driver lives. Raises `OutputError`. A deposed one leaves no trace."""
        with self._lock:
            if not self._ended.is_set() and self.still_mine():
                self._holder = replace(self._holder, beats=self._holder.beats + 1)
                self._out.put(_name(self._epoch), self._holder.dumps())

    def still_mine(self) -> bool:
        """False once another driver has taken over. What is not committed by then must not be."""
        epoch, holder = _highest(self._out)
        return epoch == self._epoch and holder is not None and holder.token == self.token

    def release(self) -> None:
        """Let go, leaving neither epoch files nor anything in flight. Whatever fails, the next driver clears away."""
        self._ended.set()
        with self._lock, suppress(OutputError):
            if self.still_mine():
                self._out.sweep()
                older = sorted(n for n in _epochs(self._out) if n < self._epoch)
                self._out.delete([_name(epoch) for epoch in older])
                self._out.delete([_name(self._epoch)])

    def _beat_on(self) -> None:
        while not self._ended.wait(self._holder.heartbeat_s):
            # A full disk or a lost network ends the run at the driver's next commit, with a message.
            with suppress(OutputError):
                self.beat()


def _name(epoch: int) -> str:
    return f"lease/epoch-{epoch:06d}.json"


def _epochs(out: OutputFolder) -> list[int]:
    return [int(m[1]) for name in out.names("lease") if (m := _EPOCH.fullmatch(name))]


def _highest(out: OutputFolder) -> tuple[int, Holder | None]:
    """The latest epoch and who holds it: 0 and None if nobody does; None also if its file was never finished."""
    patience = time.monotonic() + _UNREADABLE_S
    while True:
        epoch = max(_epochs(out), default=0)
        if not epoch:
            return 0, None
        with suppress(FileNotFoundError):  # released between listing and reading: list again
            holder = Holder.loads(out.get(_name(epoch)))
            if holder is not None or time.monotonic() > patience:
                return epoch, holder
            time.sleep(0.05)


def _alive(out: OutputFolder, epoch: int, holder: Holder) -> bool:
    """Whether the holder of the highest epoch is at work. Takes seconds unless it is a live process of this machine."""
    if holder.process.here():
        return _stays(holder.process)
    until = time.monotonic() + _MISSED_BEATS * holder.heartbeat_s
    while time.monotonic() < until:
        time.sleep(holder.heartbeat_s / 4)
        now, latest = _highest(out)
        if latest is None:
            return False
        if (now, latest.token, latest.beats) != (epoch, holder.token, holder.beats):
            return True
    return False


def _stays(process: ProcessIdentity) -> bool:
    """Whether a process of this machine is alive and not about to end."""
    until = time.monotonic() + _DYING_S
    while process.alive():
        if time.monotonic() > until:
            return True
        time.sleep(0.02)
    return False
