"""Networks on a cluster that brings up its nodes as they are asked for."""

from __future__ import annotations

import pytest

from engine.core.errors import LayoutError
from engine.pipeline import bundles_of, check_layout
from engine.settings import Settings, parse_settings
from jobs.placement import with_pools

_HEAD = [{"CPU": 1.0}]


def networks(*overrides: str) -> Settings:
    data = {
        "output": "/run",
        "cases": {"source": "cases.jsonl"},
        "mask": {"backend": "lmnet", "checkpoint": "LMNet.ckpt"},
        "paint": {"backend": "linet", "checkpoint": "LINet.ckpt"},
    }
    return parse_settings(data, overrides)


def test_a_cluster_without_gpus_yet_has_to_be_told_what_to_bring_up() -> None:
    with pytest.raises(LayoutError, match="say what the networks take"):
        with_pools(networks(), _HEAD, grows=True)
    assert with_pools(networks(), _HEAD).mask_pool is not None
    assert with_pools(networks(), [*_HEAD, {"CPU": 8.0, "GPU": 1.0}], grows=True).mask_pool is not None


def test_what_is_asked_for_is_the_smallest_layout() -> None:
    pools = ("execution.mask_pool={min: 2, max: 9, num_gpus: 1, num_cpus: 0}", "execution.paint_pool.num_gpus=0.5")
    asked = bundles_of(networks(*pools).execution)
    assert asked == [{"GPU": 1.0}, {"GPU": 1.0}, {"CPU": 0.5, "GPU": 0.5}, {"CPU": 1.0}]


def test_all_that_is_lacking_is_named() -> None:
    pools = ("execution.mask_pool={num_cpus: 2, num_gpus: 1}", "execution.paint_pool.num_gpus=1")
    told = r"^the layout needs 3.5 CPUs \(.*\), the cluster has 1; it needs 2 GPUs \(.*\), the cluster has 0$"
    with pytest.raises(LayoutError, match=told):
        check_layout(networks(*pools).execution, _HEAD)
