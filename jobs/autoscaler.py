"""A cluster whose nodes come as they are asked for: whether it can bring up what a run needs.

Ray keeps no list of the nodes that may come where a driver could read it. But its second autoscaler, the usual one of
KubeRay and of `ray up`, can be asked for resources, and says when they are beyond it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined] # compiled
from ray.autoscaler.v2.sdk import request_cluster_resources
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined] # generated

from engine.core.errors import LayoutError

_ANSWER_S = 12.0
"""It looks every five seconds at what is asked for."""
_TICK_S = 0.2


def can_be_asked() -> bool:
    """Whether the cluster that this process is connected to has such an autoscaler."""
    return bool(is_autoscaler_v2(fetch_from_server=True))


def can_bring_up(bundles: Sequence[Mapping[str, float]]) -> bool:
    """Whether the cluster can grow until each bundle, such as {"CPU": 0.5, "GPU": 2}, has room on one of its nodes.

    To ask is to order: what can come is on its way when this returns. Raises `LayoutError` where there is no answer.
    """
    address = ray.get_runtime_context().gcs_address
    gcs = GcsClient(address=address)
    request_cluster_resources(address, [{"resources": dict(bundle)} for bundle in bundles])
    try:
        asked = _status(gcs).cluster_resource_state.cluster_resource_state_version
        limit = time.monotonic() + _ANSWER_S
        while time.monotonic() < limit:
            heard = _status(gcs).autoscaling_state
            if heard.last_seen_cluster_resource_state_version > asked:
                return not heard.infeasible_cluster_resource_constraints
            time.sleep(_TICK_S)
    finally:
        request_cluster_resources(address, [])  # from here on, the actors that wait for room hold the order up
    raise LayoutError(
        f"the cluster's autoscaler did not say within {_ANSWER_S:g} s whether it can bring up this layout"
    )


def _status(gcs: GcsClient) -> GetClusterStatusReply:
    reply = GetClusterStatusReply()
    reply.ParseFromString(gcs.get_cluster_status(timeout_s=_ANSWER_S))
    return reply
