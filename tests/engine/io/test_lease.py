"""One driver an output: the dead are replaced at once, the living never."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.core.errors import RunConflictError
from engine.io import lease as lease_module
from engine.io.lease import Holder, Lease
from engine.io.process_identity import ProcessIdentity
from engine.io.storage import OutputFolder, TakenOverError, open_output

pytest_plugins = ["output_places"]

NewOutput = Callable[[], str]
_ROOT = Path(lease_module.__file__).parents[2]
_DRIVER = """
import sys, time
from engine.core.errors import RunConflictError
from engine.io.lease import Lease
from engine.io.storage import OutputFolder
out = OutputFolder(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    lease = Lease.acquire(out, heartbeat_s=0.5)
except RunConflictError as error:
    print("refused", error, flush=True)
else:
    print("holds", lease.token, flush=True)
    sys.stdin.readline()
    lease.release()
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_DYING_S", 0.05)


@pytest.fixture
def start_driver() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts processes that take the lease when told to, and end when told again."""
    started: list[subprocess.Popen[str]] = []

    def start(uri: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(_ROOT)}
        driver = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, uri],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        started.append(driver)
        return driver

    yield start
    for driver in started:
        driver.kill()
        driver.communicate()


def _say(driver: subprocess.Popen[str]) -> None:
    assert driver.stdin is not None
    driver.stdin.write("\n")
    driver.stdin.flush()


def _hear(driver: subprocess.Popen[str]) -> list[str]:
    assert driver.stdout is not None
    return driver.stdout.readline().split()


def _epochs(out: OutputFolder) -> list[str]:
    return out.names("lease")


def test_take_beat_release(new_output: NewOutput, impatient: None) -> None:
    out = open_output(new_output())
    lease = Lease.acquire(out, heartbeat_s=60)
    assert lease.still_mine()
    with pytest.raises(RunConflictError, match=f"process {os.getpid()} on .*choose another output"):
        Lease.acquire(out, heartbeat_s=60)
    before = out.get("lease/epoch-000001.json")
    lease.beat()
    assert out.get("lease/epoch-000001.json") != before
    assert lease.still_mine()
    lease.release()
    assert out.names() == []
    lease.beat()
    assert out.names() == []
    assert not lease.still_mine()
    again = Lease.acquire(out, heartbeat_s=60)
    assert again.token != lease.token
    again.release()
    if "://" not in out.uri:
        assert list(Path(out.uri).iterdir()) == []


def test_beats_by_itself(tmp_path: Path) -> None:
    out = open_output(str(tmp_path / "run"))
    lease = Lease.acquire(out, heartbeat_s=0.02)
    first = json.loads(out.get("lease/epoch-000001.json"))["beats"]
    until = time.monotonic() + 20
    while json.loads(out.get("lease/epoch-000001.json"))["beats"] < first + 3:
        assert time.monotonic() < until
    lease.release()
    assert out.names() == []


def test_of_many_drivers_one_wins(
    new_shared_output: NewOutput, start_driver: Callable[..., subprocess.Popen[str]]
) -> None:
    out = open_output(new_shared_output())
    drivers = [start_driver(out.uri) for _ in range(3)]
    for driver in drivers:
        _hear(driver)
    for driver in drivers:
        _say(driver)
    said = [_hear(driver) for driver in drivers]
    assert sorted(words[0] for words in said) == ["holds", "refused", "refused"]
    winner = next(d for d, words in zip(drivers, said, strict=True) if words[0] == "holds")
    _say(winner)
    assert winner.wait(60) == 0
    assert out.names() == []


@pytest.mark.usefixtures("impatient")
def test_threads_that_start_together(new_output: NewOutput) -> None:
    for _ in range(3):
        out = open_output(new_output())
        _leave_dead(out)
        held: list[Lease] = []
        refused: list[RunConflictError] = []
        gate = threading.Barrier(4)

        def attempt(
            out: OutputFolder = out,
            gate: threading.Barrier = gate,
            held: list[Lease] = held,
            refused: list[RunConflictError] = refused,
        ) -> None:
            gate.wait()
            try:
                held.append(Lease.acquire(out, heartbeat_s=60))
            except RunConflictError as error:
                refused.append(error)

        threads = [threading.Thread(target=attempt) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(held), len(refused)) == (1, 3)
        assert held[0].still_mine()
        held[0].release()
        assert out.names() == []


def test_killed_driver_is_replaced(
    new_shared_output: NewOutput, start_driver: Callable[..., subprocess.Popen[str]]
) -> None:
    """Also before its parent has waited for it."""
    out = open_output(new_shared_output())
    driver = start_driver(out.uri)
    _say(driver)
    assert _hear(driver) == ["ready"]
    token = _hear(driver)[1]
    if "://" not in out.uri:
        with pytest.raises(RunConflictError, match=f"process {driver.pid} on"):
            Lease.acquire(out, heartbeat_s=60)
    driver.send_signal(signal.SIGKILL)
    lease = Lease.acquire(out, heartbeat_s=60)
    assert lease.token > token
    if "://" not in out.uri:
        with pytest.raises(TakenOverError):
            replace(out, token=token).put("x", b"an orphan")
    lease.release()
    assert out.names() == []


def _elsewhere(**changes: str) -> ProcessIdentity:
    return replace(ProcessIdentity.mine(), host="elsewhere", **changes)


def _leave(out: OutputFolder, holder: Holder) -> None:
    out.create(f"lease/epoch-{int(holder.token[:6]):06d}.json", holder.dumps())


def _leave_dead(out: OutputFolder) -> None:
    """A holder whose process number now belongs to another."""
    _leave(out, Holder("000001-dead", replace(ProcessIdentity.mine(), started="0"), 60))


def test_reused_process_number_is_not_the_holder(tmp_path: Path) -> None:
    out = open_output(str(tmp_path / "run"))
    _leave_dead(out)
    lease = Lease.acquire(out, heartbeat_s=60)
    assert lease.token.startswith("000002-")
    lease.release()
    assert out.names() == []


@pytest.mark.parametrize("changes", [{}, {"host": "here", "boot": "before"}, {"namespace": "another"}])
def test_silent_holder_elsewhere_is_replaced(tmp_path: Path, changes: dict[str, str]) -> None:
    out = open_output(str(tmp_path / "run"))
    _leave(out, Holder("000004-aa", replace(_elsewhere(), **changes), 0.05))
    lease = Lease.acquire(out, heartbeat_s=60)
    assert _epochs(out) == ["lease/epoch-000004.json", "lease/epoch-000005.json"]
    lease.release()
    assert out.names() == []


def test_beating_holder_elsewhere_is_left_alone(new_output: NewOutput) -> None:
    out = open_output(new_output())
    holder = Holder("000001-aa", _elsewhere(), 0.5)
    _leave(out, holder)
    ended = threading.Event()

    def beat() -> None:
        beats = 0
        while not ended.wait(0.1):
            beats += 1
            out.put("lease/epoch-000001.json", replace(holder, beats=beats).dumps())

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(RunConflictError, match="on elsewhere"):
            Lease.acquire(out, heartbeat_s=60)
    finally:
        ended.set()
        thread.join()
    assert _epochs(out) == ["lease/epoch-000001.json"]


def test_deposed_holder_leaves_no_trace(new_output: NewOutput) -> None:
    out = open_output(new_output())
    deposed = Lease.acquire(out, heartbeat_s=60)
    _leave(out, Holder("000002-bb", _elsewhere(), 60))
    assert not deposed.still_mine()
    before = {n: out.get(n) for n in out.names()}
    deposed.beat()
    deposed.release()
    assert {n: out.get(n) for n in out.names()} == before


def test_file_cut_short_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_UNREADABLE_S", 0.1)
    out = open_output(str(tmp_path / "run"))
    out.put("lease/epoch-000003.json", b'{"token": "00')
    lease = Lease.acquire(out, heartbeat_s=60)
    assert lease.token.startswith("000004-")
    lease.release()
    assert out.names() == []
