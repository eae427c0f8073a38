"""Which process is which, across restarts of the machine and reuse of process numbers."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil


@dataclass(frozen=True)
class ProcessIdentity:
    """A process anywhere. Numbers mean something only where `host`, `boot` and `namespace` are equal."""

    host: str
    boot: str
    namespace: str
    """Of process numbers: containers of one host may each have a process 1."""
    pid: int
    started: str

    @classmethod
    def mine(cls) -> Self:
        pid = os.getpid()
        return cls(socket.gethostname(), _boot(), _namespace(), pid, _started(pid) or "")

    def here(self) -> bool:
        """Whether its number can be looked up by this process."""
        me = ProcessIdentity.mine()
        return (self.host, self.boot, self.namespace) == (me.host, me.boot, me.namespace)

    def alive(self) -> bool:
        """Of a process that is `here`. One that has been killed but not yet waited for is dead."""
        return _started(self.pid) == self.started


def _started(pid: int) -> str | None:
    """When a live process began, in the system's own ticks: unlike wall time they do not shift with the clock."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _started_elsewhere(pid)
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, ticks = fields[0], fields[19]
    return None if state in "ZXx" else ticks


def _started_elsewhere(pid: int) -> str | None:
    """The same where there is no /proc."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(int(process.create_time()))
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return str(int(psutil.boot_time()))


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
