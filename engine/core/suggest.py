"""Suggestions for a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 1) -> str:
    """`"; did you mean 'liver'?"`, or `""` where nothing is near. Ready to be glued to an error line."""
    near = difflib.get_close_matches(name.lower(), list(known), n=limit, cutoff=0.6)
    if not near:
        return ""
    return "; did you mean " + " or ".join(f"'{n}'" for n in near) + "?"
