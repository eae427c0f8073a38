"""pytest plugin: TotalSegmentator's weights folder with random networks, named by the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.random_organ_models import write_models


@pytest.fixture(scope="session")
def organ_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The fast network and the five; where the package keeps its settings is a folder of the test's, too."""
    weights = tmp_path_factory.mktemp("totalsegmentator")
    write_models(weights, fast=True, patch=32)
    write_models(weights, fast=False, patch=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOTALSEG_WEIGHTS_PATH", str(weights))
        patch.setenv("TOTALSEG_HOME_DIR", str(tmp_path_factory.mktemp("home")))
        yield weights
