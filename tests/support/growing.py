"""A cluster whose autoscaler starts and ends nodes on this machine, all of them our own children."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heads import LoopbackCluster, loopback_cluster

NodeTypes = Mapping[str, tuple[Mapping[str, float], int]]
"""Name: (resources of a node, nodes at most)."""

_HEAD = "ray.head.default"
_HEAD_ID = "f" * 51 + "00000"  # what Ray's pretended provider takes for the head
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
_NODE_STORE_BYTES = 100 << 20
_FILES = ("cluster_synced_files", "rsync_exclude", "rsync_filter")
_COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")


@contextmanager
def growing_cluster(node_types: NodeTypes, *, idle_s: float = 6) -> Iterator[LoopbackCluster]:
    """A head without CPUs and Ray's own second autoscaler, which ends nodes that were idle for so long.

    The nodes that it brings up are real Ray nodes; only the machines are pretended.
    """

    def options(folder: Path, address: str) -> tuple[str, ...]:
        config = folder / "autoscaler.json"
        config.write_text(json.dumps(_config(node_types, address, idle_s)))
        return (f"--autoscaling-config={config}",)

    env = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
    }
    with loopback_cluster(cpus=0, head_env=env, head_options=options) as cluster:
        yield cluster


def _config(node_types: NodeTypes, address: str, idle_s: float) -> dict[str, Any]:
    """What `ray up` leaves on a head for its autoscaler to read."""
    types = {
        name: {
            "resources": {**resources, "object_store_memory": _NODE_STORE_BYTES},
            "node_config": {},
            "max_workers": most,
        }
        for name, (resources, most) in node_types.items()
    }
    return {
        "cluster_name": "growing",
        "max_workers": sum(most for _, most in node_types.values()),
        "idle_timeout_minutes": idle_s / 60,
        "provider": {
            "type": "external",
            "module": _PROVIDER,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "gcs_address": address,
            "launch_multiple": True,
            "head_node_id": _HEAD_ID,
        },
        "available_node_types": {**types, _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}},
        "head_node_type": _HEAD,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in _FILES},
        **{f"{name}_commands": [] for name in _COMMANDS},
    }
