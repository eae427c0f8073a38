"""The reference's tensors, and tiny networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from golden import Golden
from models import layers, winograd


@pytest.fixture(scope="session")
def golden() -> Golden:
    """The reference's stored tensors, beside the checkout or named by LESIONFORGE_SHARED."""
    root = Path(os.environ.get("LESIONFORGE_SHARED", Path(__file__).parents[3] / "shared")) / "reference"
    if not root.is_dir():
        pytest.skip(f"no reference tensors: {root} is absent (set LESIONFORGE_SHARED)")
    return Golden(root)


@pytest.fixture(autouse=True, scope="session")
def threads() -> None:
    """Where tests run two at a time, each keeps to one core."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """Tests that train say so with `torch.enable_grad()`."""
    with torch.no_grad():
        yield


@pytest.fixture(params=["direct", "fewer-products", "as-rows"])
def shortcuts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What features of other sizes choose by themselves: each of the ways to convolve, for all of a small network."""
    monkeypatch.setattr(layers, "MAX_VOXELS_AS_ROWS", 10**9 if request.param == "as-rows" else 0)
    if request.param == "fewer-products":
        monkeypatch.setattr(layers, "MIN_VOXELS", 0)
        monkeypatch.setattr(winograd, "MIN_VOXELS", 0)
        monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
