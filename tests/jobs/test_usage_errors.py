"""What cannot start says so in one line and exit code 2, and writes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

import engine.driver
import engine.finish
from engine.core.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, RunConflictError
from engine.run import code_version
from jobs.cli import main
from jobs.generate import generate
from judge import manifest
from made_cases import MadeCases
from runs import ROOT, files, lesionforge, write_config


@dataclass(frozen=True)
class Mistake:
    """Arguments (`{cases}` is the folder of lists, `{out}` the output), and what the one line must say."""

    arguments: tuple[str, ...]
    says: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def asked(*overrides: str, says: tuple[str, ...], env: Mapping[str, str] | None = None) -> Mistake:
    """A good configuration with something overridden."""
    return Mistake(("generate", "{cases}/run.yaml", "output={out}", *overrides), says, env or {})


MISTAKES = {
    "duplicate-ids": asked(
        "cases.source={cases}/twice.jsonl", says=("come twice", "'p1' in row 1 (p1/ct.nii.gz) and row 3", "'p2'")
    ),
    "path-in-an-id": asked("cases.source={cases}/up.jsonl", says=("row 2", "'../p2'", "no path parts")),
    "broken-list": asked("cases.source={cases}/broken.jsonl", says=("broken.jsonl:2", "not valid JSON", "column")),
    "missing-list": asked("cases.source={cases}/none.jsonl", says=("none.jsonl", "no such file")),
    "unequal-lists": asked(
        "cases={lists: {image: {cases}/images.txt, organs: {cases}/maps.txt}}",
        says=("unequal length", "images.txt has 2 lines", "maps.txt has 1"),
    ),
    "unknown-key": asked(
        "lesions.per_smple=[1, 2]", says=("unknown key 'lesions.per_smple'", "did you mean 'per_sample'")
    ),
    "unknown-organ": asked(
        "lesions.mix=[{organ: livr}]", says=("lesions.mix.0", "unknown organ 'livr'", "did you mean 'liver'")
    ),
    "no-number": asked("seed=one", says=("seed", "integer")),
    "no-value": asked("seed", says=("'seed' should read key=value",)),
    "bad-yaml": Mistake(("generate", "{cases}/bad.yaml"), ("bad.yaml", "not valid YAML", "at line 2, column 17")),
    "missing-config": Mistake(("generate", "{cases}/none.yaml"), ("none.yaml", "no such configuration file")),
    "unknown-protocol": Mistake(("generate", "foo://bar/run.yaml"), ("foo://bar/run.yaml", "Protocol not known: foo")),
    "below-a-file": asked("output={cases}/run.yaml/out", says=("run.yaml/out", "cannot be written", "not a directory")),
    "unwritable": asked("output=/proc/lesions", says=("'/proc/lesions' cannot be written",)),
    "foreign-files": asked("output={cases}", says=("is not empty (", "holds no run", "choose another output")),
    "relative-in-a-job": asked(
        "output=runs/out",
        says=("'runs/out' is relative", "absolute path or a URI"),
        env={RAY_JOB_CONFIG_JSON_ENV_VAR: '{"runtime_env": {}, "metadata": {}}'},
    ),
    "unknown-option": Mistake(("generate", "x.yaml", "--dry-rn"), ("--dry-rn", "--dry-run", "--help")),
    "unknown-command": Mistake(("genrate", "x.yaml"), ("genrate", "generate", "--help")),
    "no-config": Mistake(("generate",), ("Missing argument", "config", "--help")),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good cases, a configuration over them, and lists and files that are not as they should be."""
    made = MadeCases(tmp_path_factory.mktemp("cases"))
    made.good("p1")
    made.good("p2", seed=1)
    lines = made.list_file.read_text().splitlines(keepends=True)
    folder = made.folder
    write_config(
        folder / "run.yaml",
        output="nowhere",
        cases={"source": str(made.list_file)},
        lesions={"mix": [{"organ": "liver"}]},
    )
    for name, text in {
        "twice.jsonl": "".join(lines * 2),
        "up.jsonl": lines[0] + lines[1].replace('"p2"', '"../p2"'),
        "broken.jsonl": lines[0] + lines[1][:30],
        "images.txt": "p1/ct.nii.gz\np2/ct.nii.gz\n",
        "maps.txt": "p1/organs.nii.gz\n",
        "bad.yaml": "output: out\ncases: {source: : x}\n",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def spelt_out(name: str, cases: Path, outputs: Path) -> list[str]:
    """The arguments of a mistake, its places filled in."""
    return [a.replace("{cases}", str(cases)).replace("{out}", f"{outputs}/{name}") for a in MISTAKES[name].arguments]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(
    name: str, cases: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(cases)
    for variable, value in MISTAKES[name].env.items():
        monkeypatch.setenv(variable, value)
    exit_code, out, err = answer_here(spelt_out(name, cases, outputs), capsys)
    assert (exit_code, out) == (EXIT_USAGE, "")
    (line,) = err.splitlines()
    assert line.startswith("lesionforge: ")
    assert not re.search(r"Traceback|Errno|Error\b", line)
    for words in MISTAKES[name].says:
        assert words in line
    assert files(cases) == before
    assert list(outputs.iterdir()) == []


def answer_here(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str, str]:
    """Exit code, standard output and error of the command run in this process, which keeps its signal handlers."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_real_command_says_the_same(cases: Path, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("duplicate-ids", "unequal-lists", "unknown-key", "below-a-file", "unknown-option")
    with ThreadPoolExecutor(len(names)) as pool:  # each spends its seconds importing
        answers = pool.map(lambda name: lesionforge(*spelt_out(name, cases, outputs)), names)
        for name, answer in zip(names, answers, strict=True):
            here = answer_here(spelt_out(name, cases, outputs), capsys)
            assert (answer.returncode, answer.stdout, answer.stderr) == here
    assert list(outputs.iterdir()) == []


def test_without_arguments_it_explains_itself() -> None:
    answer = lesionforge()
    assert (answer.returncode, answer.stderr) == (EXIT_DONE, "")
    assert "materialise" in answer.stdout


@pytest.fixture
def unfinished(ray_here: None, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of four samples that was interrupted once the first were committed."""

    def interrupt(name: str) -> None:
        if name == "part_committed":
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(engine.driver, "reached", interrupt)
        assert ask(cases, tmp_path / "out", "execution.block_size=1", "execution.commit_rows=1") == EXIT_INTERRUPTED
    present = json.loads((tmp_path / "out/run.json").read_text())
    assert not present["complete"]
    return tmp_path / "out"


def ask(cases: Path, out: Path, *overrides: str, **options: Any) -> int:
    return generate(str(cases / "run.yaml"), [f"output={out}", "cases.variants_per_case=2", *overrides], **options)


@pytest.mark.cluster
def test_a_run_is_not_continued_as_another(unfinished: Path, cases: Path) -> None:
    before = files(unfinished)
    fewer = cases / "fewer.jsonl"
    fewer.write_text((cases / "cases.jsonl").read_text().splitlines(keepends=True)[0])
    for override, says in {
        "seed=2": "holds a run with seed=0, this one has 2",
        "blend.margin_mm=5": "holds a run with blend.margin_mm=3.0, this one has 5.0",
        f"cases.source={fewer}": r"over another case list \(2 cases\)",
    }.items():
        with pytest.raises(RunConflictError, match=says):
            ask(cases, unfinished, override)
    answer = lesionforge(
        "generate", cases / "run.yaml", f"output={unfinished}", "cases.variants_per_case=2", "write.folds=4"
    )
    assert (answer.returncode, answer.stdout) == (EXIT_USAGE, "")
    assert answer.stderr == (
        f"lesionforge: {unfinished} holds a run with write.folds=5, this one has 4; "
        "choose another output or the same settings\n"
    )
    assert files(unfinished) == before


@pytest.mark.cluster
def test_a_run_of_other_code_goes_on_where_told_so(unfinished: Path, cases: Path) -> None:
    file = unfinished / "run.json"
    run = json.loads(file.read_text())
    assert run["code_version"] == code_version()
    file.write_text(json.dumps(run | {"code_version": "0.0+older"}))
    with pytest.raises(RunConflictError, match=r"holds a run of code 0.0\+older, this is .*--any-code"):
        ask(cases, unfinished)
    assert ask(cases, unfinished, any_code=True) == EXIT_DONE
    after = json.loads(file.read_text())
    assert (after["complete"], after["code_version"]) == (True, "0.0+older")
    rows = manifest(unfinished)
    assert len(rows) == 4
    assert {row["code_version"] for row in rows} == {code_version()}  # of each row, what has made it


@pytest.mark.cluster
def test_a_second_driver_leaves_at_once(
    ray_here: None, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, finish_run, second = tmp_path / "out", engine.finish.finish_run, []

    def while_another_tries(*arguments: Any) -> Any:
        second.append(lesionforge("generate", cases / "run.yaml", f"output={out}", "cases.variants_per_case=2"))
        return finish_run(*arguments)

    monkeypatch.setattr(engine.finish, "finish_run", while_another_tries)
    assert ask(cases, out) == EXIT_DONE
    (answer,) = second
    assert (answer.returncode, answer.stdout) == (EXIT_USAGE, "")
    (line,) = answer.stderr.splitlines()
    assert f"another driver is at work on this output, process {os.getpid()} on " in line
    assert [row["status"] for row in manifest(out)] == ["done"] * 4
    assert not list(out.glob("lease/*"))


def test_a_request_is_looked_at_before_ray_is_loaded() -> None:
    """It takes seconds, and reads its environment as it is loaded."""
    loaded = "import sys, jobs.generate; sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, check=False).returncode == 0
