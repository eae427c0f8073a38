"""Rows are never lost or doubled, wherever the process is killed, and equal runs compact to equal bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import LesionForgeError, OutputError, RunConflictError
from engine.core.schema import MANIFEST_SCHEMA, METRICS_SCHEMA
from engine.io import part_log
from engine.io.ledger import Ledger
from engine.io.part_log import Part
from engine.io.storage import OutputFolder, open_output

pytest_plugins = ["output_places"]

HELD = "000001-aa"
STATUSES = ("done", "done", "rejected", "failed")


def manifest(ordinals: Iterable[int]) -> pa.Table:
    """A row an ordinal, a function of nothing else."""
    return pa.Table.from_pylist([_row(int(o)) for o in ordinals], schema=MANIFEST_SCHEMA)


def _row(ordinal: int) -> dict[str, object]:
    text = {f.name: f"{f.name}{ordinal % 13}" for f in MANIFEST_SCHEMA if f.type == pa.string()}
    lesion = {"index": 0, "organ": "liver", "box": [0, 0, 0, ordinal, 2, 3], "report": "{}" * (ordinal % 5)}
    return text | {
        "sample_id": f"case{ordinal:05d}-v000",
        "case_id": f"case{ordinal:05d}",
        "variant": 0,
        "ordinal": ordinal,
        "status": STATUSES[ordinal % len(STATUSES)],
        "resampled": ordinal % 2 == 0,
        "lesions": [lesion] * (ordinal % 3),
        "attempts": 1,
        "seed": ordinal * 7919,
        "schema_version": 1,
    }


def metrics(ordinals: Iterable[int]) -> pa.Table:
    rows = [{"sample_id": f"case{o:05d}-v000", "ordinal": o, "seconds": [("mask", 0.5)]} for o in ordinals]
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)


def contents(out: OutputFolder) -> dict[str, bytes]:
    return {name: out.get(name) for name in out.names("manifest")}


def compacted(total: int, shard_size: int) -> dict[str, bytes]:
    """What any run of `total` samples must become."""
    with tempfile.TemporaryDirectory() as folder:
        out = open_output(folder).fence(HELD)
        Ledger(out).append(manifest(range(total)))
        Ledger(out).compact(shard_size, total)
        return contents(out)


@pytest.fixture
def small_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_log, "FAN_IN", 3)


def test_append_read_compact(new_output: Callable[[], str], small_merges: None) -> None:
    out = open_output(new_output()).fence(HELD)
    ledger = Ledger(out)
    assert ledger.counts() == {}
    assert not ledger.committed(4).any()
    order = np.random.default_rng(3).permutation(40)
    for start in range(0, 30, 4):
        ledger.append(manifest(order[start : start + 4]), metrics(order[start : start + 4]))
    committed = order[:32]
    reader = Ledger(open_output(out.uri))
    assert np.flatnonzero(reader.committed(40)).tolist() == sorted(committed)
    done = [o for o in sorted(committed) if STATUSES[o % 4] == "done"]
    assert np.flatnonzero(reader.committed(40, {"done"})).tolist() == done
    assert reader.counts()["done"] == len(done)
    assert list(reader.rows()) == manifest(sorted(committed)).to_pylist()
    with pytest.raises(RunConflictError, match="more samples"):
        reader.committed(20)
    with pytest.raises(LesionForgeError, match="lacks rows"):
        ledger.compact(10, 40)
    ledger.append(manifest(order[32:]))
    ledger.compact(10, 40)
    assert contents(out) == compacted(40, 10)
    assert list(reader.rows(["sample_id"], 7, 23)) == [{"sample_id": f"case{o:05d}-v000"} for o in range(7, 23)]
    assert out.names("metrics")


def test_empty_and_unfenced_append(tmp_path: Path) -> None:
    out = open_output(str(tmp_path / "run"))
    Ledger(out).append(manifest([]), metrics([]))
    assert out.names() == []
    for ordinals in ([0], [1]):
        Ledger(out).append(manifest(ordinals))
    assert Ledger(out).committed(2).all()


def test_two_ledgers_of_one_token_never_write_the_same_part(tmp_path: Path) -> None:
    out = open_output(str(tmp_path / "run")).fence(HELD)
    first, second = Ledger(out), Ledger(out)
    for ordinal in range(6):
        (first, second)[ordinal % 2].append(manifest([ordinal]))
    assert Ledger(out).committed(6).all()


@settings(max_examples=20, deadline=None)
@given(data=st.data(), total=st.integers(1, 60), shard_size=st.integers(1, 70))
def test_any_order_any_partition_same_bytes(data: st.DataObject, total: int, shard_size: int) -> None:
    order = data.draw(st.permutations(range(total)))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, total - 1)), max_size=12)) | {0, total})
    again = data.draw(st.lists(st.integers(0, total - 1), max_size=10))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_log, "FAN_IN", data.draw(st.integers(2, 4)))
        patch.setattr(part_log, "MERGED_ROWS", data.draw(st.integers(5, 100)))
        out = open_output(folder).fence(HELD)
        ledger = Ledger(out)
        for start, stop in pairwise(cuts):
            ledger.append(manifest(order[start:stop]))
        ledger.append(manifest(again))
        assert sum(ledger.counts().values()) == total
        ledger.compact(shard_size, total)
        assert contents(out) == compacted(total, shard_size)
        assert [r["ordinal"] for r in ledger.rows(["ordinal"])] == list(range(total))


def test_row_groups_do_not_depend_on_how_rows_came(tmp_path: Path) -> None:
    """More rows than a row group, so that cuts of the merge and of the file fall apart."""
    total, outs = 2600, []
    for name, size in (("whole", total), ("pieces", 700)):
        out = open_output(str(tmp_path / name)).fence(HELD)
        order = np.arange(total) if name == "whole" else np.random.default_rng(0).permutation(total)
        ledger = Ledger(out)
        for start in range(0, total, size):
            ledger.append(manifest(order[start : start + size]))
        ledger.compact(2000, total)
        outs.append(contents(out))
    assert outs[0] == outs[1]
    assert [pq.ParquetFile(pa.BufferReader(b)).metadata.num_rows for b in outs[0].values()] == [2000, 600]


def test_parts_stay_few(tmp_path: Path) -> None:
    out = open_output(str(tmp_path / "run")).fence(HELD)
    ledger = Ledger(out)
    for ordinal in range(2 * 32 + 5):
        ledger.append(manifest([ordinal]), metrics([ordinal]))
        assert len(out.names("manifest")) < 2 * 32
    levels = [part.level for n in out.names("manifest") if (part := Part.parse(n.removeprefix("manifest/")))]
    assert levels == [0] * 5 + [1] * 2
    assert len(out.names("metrics")) == 7


class _Stop(Exception):
    """Stands for the end of the process."""


def _dying(out: OutputFolder, step: int) -> OutputFolder:
    """The same folder, whose user dies before the given one of its changes."""

    class Dying(OutputFolder):
        left = step

        def _tick(self) -> None:
            if Dying.left == 0:
                raise _Stop
            Dying.left -= 1

        def put_stream(self, name: str, chunks: Iterable[bytes], *, durable: bool = False) -> None:
            self._tick()
            super().put_stream(name, chunks, durable=durable)

        def delete(self, names: Sequence[str]) -> None:
            for name in names:
                self._tick()
                super().delete([name])

    return Dying(out.uri, out.token)


def _commits(ledger: Ledger, total: int) -> Iterator[list[int]]:
    """What a driver does that is started again and again: commit what is missing, in its own order."""
    missing = np.flatnonzero(~ledger.committed(total))[::-1].tolist()
    for start in range(0, len(missing), 5):
        ledger.append(manifest(missing[start : start + 5]), metrics(missing[start : start + 5]))
        yield missing[start : start + 5]
    ledger.compact(7, total)


def test_dying_at_every_step(tmp_path: Path, small_merges: None) -> None:
    """A driver that dies ever later, then one that lives: what was committed stays, and the bytes are the same."""
    total, expected = 20, compacted(20, 7)
    for step in range(80):
        out = open_output(str(tmp_path / f"run{step}")).fence(HELD)
        safe: set[int] = set()
        try:
            for ordinals in _commits(Ledger(_dying(out, step)), total):
                safe.update(ordinals)
        except _Stop:
            died = True
        else:
            died = False
        assert Ledger(out).committed(total)[list(safe)].all()
        assert len(list(Ledger(out).rows(["ordinal"]))) == Ledger(out).committed(total).sum()
        for _ in _commits(Ledger(out), total):
            pass
        assert contents(out) == expected
        if not died:
            assert step > 10
            return
    pytest.fail("the driver never came to its end")


_DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from test_ledger import Ledger, OutputFolder, _commits, part_log
part_log.FAN_IN = 3
from engine.core.failpoints import reached
out = OutputFolder(sys.argv[1], sys.argv[2])
print("ready", flush=True)
for _ in _commits(Ledger(out), 60):
    reached("part_committed")
"""


