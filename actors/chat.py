"""One server that speaks OpenAI's chat completions: asked with patience, within the budget, in its own dialect.

Nothing that the `openai` package raises leaves this file: its exceptions hold the request, and so the key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openai
from pydantic import SecretStr

from actors.allowance import Allowance
from actors.complaints import Misunderstood, Trouble, TurnedAway, complaint_of
from actors.dialect import Dialect
from engine.core.dictation import Message
from engine.core.errors import ServiceError
from engine.core.spent import Spent
from engine.writers import ReportWriter

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0
_CHARS_A_TOKEN = 3
"""Fewer than in any usual text, so that a prompt's estimate is not below its tokens."""
_MOST_SAID = 200
_MOST_LOST = 100
"""Reports in a row without any answer: then the server is gone, and the run stops instead of going on without it."""


@dataclass(frozen=True)
class Reply:
    """What a model said. `refused`: it would not; `cut`: the limit of tokens ended it."""

    text: str
    refused: bool = False
    cut: bool = False


class Chat:
    """Belongs to one event loop."""

    def __init__(self, writer: ReportWriter, key: SecretStr | None, allowance: Allowance) -> None:
        for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)  # below that they log requests
        self._writer, self._key, self._allowance = writer, key, allowance
        self._client = client_of(writer, key)
        self._slots = asyncio.Semaphore(writer.concurrency)
        self._dialect = Dialect.first(writer)
        self._quiet_until = 0.0
        self._ever_answered, self._lost, self._closed = False, 0, ""

    async def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], seed: int, costs: list[Spent]) -> Reply:
        """The reply to a conversation. What each request has cost is added to `costs`, whatever becomes of it.

        Raises `Trouble` once patience has ended, `BudgetSpent`, and `ServiceError` where the server turns away the run.
        """
        tries = 0
        while True:
            try:
                return await self._send(messages, schema, seed, costs)
            except Misunderstood:
                continue  # in what it has learnt
            except TurnedAway as complaint:
                self._closed = str(complaint)
            except Trouble as trouble:
                if not trouble.passing or tries >= self._writer.retries:
                    self._lose(trouble)
                    raise
                await asyncio.sleep(_wait_s(trouble.wait_s, seed, tries))
                tries += 1

    async def _send(
        self, messages: Sequence[Message], schema: Mapping[str, Any], seed: int, costs: list[Spent]
    ) -> Reply:
        """One request, in the dialect of the moment."""
        async with self._slots:
            await self._quiet()
            if self._closed:
                raise ServiceError(f"report.base_url {self._writer.base_url}: {self._closed}")
            dialect = self._dialect
            body = dialect.request(self._writer, messages, schema, seed)
            async with self._allowance.room_for(self._at_most(body)) as bill:
                try:
                    reply, bill.spent = await self._post(body)
                except openai.APIStatusError as error:
                    raise self._meaning(error, dialect) from None
                except (TimeoutError, openai.APITimeoutError):
                    raise Trouble("timeout") from None
                except (openai.APIError, ValueError):  # lost on the way, or not even JSON
                    raise Trouble("connection") from None
                finally:
                    costs.append(bill.spent)
        self._ever_answered, self._lost = True, 0
        return reply

    async def _post(self, body: Mapping[str, Any]) -> tuple[Reply, Spent]:
        """The whole of an answer has `timeout_s`, however it trickles in."""
        async with asyncio.timeout(self._writer.timeout_s):
            raw = await self._client.chat.completions.with_raw_response.create(**body)
        return _read(raw.http_response.text, body)

    def _at_most(self, body: Mapping[str, Any]) -> Spent:
        return Spent(1, _tokens(json.dumps(body)), self._writer.max_tokens)

    async def _quiet(self) -> None:
        """Until the server wants to hear anything again: one 429 holds for all."""
        while (wait_s := self._quiet_until - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)

    def _meaning(self, error: openai.APIStatusError, dialect: Dialect) -> Exception:
        complaint = complaint_of(error.status_code, error.response.text, error.response.headers, self._writer)
        if isinstance(complaint, Trouble) and complaint.kind == "rate limit":
            self._quiet_until = max(self._quiet_until, time.monotonic() + complaint.wait_s)
        return self._learnt(complaint, dialect) if isinstance(complaint, Misunderstood) else complaint

    def _learnt(self, complaint: Misunderstood, dialect: Dialect) -> Exception:
        """The same complaint, after which we speak otherwise; something else where that would not help."""
        if self._dialect is not dialect:
            return complaint  # another request has learnt it meanwhile
        better = dialect.after(str(complaint), self._writer)
        if better is not None:
            self._dialect = better
            return complaint
        if self._ever_answered:
            return Trouble("bad request", passing=False)
        return TurnedAway(f"cannot be asked like this: {without(self._key, str(complaint))[:_MOST_SAID]}")

    def _lose(self, trouble: Trouble) -> None:
        self._lost += trouble.passing
        if self._lost >= _MOST_LOST:
            self._closed = f"has given no answer to the last {self._lost} reports ({trouble.kind})"


def client_of(writer: ReportWriter, key: SecretStr | None) -> openai.AsyncOpenAI:
    """Without retries of its own."""
    return openai.AsyncOpenAI(
        base_url=writer.base_url,
        api_key=key.get_secret_value() if key else "none",
        max_retries=0,
        timeout=writer.timeout_s,
    )


def without(key: SecretStr | None, said: str) -> str:
    """A server's words on one line, and not the key among them."""
    line = " ".join(said.split())
    return line.replace(key.get_secret_value(), "***") if key else line


def _wait_s(asked_s: float, seed: int, tries: int) -> float:
    """Twice as long each time, spread evenly from half to one and a half so that waiting requests come back apart."""
    spread = float(np.random.Generator(np.random.PCG64([seed, tries])).uniform(0.5, 1.5))
    own_s: float = min(_FIRST_WAIT_S * 2**tries, _LONGEST_WAIT_S) * spread
    return asked_s + own_s


def _read(text: str, body: Mapping[str, Any]) -> tuple[Reply, Spent]:
    """Of a chat completion. Raises `ValueError` for anything else."""
    completion = json.loads(text)
    try:
        choice = completion["choices"][0]
        message, ending = choice["message"], choice.get("finish_reason")
        said = message.get("content") or ""
        refused = bool(message.get("refusal")) or ending == "content_filter"
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("no chat completion") from None
    said = said if isinstance(said, str) else json.dumps(said)
    return Reply(said, refused, ending == "length"), _cost(completion.get("usage"), body, said)


def _cost(usage: Any, body: Mapping[str, Any], said: str) -> Spent:
    """As the server counts; estimated where it does not."""
    counts = [usage.get(f"{part}_tokens") for part in ("prompt", "completion")] if isinstance(usage, dict) else [0, 0]
    if all(isinstance(count, int) and count > 0 for count in counts):
        return Spent(1, *counts)
    return Spent(1, _tokens(json.dumps(body)), _tokens(said))


def _tokens(text: str) -> int:
    return len(text) // _CHARS_A_TOKEN + 1
