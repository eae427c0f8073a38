"""Known cases, the settings of small trainings, and runs of the engine itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import chain
from engine.core.requests import Services
from engine.core.schema import MANIFEST_SCHEMA
from engine.core.wire import from_table
from engine.io.cases import open_cases
from engine.io.ledger import Ledger
from engine.io.reader import CaseReader
from engine.io.runfile import RunFile
from engine.io.storage import open_output
from engine.planner import make_plan
from engine.procedural.mask import ProceduralMasker
from engine.procedural.paint import ProceduralPainter
from engine.run import Run
from engine.settings import parse_settings
from engine.training.settings import TrainSettings, parse_training
from known_cases import KnownCases
from made_cases import MadeCases

CROP = (24, 20, 16)


@pytest.fixture
def known(tmp_path: Path) -> KnownCases:
    folder = tmp_path / "known"
    folder.mkdir()
    return KnownCases(folder)


@pytest.fixture
def training() -> Callable[..., TrainSettings]:
    """Settings of a training of LMNet on small crops; `data` adds to its section of that name."""

    def make(network: str = "lmnet", *, data: dict[str, Any] | None = None, **other: Any) -> TrainSettings:
        section = {"table": "nowhere.parquet", "crop": CROP, **(data or {})}
        vq = {"vq": "nowhere.ckpt"} if network == "linet" else {}
        return parse_training({"network": network, "output": "nowhere", "data": section, **vq, **other})

    return make


@dataclass(frozen=True)
class MadeRun:
    """A run of the engine, and the folder of its case list."""

    uri: str
    cases: str
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], MadeRun]:
    """A complete run of a given form: two cases, two variants, two lesions each, made in this process."""
    made: dict[str, MadeRun] = {}
    folder = tmp_path_factory.mktemp("runs")
    cases = MadeCases(folder / "cases")
    for number in range(2):
        cases.good(f"case-{number}", seed=number)

    def run_of(form: str) -> MadeRun:
        if form not in made:
            made[form] = _made_run(folder / form, cases, form)
        return made[form]

    return run_of


def _made_run(folder: Path, cases: MadeCases, form: str) -> MadeRun:
    settings = parse_settings(
        {
            "output": str(folder),
            "seed": 3,
            "cases": {"source": str(cases.list_file), "variants_per_case": 2},
            "lesions": {"per_sample": [2, 2], "mix": [{"organ": "liver"}, {"organ": "spleen"}]},
            "write": {"form": form, "crop_context_mm": 12},
        }
    )
    listed = open_cases(settings.cases)
    plan, output = make_plan(listed, 2), open_output(settings.output)
    run = Run(settings, listed.base, output, code_version="test")
    samples = [s for wave in plan.waves(np.zeros(plan.total, bool), plan.total) for s in from_table(wave)]
    reader = CaseReader(run)
    rows = list(chain.whole(samples, run, reader, Services(), ProceduralMasker(), ProceduralPainter(reach_vox=3)))
    table = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
    Ledger(output).append(table)
    RunFile.of(settings, cases=2, samples=plan.total, fingerprint="", code_version="test", weights="").write(output)
    finished = {**json.loads(output.get("run.json")), "complete": True}
    output.put("run.json", json.dumps(finished).encode())
    return MadeRun(str(folder), listed.base, table.to_pylist())
