"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real cases, beside the checkout or named by LESIONFORGE_SHARED."""
    root = Path(os.environ.get("LESIONFORGE_SHARED", Path(__file__).parents[2] / "shared"))
    data = root / "data"
    if not data.is_dir():
        pytest.skip(f"no real cases: {data} is absent (set LESIONFORGE_SHARED)")
    return data
