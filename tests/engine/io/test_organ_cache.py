"""Organ maps under the digest of their CT: whole or absent, told apart by model, named so that a run can be moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.core.errors import OutputError, UsageError
from engine.io.organ_cache import open_cache, opened_as
from engine.io.storage import open_output

pytest_plugins = ["output_places"]


def test_a_map_is_found_under_its_own_ct_and_model_alone(new_output: Callable[[], str]) -> None:
    output, shared = open_output(new_output()), new_output()
    for place in (None, shared):
        cache = open_cache(place, "model-1", output)
        assert cache.find("aa") is None
        uri = cache.keep("aa", b"map")
        assert cache.find("aa") == uri
        assert cache.find("ab") is None
        assert open_cache(place, "model-2", output).find("aa") is None


def test_a_run_with_its_maps_can_be_moved(new_output: Callable[[], str]) -> None:
    here, there = open_output(new_output()), open_output(new_output())
    uri = open_cache(None, "m", here).keep("aa", b"map")
    assert uri == "made:organs/m/aa.nii.gz"
    assert opened_as(uri, "/cases", here) == (here.uri_of("organs/m/aa.nii.gz"), True)
    assert opened_as(uri, "/cases", there) == (there.uri_of("organs/m/aa.nii.gz"), True)
    assert opened_as("organs/m/aa.nii.gz", "/cases", here) == ("/cases/organs/m/aa.nii.gz", False)


def test_a_shared_cache_is_named_in_full(new_output: Callable[[], str]) -> None:
    shared, output = new_output(), open_output(new_output())
    cache = open_cache(shared, "m", output)
    assert opened_as(cache.keep("aa", b"map"), "/cases", output) == (cache.folder.uri_of("m/aa.nii.gz"), True)
    assert cache.folder.get("m/aa.nii.gz") == b"map"


def test_maps_of_a_run_are_closed_to_the_workers_of_its_last_driver(tmp_path: Path) -> None:
    output = open_output(str(tmp_path))
    orphan = open_cache(None, "m", output.fence("one"))
    output.fence("two")
    with pytest.raises(OutputError, match="another driver"):
        orphan.keep("aa", b"map")


def test_a_place_that_cannot_be_written_to() -> None:
    with pytest.raises(UsageError, match=r"^organs.cache: output 'https://host/x' cannot be written through https"):
        open_cache("https://host/x", "m", open_output("/tmp"))  # noqa: S108 # nothing is written
