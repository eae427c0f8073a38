"""Asking a real server, without Ray: patience, dialects, and a key that is never repeated."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Any

import pytest
from pydantic import SecretStr

from actors.allowance import Allowance
from actors.chat import Chat
from actors.complaints import retry_after_s
from actors.reporter import dictated
from awkward_server import KEY, MODEL, AwkwardServer, Manners, awkward_server, good
from engine.core.dictation import Answer, Question
from engine.core.errors import ServiceError
from engine.core.organ_site import OrganView
from engine.core.report import Wanted
from engine.core.spent import Spent
from engine.writers import Budget, ReportWriter

SEEN = OrganView((120.0, 90.0, 100.0), 55.0, 6.0)


def once(behaviour: str) -> Manners:
    return lambda draw, before, turns: behaviour if before == 0 and turns == 1 else "answer"


def ask(server: AwkwardServer, count: int = 1, key: str = KEY, **settings: Any) -> list[Answer | BaseException]:
    """`count` questions at once."""
    given = {"base_url": server.url, "model": MODEL, "timeout_s": 1.0, "retries": 2, **settings}
    writer = ReportWriter(writer="llm", **given)
    draw = random.Random(1)
    asked = [Question(Wanted(organ="liver"), SEEN, draw.getrandbits(63)) for _ in range(count)]

    async def all_of_them() -> list[Answer | BaseException]:
        chat = Chat(writer, SecretStr(key), Allowance(writer.budget, Spent()))
        answers = (dictated(chat, question, [], writer.max_tokens) for question in asked)
        return await asyncio.gather(*answers, return_exceptions=True)

    return asyncio.run(all_of_them())


def writers(answers: list[Answer | BaseException]) -> list[str]:
    return [answer.writer if isinstance(answer, Answer) else repr(answer) for answer in answers]


@pytest.mark.parametrize("behaviour", ["500", "503", "429", "drop", "truncate", "not json", "hang", "trickle"])
def test_what_passes_is_waited_out(behaviour: str) -> None:
    with awkward_server(once(behaviour)) as server:
        assert writers(ask(server)) == ["llm"]
        assert [r.behaviour for r in server.completions()] == [behaviour, "answer"]


def test_retry_after_is_honoured_by_all() -> None:
    with awkward_server(once("429")) as server:
        assert writers(ask(server, 6)) == ["llm"] * 6
        refused = [r for r in server.completions() if r.behaviour == "429"]
        again = [r for r in server.completions() if r.behaviour == "answer"]
        assert len(refused) == len(again) == 6
        assert min(r.began for r in again) - min(r.ended for r in refused) >= 1.0


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("garbage", "not valid JSON"),
        ("wrong enum", "unknown value 'rather dark'"),
        ("too large", "exceeds the liver"),
        ("cut off", "cut off at 800 tokens"),
    ],
)
def test_what_is_wrong_is_told_once(behaviour: str, told: str) -> None:
    with awkward_server(once(behaviour)) as server:
        assert writers(ask(server)) == ["llm repaired"]
        first, second = (r.body["messages"] for r in server.completions())
        assert second[:2] == first
        assert told in second[3]["content"]


@pytest.mark.parametrize(
    ("behaviour", "reason", "requests"),
    [
        ("refuse", "refusal", 1),
        ("filtered", "refusal", 1),
        ("garbage", "not usable", 2),
        ("cut off", "cut off", 2),
        ("500", "server error", 3),
        ("429", "rate limit", 3),
        ("hang", "timeout", 3),
        ("drop", "connection", 3),
    ],
)
def test_patience_has_an_end(behaviour: str, reason: str, requests: int) -> None:
    with awkward_server(lambda *_: behaviour) as server:
        assert writers(ask(server, timeout_s=0.3)) == [f"template for llm: {reason}"]
        assert len(server.completions()) == requests


@pytest.mark.parametrize(
    ("forms", "spoken"), [(("json_object", "text"), {"type": "json_object"}), (("text",), None)], ids=["json", "none"]
)
def test_a_format_that_is_unknown_is_let_be_for_the_rest(forms: tuple[str, ...], spoken: Any) -> None:
    with awkward_server(forms=forms) as server:
        assert writers(ask(server, 5)) == ["llm"] * 5
        assert {str(r.body.get("response_format")) for r in server.completions()} == {str(spoken)}


def test_a_format_that_was_asked_for_is_not_given_up() -> None:
    with awkward_server(forms=("text",)) as server:
        (answer,) = ask(server, structured="json")
    assert isinstance(answer, ServiceError)
    assert "cannot be asked like this: " in str(answer)


def test_a_key_that_is_repeated_by_the_server_is_not_repeated_by_us() -> None:
    with awkward_server(lambda *_: "401") as server:
        (answer,) = ask(server)
        assert isinstance(answer, ServiceError)
        assert KEY not in str(answer)
        assert "401" in str(answer)


def test_a_server_that_is_gone_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.chat._MOST_LOST", 4)
    with awkward_server(lambda *_: "drop") as server:
        answers = writers(ask(server, 8, retries=0, concurrency=1))
    assert answers[:4] == ["template for llm: connection"] * 4
    assert "has given no answer to the last 4 reports (connection)" in answers[-1]


def test_no_more_is_sent_than_the_budget_holds() -> None:
    with awkward_server(good) as server:
        found = ask(server, 20, budget=Budget(cost=0.01, prices={"prompt": 1, "completion": 3}), concurrency=8)
        used = len(server.completions())
    unsaid = [each for each in found if not isinstance(each, Answer)]
    assert 0 < used < 20
    assert len(unsaid) == 20 - used
    assert {type(each).__name__ for each in unsaid} == {"BudgetSpent"}


def test_waiting_grows_and_is_drawn() -> None:
    started = time.monotonic()
    with awkward_server(lambda *_: "500") as server:
        ask(server, 2)
        began: dict[str, list[float]] = {}
        for request in server.completions():
            began.setdefault(request.question, []).append(request.began)
    gaps = [[b - a for a, b in itertools.pairwise(at)] for at in began.values()]
    assert all(0.25 <= first <= 0.95 and second >= 0.5 for first, second in gaps)
    assert time.monotonic() > started


@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("0.5", 0.5), ("soon", 0), ("", 0), ("-3", 0), ("9e9", 600)])
def test_retry_after_in_numbers(said: str, seconds: float) -> None:
    assert retry_after_s({"retry-after": said}) == seconds


def test_retry_after_as_a_date() -> None:
    assert retry_after_s({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}) == 600
    assert retry_after_s({"retry-after": "Fri, 01 Jan 2010 00:00:00 GMT"}) == 0
