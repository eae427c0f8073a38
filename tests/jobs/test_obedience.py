"""Procedural lesions obey their reports: a hundred of them (two hundred in `benchmarks.obedience`, and with `-m long`),
measured from the files by other people's code.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.obedience import Obedience, judge, link_real, make_phantoms, run_on

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here")]


@pytest.fixture(scope="module", params=[0.5, pytest.param(1.0, marks=pytest.mark.long)])
def share(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture(scope="module")
def found(ray_here: None, share: float, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Obedience:
    folder = tmp_path_factory.mktemp("obedience")
    cases = {"phantom-run": make_phantoms(folder, share), "real-run": link_real(folder, shared_data, share)}
    return judge([run_on(listed, name) for name, listed in cases.items()])


def test_there_are_enough_of_every_slice_thickness(found: Obedience, share: float) -> None:
    assert len(found.lesions) >= 200 * share
    slices = [round(m.slice_mm) for m in found.lesions]
    assert all(slices.count(mm) >= 30 * share for mm in (2, 3, 5))


def test_every_contrast_has_the_sign_asked_for(found: Obedience) -> None:
    assert found.right_sign == 1


def test_volumes_are_those_asked_for(found: Obedience) -> None:
    assert found.right_volume >= 0.95


def test_lesions_lie_where_their_cavity_says(found: Obedience) -> None:
    assert found.right_place >= 0.95


def test_shape_margin_and_texture_can_be_told_apart(found: Obedience) -> None:
    assert found.auc_of_shape() >= 0.9
    assert found.auc_of_margin() >= 0.9
    assert found.auc_of_texture() >= 0.9
