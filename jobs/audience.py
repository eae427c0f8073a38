"""Several listeners of one driver."""

from __future__ import annotations

from dataclasses import dataclass

from engine.driver import Listener


@dataclass(frozen=True)
class Audience:
    """Tells each of them what it is told, in their order."""

    listeners: tuple[Listener, ...]

    def started(self, total: int, committed: dict[str, int]) -> None:
        for listener in self.listeners:
            listener.started(total, committed)

    def handed_out(self, samples: int) -> None:
        for listener in self.listeners:
            listener.handed_out(samples)

    def returned(self, statuses: dict[str, int], again: int, lesions: int) -> None:
        for listener in self.listeners:
            listener.returned(statuses, again, lesions)

    def waiting(self, line: str) -> None:
        for listener in self.listeners:
            listener.waiting(line)

    def stopping(self) -> None:
        for listener in self.listeners:
            listener.stopping()
