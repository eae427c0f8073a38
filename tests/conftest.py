"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", max_examples=500)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` looks for these in one folder only: the rest takes long to collect."""
    for item in items:
        if item.path.parent.name != "jobs" and any(item.get_closest_marker(name) for name in ("cluster", "alone")):
            raise pytest.UsageError(f"{item.nodeid} is marked cluster or alone, and belongs into tests/jobs")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real cases, beside the checkout or named by LESIONFORGE_SHARED."""
    root = Path(os.environ.get("LESIONFORGE_SHARED", Path(__file__).parents[2] / "shared"))
    data = root / "data"
    if not data.is_dir():
        pytest.skip(f"no real cases: {data} is absent (set LESIONFORGE_SHARED)")
    return data
