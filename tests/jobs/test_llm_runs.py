"""Whole runs whose reports a language model writes, over HTTP, from a server that is not always at its best."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray

from awkward_server import KEY, MODEL, AwkwardServer, Request, awkward_server, of_all_kinds
from engine.core.errors import EXIT_DONE, ServiceError, UsageError
from heads import loopback_cluster
from jobs.generate import generate
from killed_runs import DriverProcess, assert_same
from made_cases import MadeCases
from runs import differences, write_config

pytestmark = pytest.mark.cluster

KEY_ENV = "AWKWARD_KEY"
RETRIES = 2


@pytest.fixture(autouse=True)
def key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lesions in every sample, eight samples unless told otherwise; of one the user has fixed a thing."""
    folder = tmp_path_factory.mktemp("llm")
    cases = MadeCases(folder / "cases")
    for i in range(2):
        cases.good(f"case-{i}", seed=i)
    return write_config(
        folder / "run.yaml",
        output=str(folder / "nowhere"),
        seed=5,
        cases={"source": str(cases.list_file), "variants_per_case": 4},
        lesions={"per_sample": [2, 2], "mix": [{"organ": "liver", "density": "hyperdense"}, {"organ": "spleen"}]},
        report={
            "writer": "llm", "model": MODEL, "key_env": KEY_ENV,
            "timeout_s": 3, "retries": RETRIES, "concurrency": 16,
        },
        check={"max_attempts": 2},
        write={"preview": 0, "form": "patch"},
        execution={"block_size": 4, "commit_s": 0.5},
    )  # fmt: skip


def run_with(config: Path, server: AwkwardServer, name: str, *overrides: str) -> Path:
    run = config.parent / name
    assert generate(str(config), [f"output={run}", f"report.base_url={server.url}", *overrides]) == EXIT_DONE
    return run


def lesions(run: Path) -> list[dict[str, Any]]:
    rows = ds.dataset(run / "manifest").to_table().to_pylist()
    return [lesion for row in rows for lesion in row["lesions"]]


def kept(run: Path) -> list[dict[str, Any]]:
    return ds.dataset(run / "reports").to_table().to_pylist()


def rows(run: Path) -> Counter[str]:
    return Counter(ds.dataset(run / "manifest").to_table(columns=["sample_id"])["sample_id"].to_pylist())


def expected(asked: list[Request]) -> tuple[str, int]:
    """Who writes the report of one question that the server met with `of_all_kinds`, and after how many requests."""
    first = [r.behaviour for r in asked if r.turns == 1]
    if first[0] in ("refuse", "filtered"):
        return "template for llm: refusal", 1
    if first.count("500") > 1:
        return "template for llm: server error", 1 + RETRIES
    mended = [r.behaviour for r in asked if r.turns == 2]
    if mended:
        return ("llm repaired", 2) if mended == ["answer"] else (f"template for llm: {_why(mended[0])}", 2)
    return "llm", 1 if first[0] == "answer" else 2


def _why(behaviour: str) -> str:
    return "cut off" if behaviour == "cut off" else "not usable"


@pytest.mark.parametrize("samples", [24, pytest.param(250, marks=pytest.mark.long)])
def test_every_report_comes_whatever_the_server_does(ray_here: None, config: Path, samples: int) -> None:
    with awkward_server(of_all_kinds) as server:
        run = run_with(config, server, f"awkward-{samples}", f"cases.variants_per_case={samples // 2}")
        asked: dict[str, list[Request]] = {}
        for request in server.completions():
            asked.setdefault(request.question, []).append(request)
    assert len(rows(run)) == samples
    assert set(rows(run).values()) == {1}
    outcomes = [expected(of_one) for of_one in asked.values()]
    writers = Counter(row["writer"] for row in kept(run))
    assert writers == Counter(writer for writer, _ in outcomes)
    ideal = sum(requests for _, requests in outcomes)
    assert len(server.log) == ideal, "requests that nothing called for"
    assert sum(row["requests"] for row in kept(run)) == ideal
    assert {"llm", "llm repaired", "template for llm: refusal", "template for llm: not usable"} <= writers.keys()
    assert {lesion["report_writer"] for lesion in lesions(run)} <= writers.keys()
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    assert with_key_in_it([run, session / "logs"]) == []


