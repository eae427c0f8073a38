"""Case ids: what one may look like, and how one is made from a volume's URI.

An id names files, so it is checked before anything is written.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import CaseListError
from engine.io.case_uris import VOLUME_SUFFIXES

MAX_LENGTH = 180
"""Leaves room, within the 255 bytes of a file name, for the variant, the suffix and a temporary name's ending."""
_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._-]*"


def check_case_id(case_id: str) -> str:
    """`case_id` itself if it may name a file; raises `CaseListError` (path parts, blanks, other characters, length)."""
    if re.fullmatch(_PATTERN, case_id) is None or len(case_id) > MAX_LENGTH:
        raise CaseListError(_complaint(case_id))
    return case_id


def check_case_ids(ids: pa.Array, *, origin: str, first_row: int) -> None:
    """`check_case_id` of a whole string array; the message names the list and the row, counted from 1."""
    good = pc.and_(
        pc.match_substring_regex(ids, rf"\A{_PATTERN}\z"),
        pc.less_equal(pc.binary_length(ids), MAX_LENGTH),
    )
    bad = pc.index(good, False).as_py()
    if bad >= 0:
        raise CaseListError(f"{origin}, row {first_row + bad + 1}: {_complaint(ids[bad].as_py())}")


def _complaint(case_id: str) -> str:
    shown = repr(case_id if len(case_id) <= 80 else case_id[:80] + "...")
    return (
        f"case id {shown} should be 1 to {MAX_LENGTH} letters, digits, '.', '_' or '-', "
        "start with none of '.' and '-', and hold no path parts"
    )


@dataclass(frozen=True)
class PathNaming:
    """Ids from URIs: the shortest path ending that tells all cases apart, less the parts that all of them share.

    `x/1.nii, x/2.nii` -> 1, 2; `a/ct.nii, b/ct.nii` -> a, b; `p/s1/ct, p/s2/ct, q/s1/ct` -> p_s1, p_s2, q_s1.
    It follows from the set of URIs, never from their order. Characters an id cannot hold become `_`.
    """

    kept: tuple[int, ...] = (1,)
    """Path parts that make the id, counted from the end: 1 is the stem, 2 its folder."""

    @classmethod
    def over(cls, uris: Callable[[], Iterator[pa.Array]]) -> Self:
        """The rule for all URIs. `uris` is called once for each depth that is tried, and yields string arrays."""
        depth = 1
        while True:
            survey = _Survey(depth)
            told_apart = survey.take_all(uris())
            if told_apart:
                return cls(survey.naming())
            if depth >= survey.longest:
                # The same URI twice: the doubled id is reported by whoever sees all ids.
                return cls()
            depth += 1

    def ids(self, uris: pa.Array) -> pa.Array:
        """String array -> string array of ids."""
        return _ids([[parts[-p] for p in reversed(self.kept)] for parts in _endings(uris, self.kept[-1])])


@dataclass
class _Survey:
    """What the last `depth` parts of all URIs have in common."""

    depth: int
    longest: int = 1
    """Most parts of a URI seen."""
    shortest: int = sys.maxsize
    """Fewest parts of a URI seen."""

    def __post_init__(self) -> None:
        self._first: list[str] = []
        self._alike = list(range(1, self.depth + 1))

    def take_all(self, uris: Iterator[pa.Array]) -> bool:
        """Whether the endings tell the URIs apart. Stops early where one batch shows that they do not."""
        chunks = []
        for array in uris:
            endings = _endings(array, self.depth)
            for parts in endings:
                self._take(parts)
            counts = pc.min_max(pc.count_substring(array, "/"))
            self.longest = max(self.longest, (counts["max"].as_py() or 0) + 1)
            chunks.append(_ids(endings))
            if pc.count_distinct(chunks[-1]).as_py() < len(endings):
                return False
        every = pa.chunked_array(chunks, pa.string())
        return bool(pc.count_distinct(every).as_py() == len(every))

    def _take(self, parts: list[str]) -> None:
        self._first = self._first or parts
        if self._alike:
            self._alike = [p for p in self._alike if parts[-p] == self._first[-p]]
        if not parts[0]:
            self.shortest = min(self.shortest, self.depth - parts.count(""))

    def naming(self) -> tuple[int, ...]:
        """Positions whose part is not the same everywhere; the stem too where a path would be left without a name."""
        varying = {p for p in range(1, self.depth + 1) if p not in self._alike}
        if not varying or min(varying) > self.shortest:
            varying.add(1)
        return tuple(sorted(varying))


def _endings(uris: pa.Array, depth: int) -> list[list[str]]:
    """The last `depth` path parts of each URI, the stem last; "" where a path is shorter."""
    bare = pc.replace_substring_regex(uris, rf"(?i)({'|'.join(map(re.escape, VOLUME_SUFFIXES))})?/*$", "")
    endings = []
    for uri in bare.to_pylist():
        parts = uri.split("/")
        if "" in parts or "." in parts or ".." in parts:
            parts = [part for part in parts if part not in ("", ".", "..")]
        endings.append(parts[-depth:] if len(parts) >= depth else [""] * (depth - len(parts)) + parts)
    return endings


def _ids(names: list[list[str]]) -> pa.Array:
    """Parts that make an id -> string array of ids, what an id cannot hold replaced."""
    joined = pa.array(["_".join(filter(None, parts)) for parts in names], pa.string())
    return pc.replace_substring_regex(joined, r"^[.-]|[^A-Za-z0-9._-]", "_")
