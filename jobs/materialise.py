"""`lesionforge materialise`: a run of patches becomes the run of volumes that it stands for, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import pyarrow as pa
from rich.progress import track

from engine.core.errors import EXIT_DONE, CaseError, OutputError, UsageError
from engine.core.schema import MANIFEST_SCHEMA
from engine.finish import finish_run
from engine.io import patch
from engine.io.layers import Layered
from engine.io.lease import Lease
from engine.io.ledger import Ledger
from engine.io.organ_cache import FOLDER
from engine.io.reader import CaseReader
from engine.io.runfile import RUN_FILE, RunFile
from engine.io.storage import OutputFolder, open_input, open_output
from engine.run import Run
from engine.stages.write import host_table, put_files, volume_files
from jobs.inspect import settings_of

_ROWS_A_PART = 1000


def materialise(run: str, output: str, *, cases_base: str = "", workers: int = 1) -> int:
    """Rebuild every done sample of a patch run into `output`; returns the exit code.

    Raises `UsageError`: not a complete patch run, or an output in use. Raises `OutputError`: a source that has changed.
    """
    source = open_input(run, RUN_FILE)
    file = RunFile.read(source)
    if file is None or not file.complete or file.config["write"]["form"] != "patch":
        raise UsageError(f"{run} is not a complete run with write.form: patch")
    target = open_output(output)
    if target.names(""):
        raise UsageError(f"{output} is not empty; choose another folder")
    lease = Lease.acquire(target, heartbeat_s=5)
    try:
        return _materialise(file, source, target.fence(lease.token), cases_base, workers)
    finally:
        lease.release()


def _materialise(file: RunFile, source: OutputFolder, target: OutputFolder, cases_base: str, workers: int) -> int:
    settings = settings_of(file, target.uri, write={**file.config["write"], "form": "volume"})
    patches = Run(settings_of(file, source.uri), cases_base, source, file.code_version, file.weights)
    volumes = Run(settings, cases_base, target, file.code_version, file.weights)

    for name in source.names(FOLDER):  # organ maps that the run made
        target.put(name, source.get(name))
    ledger, made = Ledger(target), Ledger(source)
    rows = _rebuilt(made.rows(), patches, volumes, workers)
    part: list[dict[str, Any]] = []
    for row in track(rows, total=file.samples, description="materialise"):
        part.append(row)
        if len(part) == _ROWS_A_PART:
            ledger.append(pa.Table.from_pylist(part, schema=MANIFEST_SCHEMA))
            part = []
    if part:
        ledger.append(pa.Table.from_pylist(part, schema=MANIFEST_SCHEMA))
    counts, _ = finish_run(volumes, file.samples, ledger)
    replace(file, config=settings.content(), counts=counts).write(target)
    return EXIT_DONE


def _rebuilt(rows: Iterable[Mapping[str, Any]], patches: Run, volumes: Run, workers: int) -> Iterator[dict[str, Any]]:
    work = partial(rebuild, patches=patches, volumes=volumes)
    if workers == 1:
        yield from map(work, rows)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, rows, chunksize=4)


def rebuild(row: Mapping[str, Any], *, patches: Run, volumes: Run) -> dict[str, Any]:
    """Write one sample's volume and label; its manifest row as `write.form: volume` would have made it."""
    if row["status"] != "done":
        return dict(row)
    reader, write = CaseReader(volumes), volumes.settings.write
    try:
        volume = reader.volume(row["source_uri"])
    except CaseError as error:
        raise OutputError(
            f"{row['sample_id']}: its source cannot be read: {error}; relative URIs start from --cases"
        ) from None
    if volume.sha256 != row["source_sha256"]:
        raise OutputError(f"{row['sample_id']}: {row['source_uri']} is not the file that the patch was made from")
    organs, _ = reader.organs(row["organs_uri"], volume.grid)
    hosts = host_table([lesion["organ_id"] for lesion in row["lesions"]], write)
    over_image, over_label = patch.decode(patches.output.get(f"{write.dataset_folder}/{row['image_uri']}"))
    image, label = Layered(volume.raw, over_image), Layered(organs, over_label, table=hosts)
    if (image.sha256(), label.sha256()) != (row["image_voxels_sha256"], row["label_voxels_sha256"]):
        raise OutputError(f"{row['sample_id']}: the rebuilt voxels are not those of the manifest")
    files = volume_files(row["sample_id"], row["ordinal"], volumes, volume, image, label)
    return dict(row) | put_files(row["sample_id"], volumes, files)


def main() -> None:
    """`python -m jobs.materialise RUN OUTPUT`."""
    from jobs.cli import command

    command("materialise")


if __name__ == "__main__":
    main()