def with_key_in_it(folders: list[Path]) -> list[Path]:
    """Files that hold the key; tables are read for it."""
    found = []
    for path in (p for folder in folders for p in folder.rglob("*") if p.is_file()):
        read = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text(errors="replace")
        found += [path] if KEY in read else []
    return found


@pytest.fixture(scope="module")
def undisturbed(ray_here: None, config: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch, awkward_server() as server:
        patch.setenv(KEY_ENV, KEY)
        return run_with(config, server, "undisturbed")


def test_what_a_model_says_is_used_and_what_the_user_fixed_stays(undisturbed: Path) -> None:
    for lesion in lesions(undisturbed):
        report = json.loads(lesion["report"])
        fixed = report["organ"] == "liver"
        assert report["density"] == ("hyperdense lesion" if fixed else "hypodense lesion")
        assert report["free_text"].endswith("as seen before.")
        assert lesion["report_writer"] == "llm"


@pytest.mark.long
def test_blocks_and_formats_that_the_server_does_not_know_change_nothing(undisturbed: Path, config: Path) -> None:
    with awkward_server(forms=("text",)) as server:
        other = run_with(config, server, "other", "execution.block_size=3", "execution.workers=1")
        assert "response_format" not in server.completions()[-1].body
    assert differences(undisturbed, other) == []


@pytest.mark.long
def test_killed_and_resumed_nothing_is_asked_twice(undisturbed: Path, config: Path, tmp_path: Path) -> None:
    def driver(server: AwkwardServer) -> DriverProcess:
        overrides = (f"output={tmp_path / 'run'}", f"report.base_url={server.url}", "report.timeout_s=60")
        return DriverProcess.waiting(config, *overrides, "execution.block_size=1", log=tmp_path / "log.txt").go()

    with awkward_server(hold_after=6) as server:
        killed = driver(server)
        assert killed.until(lambda: sum(server.answers().values()) >= 6 < len(server.completions())), killed.text
        time.sleep(1)  # what has been answered is written down by now
        assert killed.running
        killed.kill()
        server.release()
        before = server.answers()
        resumed = driver(server)
        assert resumed.wait() == EXIT_DONE, resumed.text
        assert set(server.answers().values()) == {1}
        assert server.answers().keys() > before.keys()
        assert len(kept(tmp_path / "run")) == len(server.answers())
    assert_same(undisturbed, tmp_path / "run")


@pytest.mark.long
def test_a_key_that_is_revoked_stops_the_run_and_a_new_one_continues_it(ray_here: None, config: Path) -> None:
    revoked = [True]

    def manners(number: int, before: int, turns: int) -> str:
        return "401" if revoked and number >= 4 else "answer"

    with awkward_server(manners) as server:
        with pytest.raises(ServiceError, match=f"401: does not take the key in {KEY_ENV}$") as error:
            run_with(config, server, "revoked")
        assert KEY not in str(error.value)
        revoked.clear()
        run = run_with(config, server, "revoked")
        assert set(server.answers().values()) == {1}
    assert len(rows(run)) == 8


def test_a_budget_is_kept_to_the_token(ray_here: None, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    budget = 9000
    with awkward_server() as server:
        run = run_with(config, server, "budget", f"report.budget={{tokens: {budget}}}", "execution.block_size=2")
        used = sum(len(json.dumps(r.body["messages"])) // 4 for r in server.completions())
    writers = Counter(lesion["report_writer"] for lesion in lesions(run))
    assert set(writers) == {"llm", "template for llm: budget"}
    assert 0 < used < sum(row["prompt_tokens"] + row["completion_tokens"] for row in kept(run)) <= budget
    said = capfd.readouterr()
    assert "report.budget is spent (" in said.err
    assert f"of {budget:,} tokens); further reports are by template" in said.err
    assert "template for llm: budget" in said.out


MISTAKES = {
    "no-key": (["report.key_env=NO_SUCH_KEY"], "report.key_env: the environment variable NO_SUCH_KEY is not set"),
    "wrong-key": (["report.key_env=WRONG_KEY"], "401: does not take the key in WRONG_KEY"),
    "no-server": (["report.base_url=http://127.0.0.1:9/v1"], "http://127.0.0.1:9/v1: does not answer"),
    "no-model": (["report.model=awkward-2"], "knows no model 'awkward-2'; did you mean 'awkward-1'"),
    "no-address": (["report.base_url=null"], "report.writer llm needs report.base_url"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_start_says_so_before_any_sample(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    overrides, told = MISTAKES[mistake]
    monkeypatch.setenv("WRONG_KEY", "sk-wrong-0123456789")
    with awkward_server() as server, pytest.raises(UsageError) as error:
        generate(str(config), [f"output={tmp_path / 'run'}", f"report.base_url={server.url}", *overrides])
    assert told in str(error.value)
    assert "sk-" not in str(error.value)
    assert not (tmp_path / "run").exists()
    assert server.completions() == [] or mistake == "no-model"


@pytest.fixture
def held_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A cluster with its dashboard, on which the reporter is killed once, right after it has written answers down."""
    monkeypatch.delenv(KEY_ENV)  # the cluster's own environment has no key
    monkeypatch.setenv("LESIONFORGE_FAILPOINT", "answers_written")
    monkeypatch.setenv("LESIONFORGE_FAILPOINT_ONCE", str(tmp_path / "killed"))
    with loopback_cluster(cpus=2, dashboard=True) as cluster:
        yield cluster


_LISTINGS = (
    "api/v0/actors?detail=1&limit=1000", "api/v0/tasks?detail=1&limit=1000", "api/v0/workers?detail=1&limit=1000",
    "api/v0/objects?detail=1&limit=1000", "api/v0/runtime_envs?detail=1", "api/jobs/", "logical/actors",
    "nodes?view=summary",
)  # fmt: skip


@pytest.mark.long
def test_the_key_is_nowhere_and_a_killed_reporter_loses_nothing(
    held_cluster: Any, config: Path, tmp_path: Path
) -> None:
    run, log, killed = tmp_path / "run", tmp_path / "log.txt", tmp_path / "killed"
    with awkward_server(lambda draw, before, _: "answer" if draw % 4 or before else "500", hold_after=8) as server:
        overrides = (f"output={run}", f"report.base_url={server.url}", f"execution.address={held_cluster.address}")
        env = {**held_cluster.env, KEY_ENV: KEY}
        driver = DriverProcess.waiting(config, *overrides, "report.timeout_s=60", log=log, env=env).go()
        assert driver.until(lambda: killed.exists() and len(server.completions()) > 12), driver.text
        listed = {name: _fetch(held_cluster, name) for name in _LISTINGS}
        server.release()
        assert driver.wait() == EXIT_DONE, driver.text
        asked = {request.question for request in server.completions()}
    assert len(rows(run)) == 8
    assert len(kept(run)) == len(asked)
    assert "ReportActor" in listed["api/v0/actors?detail=1&limit=1000"]
    assert "ReportActor.answer" in listed["api/v0/tasks?detail=1&limit=1000"]
    logs = [path for path in held_cluster.folder.rglob("*") if path.is_file()]
    assert any("ReportActor" in path.read_text(errors="replace") for path in logs)
    assert [name for name, text in {**listed, "driver": driver.text}.items() if KEY in text] == []
    assert with_key_in_it([run, held_cluster.folder]) == []


def _fetch(cluster: Any, name: str) -> str:
    token = Path(cluster.env["RAY_AUTH_TOKEN_PATH"]).read_text()
    request = urllib.request.Request(f"{cluster.dashboard}/{name}", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.read().decode()
