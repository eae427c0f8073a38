"""PLACED -> MASKED, with a resident masker."""

from __future__ import annotations

import pyarrow as pa

from engine import chain
from engine.core import wire
from engine.run import Run
from engine.stage import MaskerFactory


class MaskActor:
    """{lesions: box, organ crop} -> + {lesions: mask}. One row in, one row out."""

    def __init__(self, run: Run, masker: MaskerFactory) -> None:
        self._run, self._masker = run, masker()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return wire.to_table(chain.mask(wire.from_table(batch), self._run, self._masker), wire.MASKED)