@pytest.mark.parametrize(
    ("new_shared_output", "failpoint"),
    [("local", "part_committed#7"), ("local", "compaction"), ("local", ""), ("s3", "compaction")],
    indirect=["new_shared_output"],
)
def test_sigkill(new_shared_output: Callable[[], str], failpoint: str) -> None:
    """Real processes, killed at named points or (empty) at no point in particular."""
    out = open_output(new_shared_output())
    total, seen = 60, np.zeros(60, np.bool_)
    for start in range(2):
        token = f"{start + 1:06d}-aa"
        out.fence(token)
        environment = os.environ | {"PYTHONPATH": str(Path(part_log.__file__).parents[2])}
        if start == 0 and failpoint:
            environment["LESIONFORGE_FAILPOINT"] = failpoint
        script = _DRIVER.format(tests=str(Path(__file__).parent))
        driver = subprocess.Popen(
            [sys.executable, "-c", script, out.uri, token], env=environment, stdout=subprocess.PIPE
        )
        assert driver.stdout is not None
        driver.stdout.readline()
        if start == 0 and not failpoint:
            while not Ledger(out).counts():
                pass
            driver.send_signal(signal.SIGKILL)
        code = driver.wait(120)
        driver.stdout.close()
        assert code == (0 if start else -signal.SIGKILL)
        assert not (seen & ~Ledger(out).committed(total)).any()
        seen = Ledger(out).committed(total)
    assert contents(out) == compacted(total, 7)


def test_reader_of_a_run_that_goes_on(tmp_path: Path, small_merges: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are merged between the listing and the reading are read from what they became."""
    out = open_output(str(tmp_path / "run")).fence(HELD)
    ledger = Ledger(out)
    for ordinal in range(2):
        ledger.append(manifest([ordinal]))
    opened = OutputFolder.open

    def merge_first(self: OutputFolder, name: str) -> object:
        monkeypatch.setattr(OutputFolder, "open", opened)
        ledger.append(manifest([2]))
        return opened(self, name)

    monkeypatch.setattr(OutputFolder, "open", merge_first)
    assert sum(Ledger(open_output(out.uri)).counts().values()) == 3


def test_full_disk_keeps_what_was_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = open_output(str(tmp_path / "run")).fence(HELD)
    ledger = Ledger(out)
    ledger.append(manifest([0, 1]))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        ledger.append(manifest([2]))
    monkeypatch.undo()
    assert Ledger(out).committed(3).tolist() == [True, True, False]
    Ledger(out).append(manifest([2]))
    assert Ledger(out).committed(3).all()
