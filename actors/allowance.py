"""The budget of a run, held to the token: a request is sent only if what it may cost at most is still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engine.core.spent import Spent
from engine.writers import Budget


class BudgetSpent(Exception):
    """Nothing is left for the request at hand."""


@dataclass
class Allowance:
    """What is left of `budget` after `spent`. Belongs to one event loop."""

    budget: Budget
    spent: Spent
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request had to be left undone."""

    def __post_init__(self) -> None:
        self._held = Spent()
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def room_for(self, most: Spent) -> AsyncIterator[Bill]:
        """Hold back what a request may cost at most, and afterwards what it did cost.

        Waits for requests under way where these may leave enough; raises `BudgetSpent` where none can.
        """
        async with self._changed:
            while not self._holds(self.spent + self._held + most):
                if not self._held.requests:
                    self.ended.set()
                    raise BudgetSpent
                await self._changed.wait()
            self._held += most
        bill = Bill()
        try:
            yield bill
        finally:
            async with self._changed:
                self._held -= most
                self.spent += bill.spent
                self._changed.notify_all()

    def in_words(self) -> str:
        """Such as "98,112 of 100,000 tokens"."""
        parts = []
        if self.budget.tokens is not None:
            parts.append(f"{self.spent.tokens:,} of {self.budget.tokens:,} tokens")
        if self.budget.cost is not None:
            parts.append(f"{self.budget.cost_of(self.spent):,.4g} of {self.budget.cost:,.4g} in cost")
        return ", ".join(parts)

    def _holds(self, spent: Spent) -> bool:
        tokens, cost = self.budget.tokens, self.budget.cost
        return (tokens is None or spent.tokens <= tokens) and (cost is None or self.budget.cost_of(spent) <= cost)


@dataclass
class Bill:
    """What one request has cost; whoever sends it fills this in."""

    spent: Spent = Spent(requests=1)
