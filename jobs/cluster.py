"""Which Ray this run is on: one that is named, the job's own, or a local one started for it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from engine.core.errors import LayoutError, UsageError
from engine.pipeline import bundles_of, check_layout, set_up_ray_data
from engine.settings import Execution, Settings
from jobs.autoscaler import can_be_asked, can_bring_up
from jobs.placement import with_pools

_LOCAL_OBJECT_STORE_BYTES = 1 << 30
_ANSWER_S = 10.0
"""How long a cluster's head may take to accept a connection; Ray itself would try for minutes."""


@contextmanager
def connected(settings: Settings) -> Iterator[Execution]:
    """Ray for the length of a run, and the execution with the pools that its networks get there.

    A local cluster is started only where none is named, and ends with the run. Raises `UsageError` where there is no
    cluster at the address, `LayoutError` where it can never hold the layout.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if ray.is_initialized():  # a test's own cluster
        yield _laid_out(settings)
        return
    try:
        connect(settings.execution)
        yield _laid_out(settings)
    finally:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # that its work is cut off is no news
        ray.shutdown()


def _laid_out(settings: Settings) -> Execution:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    execution = with_pools(settings, nodes, grows=can_be_asked())
    set_up_ray_data(execution)
    _require_room(execution, nodes)
    return execution


def _require_room(execution: Execution, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise `LayoutError` unless the layout fits onto the nodes that are up, or onto those that can come besides."""
    try:
        check_layout(execution, nodes)
    except LayoutError as error:
        if not can_be_asked():
            raise
        if not can_bring_up(bundles_of(execution)):
            raise LayoutError(f"{error}, and its autoscaler cannot bring up the rest") from None


def connect(execution: Execution) -> None:
    """`ray.init`, with signals left as they were: Ray puts a SIGTERM handler of its own in place, and leaves it."""
    named = "execution.address" if execution.address else "RAY_ADDRESS"
    address = execution.address or os.environ.get("RAY_ADDRESS") or "local"
    _require_answer(address, named)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**_place(address, execution), log_to_driver=False, logging_level=logging.ERROR)
    except SystemExit:  # what Ray's handler raises
        raise KeyboardInterrupt from None
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"{named} '{address}': {error}") from None
    finally:
        signal.signal(signal.SIGTERM, handler)


def _place(address: str, execution: Execution) -> Mapping[str, Any]:
    """What `ray.init` is to join or start. Without "local" it would join any cluster that is up on this machine."""
    if address != "local":
        return {"address": address}
    cpus = max(os.cpu_count() or 1, execution.workers or 1)
    check_layout(execution, [{"CPU": cpus}], resources=("CPU",))  # known before the seconds that a start takes
    store = int((execution.object_store_gb or 0) * 1e9) or _LOCAL_OBJECT_STORE_BYTES
    return {"address": "local", "num_cpus": cpus, "object_store_memory": store, "include_dashboard": False}


def _require_answer(address: str, named: str) -> None:
    """Raise `UsageError` unless something listens at an address such as 10.0.0.1:6379."""
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdigit():
        raise UsageError(f"{named} '{address}' should be the cluster's head as host:port, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except OSError as error:
        raise UsageError(f"{named} '{address}': no Ray cluster there ({error.strerror or error})") from None
