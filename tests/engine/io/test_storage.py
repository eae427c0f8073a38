"""Files of a run are whole or absent, and an earlier driver's workers are shut out."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.core.errors import OutputError, UsageError
from engine.io.storage import OutputFolder, TakenOverError, open_output

pytest_plugins = ["output_places"]

NewOutput = Callable[[], str]


def _entries(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*"))


def test_put_get_and_list(new_output: NewOutput) -> None:
    out = pickle.loads(pickle.dumps(open_output(new_output()).fence("000001-aa")))  # noqa: S301 - our own
    assert out.names() == []
    out.put("a/b/x.bin", b"one", durable=True)
    out.put("a/b/x.bin", b"two")
    out.put("run.json", b"")
    out.put_stream("a/long.bin", (bytes([i]) * 1000 for i in range(5)))
    assert out.get("a/b/x.bin") == b"two"
    assert out.get("run.json") == b""
    assert out.get("a/long.bin") == b"".join(bytes([i]) * 1000 for i in range(5))
    assert out.names() == ["a/b/x.bin", "a/long.bin", "run.json"]
    assert out.names("a/b") == out.names("a/b/") == ["a/b/x.bin"]
    assert out.names("absent") == []
    assert out.exists("run.json")
    assert not out.exists("a")
    with out.open("a/long.bin") as file:
        file.seek(1500)
        assert file.read(2) == b"\x01\x01"


def test_delete_is_idempotent_and_leaves_no_empty_folder(new_output: NewOutput) -> None:
    out = open_output(new_output())
    out.put("a/b/x", b"1")
    out.put("a/y", b"2")
    out.delete(["a/b/x", "a/b/never"])
    out.delete(["a/b/x"])
    assert out.names() == ["a/y"]
    with pytest.raises(FileNotFoundError):
        out.get("a/b/x")
    if "://" not in out.uri:
        assert _entries(Path(out.uri)) == ["a", "a/y"]


def test_create_is_exclusive(new_output: NewOutput) -> None:
    out = open_output(new_output())
    assert out.create("lease/1", b"first")
    assert not out.create("lease/1", b"second")
    assert out.get("lease/1") == b"first"


def test_one_of_many_creates(new_output: NewOutput) -> None:
    out = open_output(new_output())
    wins: list[int] = []
    gate = threading.Barrier(6)

    def attempt(number: int) -> None:
        gate.wait()
        if out.create("lease/1", b"%d" % number):
            wins.append(number)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % n for n in wins] == [out.get("lease/1")]


def test_fence_shuts_out_earlier_tokens(tmp_path: Path) -> None:
    folder = open_output(str(tmp_path / "run"))
    old = folder.fence("000001-aa")
    old.put("x", b"old")
    new = folder.fence("000002-bb")
    for _ in range(2):
        with pytest.raises(TakenOverError, match="taken over"):
            old.put("x", b"late")
    assert not (tmp_path / "run/.inflight/000001-aa").exists()
    new.put("x", b"new")
    assert folder.get("x") == b"new"
    new.sweep()
    with pytest.raises(TakenOverError):
        new.put("y", b"after the end")
    assert _entries(tmp_path / "run") == ["x"]


def test_a_put_under_way_is_fenced_out(tmp_path: Path) -> None:
    folder = open_output(str(tmp_path / "run"))
    old = folder.fence("000001-aa")

    def content() -> Iterator[bytes]:
        yield b"begun"
        folder.fence("000002-bb")
        yield b"ended"

    with pytest.raises(TakenOverError):
        old.put_stream("shard/x", content())
    assert folder.names() == []


def test_a_content_that_fails_leaves_nothing(new_output: NewOutput) -> None:
    out = open_output(new_output()).fence("000001-aa")
    out.put("kept", b"1")

    def content() -> Iterator[bytes]:
        yield b"begun"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match="no space left on device; free some and run the same command again"):
        out.put_stream("kept", content())
    assert out.get("kept") == b"1"
    if "://" not in out.uri:
        assert _entries(Path(out.uri)) == [".inflight", ".inflight/000001-aa", "kept"]


def test_unfenced_writing_leaves_no_folder(tmp_path: Path) -> None:
    out = open_output(str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    out.put("a", b"1")
    out.create("b", b"2")
    out.create("b", b"3")
    assert _entries(tmp_path / "run") == ["a", "b"]


_WRITER = """
import sys
from engine.io.storage import OutputFolder
out = OutputFolder(sys.argv[1], "000001-aa")
number = 0
print("ready", flush=True)
while True:
    number += 1
    out.put(f"shard/{number % 7}", bytes([number % 256]) * 300_000)
"""


def test_killed_writers_leave_whole_files(tmp_path: Path) -> None:
    folder = open_output(str(tmp_path / "run"))
    folder.fence("000001-aa")
    for round_ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, folder.uri], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + 0.03 * round_)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    names = folder.names()
    assert names
    for name in names:
        data = folder.get(name)
        assert len(data) == 300_000
        assert len(set(data)) == 1
    folder.sweep()
    assert [e for e in _entries(tmp_path / "run") if not e.startswith("shard")] == []


def test_orphan_writes_nothing_after_the_fence(tmp_path: Path) -> None:
    folder = open_output(str(tmp_path / "run"))
    folder.fence("000001-aa")
    orphan = subprocess.Popen(
        [sys.executable, "-c", _WRITER, folder.uri], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert orphan.stdout is not None
    orphan.stdout.readline()
    while not folder.names():
        time.sleep(0.01)
    folder.fence("000002-bb")
    folder.delete(folder.names())
    assert orphan.wait(30) == 1
    orphan.stdout.close()
    assert folder.names() == []
    assert _entries(tmp_path / "run") == [".inflight", ".inflight/000002-bb"]


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("", "output is empty"),
        ("s3:/bucket/run", "should read s3://bucket/run"),
        ("s3:bucket/run", "should read s3://bucket/run"),
        ("s3//bucket/run", "should read s3://bucket/run"),
        ("s3://", "should read s3://bucket/folder"),
        ("s3:///run", "should read s3://bucket/folder"),
        ("s3://bucket/../run", "should read s3://bucket/folder"),
        ("s4://bucket/run", "unknown protocol 's4'"),
        ("memry://run", "did you mean 'memory'"),
        ("https://host/run", "cannot be written through https"),
        ("simplecache::s3://bucket/run", "cannot be written"),
        ("/proc/run", "cannot be written"),
    ],
)
def test_refused_outputs(uri: str, line: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_output(uri)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/run"):
        with pytest.raises(UsageError, match="not a directory"):
            open_output(str(tmp_path / name))


def test_refuses_a_bucket_that_is_not_there(s3_bucket: str) -> None:
    with pytest.raises(UsageError, match=r"s3://nowhere/run' cannot be written"):
        open_output("s3://nowhere/run")


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_output("runs/demo/") == OutputFolder(str(tmp_path / "runs/demo"))
    assert open_output(f"file://{tmp_path}/x").uri_of("a/b") == str(tmp_path / "x/a/b")
    assert open_output("memory://x/y/").uri_of("a") == "memory://x/y/a"


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a name inside"):
        open_output(str(tmp_path)).put(name, b"")
