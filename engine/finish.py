"""The end of a run: compact manifest, dataset description, folds, preview. Every step may be repeated."""

from __future__ import annotations

from engine.io.ledger import Ledger
from engine.io.nnunet import write_dataset_json, write_splits
from engine.preview.gallery import write_preview
from engine.run import Run


def finish_run(run: Run, samples: int, ledger: Ledger) -> tuple[dict[str, int], str]:
    """Everything a complete run holds beside its samples; returns the samples by status, and a note on the folds."""
    write = run.settings.write
    ledger.compact(write.shard_size, samples)
    write_dataset_json(run.output, write, ledger)
    note = write_splits(run.output, write, ledger)
    write_preview(run, ledger)
    return ledger.counts(), note
