"""What Prometheus reads of a run is what the run says of itself."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dashboards import metric_names
from engine.core.errors import EXIT_SOME_FAILED
from heads import free_ports, loopback_cluster
from killed_runs import DriverProcess
from made_cases import MadeCases
from runs import ROOT, write_config

pytestmark = [pytest.mark.cluster, pytest.mark.long]

_SAMPLES = 6
_POOLS = ("execution.mask_pool={num_cpus: 0.2}", "execution.paint_pool={num_cpus: 0.2}")


@dataclass(frozen=True)
class Scraped:
    """An endpoint, read once: (name, labels, value) of each sample."""

    samples: tuple[tuple[str, dict[str, str], float], ...]

    @classmethod
    def of(cls, port: int) -> Scraped:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            families = list(text_string_to_metric_families(reply.read().decode()))
        return cls(tuple((s.name, s.labels, s.value) for family in families for s in family.samples))

    @property
    def names(self) -> set[str]:
        return {name for name, _, _ in self.samples}

    def sum(self, name: str, **labels: str) -> float:
        """Over every process that tells of it."""
        return sum(v for n, found, v in self.samples if n == name and labels.items() <= found.items())


@dataclass(frozen=True)
class Told:
    """A run, and what the endpoint had of it: when it was over, and on the way, for a gauge fades with its process."""

    run: Path
    scraped: Scraped
    on_the_way: tuple[Scraped, ...]
    took_s: float

    def most(self, gauge: str) -> float:
        return max(scraped.sum(gauge, run="told") for scraped in self.on_the_way)

    @property
    def names(self) -> set[str]:
        return self.scraped.names.union(*(scraped.names for scraped in self.on_the_way))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """With resident actors; one of its samples fails, and one is drawn again and again, and rejected."""
    folder = tmp_path_factory.mktemp("metrics")
    config, run = config_in(folder), folder / "told"
    (port,) = free_ports(1)
    with loopback_cluster(
        cpus=2,
        head_env={"RAY_metrics_report_interval_ms": "1000"},
        head_options=lambda folder, address: (f"--metrics-export-port={port}",),
    ) as cluster:
        began, on_the_way = time.monotonic(), list[Scraped]()
        overrides = (f"output={run}", f"execution.address={cluster.address}", *_POOLS)
        driver = DriverProcess.waiting(config, *overrides, log=folder / "log.txt", env=cluster.env).go()
        while driver.running:
            on_the_way.append(Scraped.of(port))
            time.sleep(0.5)
        assert driver.wait() == EXIT_SOME_FAILED, driver.text
        yield Told(run, settled(port), tuple(on_the_way), time.monotonic() - began)


def config_in(folder: Path) -> Path:
    cases = MadeCases(folder / "cases")
    for i in range(2):
        cases.good(f"case-{i}", seed=i)
    cases.good("case-tiny", lesions=[{"organ": "liver", "size_mm": 2}], variants=1)
    cases.good("case-absent", lesions=[{"organ": "pancreas"}], variants=1)
    return write_config(
        folder / "run.yaml",
        output=str(folder / "nowhere"),
        cases={"source": str(cases.list_file), "variants_per_case": 2},
        lesions={"per_sample": [1, 2], "mix": [{"organ": "liver"}, {"organ": "spleen"}]},
        write={"preview": 1},
        execution={"block_size": 2, "commit_rows": 2},
    )


def settled(port: int, within_s: float = 20) -> Scraped:
    """The endpoint once Ray has handed all of the run over to it."""
    limit, scraped = time.monotonic() + within_s, Scraped.of(port)
    while scraped.sum("ray_lesionforge_samples_total") < _SAMPLES and time.monotonic() < limit:
        time.sleep(0.5)
        scraped = Scraped.of(port)
    return scraped


def test_counts_are_those_of_the_manifest(told: Told) -> None:
    run, scraped = told.run, told.scraped
    rows = ds.dataset(run / "manifest").to_table(columns=["status", "attempts", "lesions"]).to_pylist()
    for status in ("done", "rejected", "failed"):
        wanted = sum(row["status"] == status for row in rows)
        assert wanted
        assert scraped.sum("ray_lesionforge_samples_total", run="told", status=status) == wanted
    assert scraped.sum("ray_lesionforge_lesions_total", run="told") == sum(len(row["lesions"]) for row in rows)
    assert scraped.sum("ray_lesionforge_samples_drawn_again_total") == sum(row["attempts"] - 1 for row in rows)
    counts = json.loads((run / "run.json").read_text())["counts"]
    assert scraped.sum("ray_lesionforge_samples_total") == sum(counts.values()) == _SAMPLES


def test_samples_are_in_flight_until_they_are_back(told: Told) -> None:
    assert 0 < told.most("ray_lesionforge_samples_in_flight") <= _SAMPLES
    assert 0 < told.most("ray_lesionforge_samples_remaining") <= _SAMPLES
    assert told.scraped.sum("ray_lesionforge_samples_in_flight") == 0
    assert told.scraped.sum("ray_lesionforge_samples_remaining") == 0


def test_actors_tell_how_long_they_worked(told: Told) -> None:
    devices = ds.dataset(told.run / "metrics").to_table(columns=["devices"]).column("devices").to_pylist()
    nodes = {each["device"].split()[0] for row in devices for each in row}
    (node,) = nodes
    for part in ("mask", "paint"):
        busy_s = told.scraped.sum(
            "ray_lesionforge_actor_busy_seconds_total", run="told", part=part, node=node, device="cpu"
        )
        assert 0 < busy_s < told.took_s


def test_the_dashboard_asks_for_what_is_there(told: Told) -> None:
    asked = metric_names(ROOT / "configs/cluster/grafana.json")
    assert asked - told.names == set()
    ours = {name for name in told.names if name.startswith("ray_lesionforge_") and not name.endswith("_created")}
    assert ours - asked == set(), "told, and shown nowhere"
