"""What a Grafana dashboard asks Prometheus for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_QUOTED_OR_LABELS = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)')
_WORDS = {"and", "or", "unless", "bool", "offset", "group_left", "group_right"}


def expressions(dashboard: Path) -> list[str]:
    """All PromQL of a dashboard: of its panels, and of its variables."""
    return list(_texts(json.loads(dashboard.read_text())))


def metric_names(dashboard: Path) -> set[str]:
    """The metrics that its expressions read: every name that is neither a function's, nor a label's, nor a word."""
    names: set[str] = set()
    for text in expressions(dashboard):
        variable = re.fullmatch(r"label_values\((.*),\s*\w+\)", text)
        text = _QUOTED_OR_LABELS.sub(" ", variable[1] if variable else text)
        names |= {m[0] for m in re.finditer(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?![a-zA-Z0-9_:]*\s*\()", text)} - _WORDS
    return names


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
