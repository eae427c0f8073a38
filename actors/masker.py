"""PLACED -> MASKED, with a resident masker."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from actors.busy import busy_actor
from actors.devices import device_names
from engine import chain
from engine.core import wire
from engine.run import Run
from engine.stage import MaskerFactory


class MaskActor:
    """{lesions: box, organ crop} -> + {lesions: mask}. One row in, one row out."""

    def __init__(self, run: Run, masker: MaskerFactory) -> None:
        self._run, self._masker = run, masker()
        names = device_names()
        self._devices, self._busy = {"mask": names[0]}, busy_actor(run.name, "mask", names)

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self._busy:
            masked = chain.mask(wire.from_table(batch), self._run, self._masker)
        return wire.to_table([replace(s, devices={**s.devices, **self._devices}) for s in masked], wire.MASKED)
