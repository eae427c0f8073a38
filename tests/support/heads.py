"""A Ray cluster of several nodes on this machine, all of it our own children. Never `ray stop`: that ends every Ray."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_RAY = Path(sys.executable).with_name("ray")
_NODE_STORE_BYTES = 200 << 20
_START_S = 120.0


@dataclass
class LoopbackCluster:
    """A head, and nodes that come and go. `env` is what a client needs to be let in."""

    port: int
    dashboard_port: int
    folder: Path
    env: dict[str, str]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    def ray(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """The `ray` command as a client of this cluster."""
        return subprocess.run(
            [_RAY, *arguments], env=self.env, capture_output=True, text=True, timeout=timeout, check=False
        )

    def add_node(self, cpus: int, *options: str, env: Mapping[str, str] | None = None) -> None:
        """`ray start --block`, until it is up. One at a time: nodes of one machine that start together collide."""
        log = self.folder / f"node-{len(self.nodes)}.log"
        common = ("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={_NODE_STORE_BYTES}")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [_RAY, "start", "--block", f"--num-cpus={cpus}", *common, *options],
                env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.nodes.append(process)
        limit = time.monotonic() + _START_S
        while "Ray runtime started" not in (said := log.read_text()):
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"a Ray node did not start:\n{said}")
            time.sleep(0.05)

    def add_worker_node(self, cpus: int, gpus: int = 0) -> None:
        self.add_node(cpus, f"--num-gpus={gpus}", f"--address={self.address}", "--dashboard-agent-listen-port=0")

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """As if the machine lost power: every process of a node at once."""
        for process in [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # one dies as the one that it served does
                process.kill()
        node.wait(30)
        self.nodes.remove(node)

    def stop(self) -> None:
        for node in list(reversed(self.nodes)):
            self.kill(node)


@contextmanager
def loopback_cluster(
    cpus: int,
    *,
    gpus: int = 0,
    dashboard: bool = False,
    head_env: Mapping[str, str] | None = None,
    head_options: Callable[[Path, str], tuple[str, ...]] | None = None,
) -> Iterator[LoopbackCluster]:
    """A head with so many CPUs and pretended GPUs, with ports, folder and token of its own.

    `head_options` makes more options for it from its folder and its address.
    """
    folder = Path(tempfile.mkdtemp(prefix="lf"))  # short: paths of its sockets may have 107 characters
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    env["PATH"] = f"{_RAY.parent}{os.pathsep}{env['PATH']}"  # `python` of a job's entry point is this one
    port, dashboard_port, agent_port = free_ports(3)
    cluster = LoopbackCluster(port, dashboard_port, folder, env)
    try:
        cluster.add_node(
            cpus,
            "--head",
            f"--num-gpus={gpus}",
            "--node-ip-address=127.0.0.1",
            f"--port={port}",
            f"--include-dashboard={str(dashboard).lower()}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard_port}",
            f"--dashboard-agent-listen-port={agent_port}",  # it takes the jobs; another Ray may hold the default one
            f"--temp-dir={folder}",
            *(head_options(folder, cluster.address) if head_options else ()),
            env=head_env,
        )
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody holds at the moment."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
