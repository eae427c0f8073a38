"""What a run's manifest adds up to: counted once, for the summary and the plots."""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.io.ledger import Ledger

Kind = tuple[str, str]
"""(organ, lesion type)"""
Reason = tuple[str, str, str]
"""(status, stage, reason)"""


def _numbers() -> array[float]:
    return array("d")


@dataclass
class Lesions:
    """All lesions of one kind. Twenty-four bytes a lesion, so that a million of them are no matter."""

    volume_mm3: array[float] = field(default_factory=_numbers)
    asked_hu: array[float] = field(default_factory=_numbers)
    """Contrast that the report asks for."""
    measured_hu: array[float] = field(default_factory=_numbers)

    def add(self, lesion: Mapping[str, Any]) -> None:
        """One lesion of a manifest row."""
        self.volume_mm3.append(lesion["volume_mm3"])
        self.asked_hu.append(json.loads(lesion["report"])["contrast_hu"])
        self.measured_hu.append(lesion["shift_hu"])

    def __len__(self) -> int:
        return len(self.volume_mm3)


@dataclass
class Tally:
    """Samples by status, why some are not done (and the first sample of each reason), lesions by kind."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    first: dict[Reason, str] = field(default_factory=dict)
    kinds: defaultdict[Kind, Lesions] = field(default_factory=lambda: defaultdict(Lesions))
    cases: set[str] = field(default_factory=set)
    writers: Counter[str] = field(default_factory=Counter)
    """Lesions by who wrote their reports."""

    @classmethod
    def of(cls, ledger: Ledger) -> Tally:
        """Of all rows that are committed."""
        tally = cls()
        for row in ledger.rows(["sample_id", "case_id", "status", "stage", "reason", "lesions"]):
            tally._add(row)
        return tally

    def _add(self, row: Mapping[str, Any]) -> None:
        self.statuses[row["status"]] += 1
        if row["status"] != "done":
            reason = row["status"], row["stage"], row["reason"]
            self.reasons[reason] += 1
            self.first.setdefault(reason, row["sample_id"])
            return
        self.cases.add(row["case_id"])
        for lesion in row["lesions"]:
            self.kinds[lesion["organ"], lesion["lesion_type"]].add(lesion)
            self.writers[lesion.get("report_writer") or "template"] += 1

    @property
    def organs(self) -> Counter[str]:
        """Lesions by organ."""
        organs: Counter[str] = Counter()
        for (organ, _), lesions in self.kinds.items():
            organs[organ] += len(lesions)
        return organs

    def types_in(self, organ: str) -> Counter[str]:
        """Lesions of one organ by type."""
        return Counter({kind: len(lesions) for (host, kind), lesions in self.kinds.items() if host == organ})
