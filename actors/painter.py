"""MASKED -> PAINTED, with a resident painter."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from actors.busy import busy_actor
from actors.devices import device_names
from engine import chain
from engine.core import wire
from engine.run import Run
from engine.stage import PainterFactory


class PaintActor:
    """{lesions: mask, CT crop} -> + {lesions: delta} - {lesions: crops}. One row in, one row out.

    With two GPUs LINet is on the first and the VQ-GAN on the second; calls then overlap.
    """

    def __init__(self, run: Run, painter: PainterFactory) -> None:
        self._run, self._painter = run, painter()
        names = device_names()
        self._devices = {"paint": names[0], **({"vq": names[-1]} if run.settings.paint.is_network else {})}
        self._busy = busy_actor(run.name, "paint", names)

    def __call__(self, batch: pa.Table) -> pa.Table:
        with self._busy:
            painted = chain.paint(wire.from_table(batch), self._run, self._painter)
        return wire.to_table([replace(s, devices={**s.devices, **self._devices}) for s in painted], wire.PAINTED)
