"""pytest plugin: places a run can be written to. A folder, memory, and a real S3 server on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

_S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """`s3://<bucket>` on a server of its own; the environment leads there, for subprocesses too."""
    server = shutil.which("moto_server", path=str(Path(sys.executable).parent)) or shutil.which("moto_server")
    if server is None:
        pytest.skip("no moto_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [server, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_CA_BUNDLE"):
            patch.delenv(name, raising=False)
        for name, value in _S3_ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        try:
            _wait_for(port, process)
            fsspec.filesystem("s3", use_listings_cache=False).mkdir("runs")
            yield "s3://runs"
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.fixture(params=["local", "memory", "s3"])
def new_output(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes URIs of empty places to write a run to."""
    return _maker(request, tmp_path)


@pytest.fixture(params=["local", "s3"])
def new_shared_output(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """As `new_output`, where other processes see it too."""
    return _maker(request, tmp_path)


def _maker(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    match request.param:
        case "local":
            base = os.fspath(tmp_path)
        case "memory":
            base = "memory://runs"
        case _:
            base = request.getfixturevalue("s3_bucket")
    return lambda: f"{base}/run-{uuid.uuid4().hex[:8]}"
