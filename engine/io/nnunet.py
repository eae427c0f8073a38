"""The dataset as nnU-Net v2 wants it described: `dataset.json` and `splits_final.json`, over samples that are done.

Both are streamed, so a million samples cost no more memory than their ids.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.core.sample import Status
from engine.io.ledger import Ledger
from engine.io.storage import OutputFolder
from engine.settings import Write

READER = "NibabelIOWithReorient"
"""nnU-Net's reader that turns every case to RAS+: sources of any orientation then agree. Its spacings may differ."""
_IDS_AT_A_TIME = 10_000


def labels(write: Write) -> dict[str, int | list[int]]:
    """nnU-Net's `labels`. It wants consecutive values, so without organs 1 and 2 are declared as one region.

    No voxel is 1 then; the region keeps the lesion at 2 in every dataset, and trains as lesion against background.
    """
    if write.label_organ:
        return {"background": 0, "organ": 1, "lesion": 2}
    return {"background": 0, "lesion": [1, 2]}


def write_dataset_json(out: OutputFolder, write: Write, ledger: Ledger) -> None:
    """`dataset.json` in the dataset folder, a line a sample. A run of patches has no images, and gets none."""
    if write.form != "patch":
        out.put_stream(f"{write.dataset_folder}/dataset.json", _in_blocks(_dataset_lines(write, ledger)))


def write_splits(out: OutputFolder, write: Write, ledger: Ledger) -> str:
    """`splits_final.json`: folds of whole cases. Returns what a person should know of them, or "".

    There are `write.folds` folds, or as many as cases if those are fewer.
    """
    if write.form == "patch":
        return ""
    samples = _done(ledger, ["sample_id", "case_id"])
    fold_of = fold_of_samples(samples.column("case_id"), write.folds)
    folds = int(fold_of.max(initial=-1)) + 1
    lines = _split_lines(samples.column("sample_id"), fold_of, folds)
    out.put_stream(f"{write.dataset_folder}/splits_final.json", _in_blocks(lines))
    return _note(folds, write.folds)


def fold_of_samples(case_ids: pa.ChunkedArray, folds: int) -> NDArray[np.int16]:
    """(n,) fold of each sample, 0 to `folds` - 1: all of a case in one, folds of nearly equal size.

    Cases are dealt out largest first, then by a hash of their id, each to the fold with the fewest samples so far: a
    function of the set of samples, not of their order.
    """
    codes = case_ids.combine_chunks().dictionary_encode()
    index = codes.indices.to_numpy(zero_copy_only=False)
    sizes = np.bincount(index, minlength=len(codes.dictionary))
    hashes = np.fromiter((_hash(case_id) for case_id in _texts(codes.dictionary)), np.uint64, len(sizes))
    fold_of_case = np.zeros(len(sizes), np.int16)
    filled = [(0, fold) for fold in range(max(1, min(folds, len(sizes))))]
    for case in np.lexsort((hashes, -sizes)):
        size, fold = filled[0]
        fold_of_case[case] = fold
        heapq.heapreplace(filled, (size + int(sizes[case]), fold))
    return np.asarray(fold_of_case[index])


def _hash(case_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(case_id.encode(), digest_size=8).digest(), "little")


def _note(folds: int, asked: int) -> str:
    if folds == 0:
        return "no sample is done: nnU-Net has nothing to train on"
    if folds == 1:
        return "one case only: nnU-Net needs two for a validation of its own; here it validates on what it trains on"
    if folds < asked:
        return f"{folds} cases make {folds} folds, not {asked}"
    return ""


def _done(ledger: Ledger, columns: Sequence[str]) -> pa.Table:
    """Some columns of all samples that are done, in order."""
    schema = pa.schema([(name, pa.string()) for name in columns])
    return pa.concat_tables([schema.empty_table(), *_done_tables(ledger, columns)])


def _done_tables(ledger: Ledger, columns: Sequence[str]) -> Iterator[pa.Table]:
    for table in ledger.tables([*columns, "status"]):
        yield table.filter(pc.equal(table.column("status"), Status.DONE.value)).select(columns)


def _dataset_lines(write: Write, ledger: Ledger) -> Iterator[str]:
    """The JSON object; `numTraining` comes last, once it is known."""
    head: dict[str, Any] = {
        "name": write.dataset_name,
        "description": "Synthetic lesions in healthy CT",
        "channel_names": {"0": "CT"},
        "labels": labels(write),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": READER,
    }
    if not write.label_organ:
        head["regions_class_order"] = [2]
    yield json.dumps(head, indent=1)[: -len("\n}")] + ',\n "dataset": {'
    count = 0
    for table in _done_tables(ledger, ["sample_id", "image_uri", "label_uri"]):
        for row in table.to_pylist():
            entry = json.dumps({"images": [row["image_uri"]], "label": row["label_uri"]})
            yield f"{',' if count else ''}\n  {json.dumps(row['sample_id'])}: {entry}"
            count += 1
    yield f'\n }},\n "numTraining": {count}\n}}\n'


def _split_lines(sample_ids: pa.ChunkedArray, fold_of: NDArray[np.int16], folds: int) -> Iterator[str]:
    """The JSON list of {train, val}."""
    yield "["
    for fold in range(folds):
        held_out = pa.array(fold_of == fold)
        train = sample_ids.filter(pc.invert(held_out)) if folds > 1 else sample_ids
        yield f'{"," if fold else ""}\n {{\n  "train": ['
        yield from _id_lines(train)
        yield '\n  ],\n  "val": ['
        yield from _id_lines(sample_ids.filter(held_out))
        yield "\n  ]\n }"
    yield "\n]\n"


def _id_lines(ids: pa.ChunkedArray) -> Iterator[str]:
    for i, sample_id in enumerate(_texts(ids)):
        yield f"{',' if i else ''}\n   {json.dumps(sample_id)}"


def _texts(strings: pa.Array | pa.ChunkedArray) -> Iterator[str]:
    """As Python strings, of which few exist at a time."""
    for start in range(0, len(strings), _IDS_AT_A_TIME):
        yield from strings.slice(start, _IDS_AT_A_TIME).to_pylist()


def _in_blocks(lines: Iterable[str]) -> Iterator[bytes]:
    """UTF-8 in pieces of about 1 MiB."""
    waiting: list[str] = []
    length = 0
    for line in lines:
        waiting.append(line)
        length += len(line)
        if length >= 2**20:
            yield "".join(waiting).encode()
            waiting, length = [], 0
    yield "".join(waiting).encode()
