"""Questions -> answers of a language model, each written down before it is handed out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from pydantic import SecretStr

from actors.allowance import Allowance, BudgetSpent
from actors.chat import Chat
from actors.complaints import Trouble
from actors.group_commit import GroupCommit
from engine.core.dictation import LLM, REPAIRED, Answer, Question, by_template, read_answer
from engine.core.errors import OutputError, ReportError, ServiceError
from engine.core.spent import Spent
from engine.io.answers import AnswerBook, Kept
from engine.io.storage import OutputFolder
from engine.writers import ReportWriter


@dataclass(frozen=True)
class Halt:
    """Why no answers come, as a value: an exception would bring the traceback of this process along."""

    reason: str
    output: bool
    """It is the output folder that takes no more."""


class ReportActor:
    """One for a run. `output` is fenced by the run's driver.

    Whatever kills it, what it has answered is in the output: it is started again, reads that, and goes on.
    """

    def __init__(self, writer: ReportWriter, output: OutputFolder, key: SecretStr | None) -> None:
        self._writer = writer
        self._asked = writer.content()
        self._book = AnswerBook(output)
        self._commit = GroupCommit(self._book)
        self._allowance = Allowance(writer.budget, self._book.spent)
        self._chat = Chat(writer, key, self._allowance)
        self._under_way: dict[str, asyncio.Task[Answer]] = {}

    async def answer(self, questions: Sequence[Question]) -> list[Answer] | Halt:
        """An answer to each; all that come are kept, even where one fails."""
        found = await asyncio.gather(*(self._answer(q) for q in questions), return_exceptions=True)
        for error in (each for each in found if isinstance(each, BaseException)):
            if isinstance(error, OutputError | ServiceError):
                return Halt(str(error), isinstance(error, OutputError))
            raise error
        return [each for each in found if isinstance(each, Answer)]

    async def budget_spent(self) -> str:
        """Once reports are written by template for want of budget: what was spent."""
        await self._allowance.ended.wait()
        return self._allowance.in_words()

    async def _answer(self, question: Question) -> Answer:
        digest = question.digest(self._asked)
        known = self._book.find(digest)
        if known is not None:
            return known
        if digest not in self._under_way:  # a task that is tried again asks what its first try may still wait for
            task = asyncio.create_task(self._ask(question, digest))
            self._under_way[digest] = task
            task.add_done_callback(lambda _: self._under_way.pop(digest))
        return await asyncio.shield(self._under_way[digest])

    async def _ask(self, question: Question, digest: str) -> Answer:
        costs: list[Spent] = []
        try:
            answer = await dictated(self._chat, question, costs, self._writer.max_tokens)
        except BudgetSpent:
            answer = by_template("budget")
            if not costs:
                return answer  # nothing was paid for it: with a larger budget it may be asked again
        await self._commit.add(Kept(digest, answer, sum(costs, Spent())))
        return answer


async def dictated(chat: Chat, question: Question, costs: list[Spent], most_tokens: int) -> Answer:
    """The model's answer; mended by it once where it cannot be used; else by template, with the reason.

    Raises `BudgetSpent` and `ServiceError`, as `Chat.ask`.
    """
    messages, reason = question.messages, ""
    for writer in (LLM, REPAIRED):
        try:
            reply = await chat.ask(messages, question.schema, question.seed, costs)
        except Trouble as trouble:
            return by_template(trouble.kind)
        if reply.refused:
            return by_template("refusal")
        try:
            return Answer(read_answer(reply.text, question), writer)
        except ReportError as error:
            wrong = ReportError(f"it was cut off at {most_tokens} tokens") if reply.cut else error
            reason = "cut off" if reply.cut else "not usable"
            messages = question.again(reply.text, wrong)
    return by_template(reason)


@dataclass(frozen=True)
class RemoteReporter:
    """The actor, as the stages of a run ask it."""

    actor: Any

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        """Raises `OutputError` and `ServiceError`, which stop the run."""
        if not questions:
            return []
        answers: list[Answer] | Halt = ray.get(self.actor.answer.remote(questions))
        if isinstance(answers, Halt):
            raise (OutputError if answers.output else ServiceError)(answers.reason)
        return answers


def start_reporter(writer: ReportWriter, output: OutputFolder, key: SecretStr | None) -> RemoteReporter:
    """Somewhere on the cluster. It waits for the network and so takes no CPU.

    The key is an argument: Ray shows these neither in logs nor in its dashboard, where it would show an environment.
    """
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return RemoteReporter(ray.remote(ReportActor).options(**options).remote(writer, output, key))
