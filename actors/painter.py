"""MASKED -> PAINTED, with a resident painter."""

from __future__ import annotations

import pyarrow as pa

from engine import chain
from engine.core import wire
from engine.run import Run
from engine.stage import PainterFactory


class PaintActor:
    """{lesions: mask, CT crop} -> + {lesions: delta} - {lesions: crops}. One row in, one row out."""

    def __init__(self, run: Run, painter: PainterFactory) -> None:
        self._run, self._painter = run, painter()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return wire.to_table(chain.paint(wire.from_table(batch), self._run, self._painter), wire.PAINTED)
