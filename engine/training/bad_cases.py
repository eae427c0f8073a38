"""What becomes of cases that cannot be used in training: the training stops, or goes on short of them.

A bad example is never replaced by another one: the step that should have shown it has one example fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from engine.core.errors import CaseError


class BadCases:
    """The bad cases of a training. One process counts; what it says is left to its caller."""

    def __init__(self, policy: Literal["stop", "skip"]) -> None:
        self._policy = policy
        self._counts = Counter[str]()
        self._reasons: dict[str, str] = {}

    def met(self, case_id: str, reason: str) -> str | None:
        """An example of this case could not be had; `reason` is the decoder's error, headed by the case's id.

        "stop": raises `CaseError` with that line. "skip": counts it, and returns the line to be said where this case
        is met for the first time, else None.
        """
        if self._policy == "stop":
            raise CaseError(reason)
        self._counts[case_id] += 1
        if case_id in self._reasons:
            return None
        self._reasons[case_id] = reason
        return reason

    @property
    def examples(self) -> int:
        """Examples skipped so far."""
        return self._counts.total()

    @property
    def cases(self) -> Mapping[str, str]:
        """Case id -> what was wrong when it was met first."""
        return dict(self._reasons)

    def to_json(self) -> list[dict[str, object]]:
        """[{case_id, examples, reason}], the ids in order."""
        return [
            {"case_id": case_id, "examples": self._counts[case_id], "reason": self._reasons[case_id]}
            for case_id in sorted(self._reasons)
        ]
