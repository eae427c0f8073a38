"""Answers of a language model: kept before they are used, few files, found again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

import engine.io.answers as module
from engine.core.dictation import LLM, Answer, by_template
from engine.core.report import Wanted
from engine.core.spent import Spent
from engine.io.answers import AnswerBook, Kept, spent_in
from engine.io.storage import open_output

pytest_plugins = ["output_places"]

PROPOSAL = Wanted.from_json(
    {"lesion_type": "cyst", "shape": ["round-like", "cystic"], "specific_features": [], "size_mm": 9}
)


def kept(number: int) -> Kept:
    digest = hashlib.blake2b(b"%d" % number, digest_size=16).hexdigest()
    return Kept(digest, Answer(PROPOSAL, LLM) if number % 2 else by_template("timeout"), Spent(2, 100, 10))


def test_what_is_appended_is_found_by_the_next_process(new_output: Callable[[], str]) -> None:
    out = open_output(new_output())
    book = AnswerBook(out)
    for first in range(0, 40, 4):
        book.append([kept(n) for n in range(first, first + 4)])
    for reader in (book, AnswerBook(out)):
        assert [reader.find(kept(n).digest) for n in range(40)] == [kept(n).answer for n in range(40)]
        assert reader.find(kept(40).digest) is None
        assert reader.spent == Spent(80, 4000, 400)
    assert spent_in(out) == Spent(80, 4000, 400)


def test_many_appends_leave_few_files(tmp_path) -> None:
    out = open_output(str(tmp_path / "run"))
    book = AnswerBook(out)
    for n in range(200):
        book.append([kept(n)])
    assert len(out.names("reports")) < 40
    assert all(AnswerBook(out).find(kept(n).digest) == kept(n).answer for n in range(200))


def test_recent_answers_are_packed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_RECENT", 5)
    book = AnswerBook(open_output(str(tmp_path / "run")))
    for n in range(20):
        book.append([kept(n)])
    assert [book.find(kept(n).digest) for n in range(20)] == [kept(n).answer for n in range(20)]


def test_a_row_that_is_there_twice_counts_once(tmp_path) -> None:
    """As after a kill between a merged part and the removal of those that it replaces."""
    out = open_output(str(tmp_path / "run"))
    AnswerBook(out).append([kept(1)])
    AnswerBook(out).append([kept(1), kept(2)])
    assert AnswerBook(out).spent == Spent(4, 200, 20)
