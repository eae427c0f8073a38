"""The reporter without Ray: one that ends in the middle, and the next one in its place."""

from __future__ import annotations

import asyncio
import random

from pydantic import SecretStr

from actors.reporter import Halt, ReportActor
from awkward_server import KEY, MODEL, AwkwardServer, awkward_server
from engine.core.dictation import Answer, Question
from engine.core.organ_site import OrganView
from engine.core.report import Wanted
from engine.io.storage import OutputFolder, open_output
from engine.writers import Budget, ReportWriter

SEEN = OrganView((120.0, 90.0, 100.0), 55.0, 6.0)
DRAW = random.Random(2)
QUESTIONS = [Question(Wanted(organ="spleen"), SEEN, DRAW.getrandbits(63)) for _ in range(12)]


def reporter(server: AwkwardServer, out: OutputFolder, **settings: object) -> ReportActor:
    given = {"base_url": server.url, "model": MODEL, "timeout_s": 30, "concurrency": 4, **settings}
    return ReportActor(ReportWriter.model_validate({"writer": "llm", **given}), out, SecretStr(KEY))


async def all_of(actor: ReportActor) -> list[Answer]:
    """Asked as three tasks would, and two of them twice at a time, as when a task is tried again."""
    blocks = [QUESTIONS[:4], QUESTIONS[4:8], QUESTIONS[8:], QUESTIONS[:4], QUESTIONS[2:6]]
    found = await asyncio.gather(*(actor.answer(block) for block in blocks))
    assert not any(isinstance(each, Halt) for each in found)
    first = [answer for each in found[:3] if not isinstance(each, Halt) for answer in each]
    assert found[3] == first[:4]
    assert found[4] == first[2:6]
    return first


def test_the_next_reporter_asks_only_what_has_no_answer_yet(tmp_path) -> None:
    out = open_output(str(tmp_path / "run"))
    with awkward_server(hold_after=5) as server:

        async def ended_in_the_middle() -> None:
            asking = asyncio.create_task(all_of(reporter(server, out)))
            while sum(server.answers().values()) < 5 or len(server.completions()) < 9:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)  # written down by now
            asking.cancel()

        asyncio.run(ended_in_the_middle())
        server.release()
        answers = asyncio.run(all_of(reporter(server, out)))
        assert len(server.answers()) == 12
        assert set(server.answers().values()) == {1}
        made = len(server.completions())
        assert asyncio.run(all_of(reporter(server, out))) == answers
        assert len(server.completions()) == made
    assert {answer.writer for answer in answers} == {"llm"}


def test_what_was_spent_counts_for_the_next_one_and_more_budget_asks_the_rest(tmp_path) -> None:
    out = open_output(str(tmp_path / "run"))
    with awkward_server() as server:
        small = Budget(tokens=5000)
        first = asyncio.run(all_of(reporter(server, out, budget=small)))
        made = len(server.completions())
        assert 0 < made < 12
        assert {a.writer for a in first} == {"llm", "template for llm: budget"}
        assert asyncio.run(all_of(reporter(server, out, budget=small))) == first
        assert len(server.completions()) == made
        more = asyncio.run(all_of(reporter(server, out, budget=Budget(tokens=10**6))))
        assert {a.writer for a in more} == {"llm"}
        assert set(server.answers().values()) == {1}


def test_an_output_that_takes_no_more_is_said_as_such(tmp_path) -> None:
    out = open_output(str(tmp_path / "run"))
    with awkward_server() as server:
        actor = reporter(server, out)
        (tmp_path / "run").write_text("a file in the way")
        halt = asyncio.run(actor.answer(QUESTIONS[:2]))
    assert isinstance(halt, Halt)
    assert halt.output
