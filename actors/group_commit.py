"""Answers are written down together: those that arrive within a moment share one part of the log."""

from __future__ import annotations

import asyncio

from engine.core.failpoints import reached
from engine.io.answers import AnswerBook, Kept

_LINGER_S = 0.1


class GroupCommit:
    """Belongs to one event loop."""

    def __init__(self, book: AnswerBook) -> None:
        self._book = book
        self._waiting: list[tuple[Kept, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, kept: Kept) -> None:
        """Return once this answer outlives anything. Raises `OutputError`."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((kept, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await written

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(_LINGER_S)
            group, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._book.append, [kept for kept, _ in group])
            except Exception as error:
                for _, written in group:
                    written.set_exception(error)
            else:
                reached("answers_written")
                for _, written in group:
                    written.set_result(None)
