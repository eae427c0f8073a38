"""The files of `configs/cluster` hold together: schemas, flags, settings, images, ports, and room for the layout."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import ray
import yaml
from pydantic import ValidationError
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.dashboard.modules.job.cli import job_cli_group
from ray.scripts.scripts import cli as ray_cli
from ray.scripts.scripts import start

from engine import __version__
from engine.core.errors import LayoutError
from engine.pipeline import check_layout
from engine.settings import Settings, load_settings
from kuberay import RayCluster, RayJob
from runs import ROOT

FOLDER = ROOT / "configs/cluster"
IMAGE = f"registry.example.com/lesionforge:{__version__}"


def read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return data


def job() -> RayJob:
    return RayJob.model_validate(read("rayjob.yaml"))


def settings_of(command: str, folder: Path = ROOT) -> Settings:
    """Of `python -m jobs.generate CONFIG [key=value ...]`, from a folder."""
    python, module, name, config, *overrides = shlex.split(command)
    assert (python, module, name) == ("python", "-m", "jobs.generate")
    return load_settings(str(folder / config), overrides)


def flags_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def nodes_of(config: dict[str, Any]) -> list[dict[str, float]]:
    """Resources of every node that a cluster can have, as its autoscaler sees them."""
    types = config["available_node_types"]
    assert sum(t["max_workers"] for t in types.values() if "max_workers" in t) <= config["max_workers"]
    counts = {name: 1 if name == config["head_node_type"] else t["max_workers"] for name, t in types.items()}
    return [types[name]["resources"] for name, count in counts.items() for _ in range(count)]


def as_autoscaler_sees(cluster: dict[str, Any]) -> dict[str, Any]:
    """Ray's own reading of a RayCluster, which ends with its own validation."""
    seen: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "lesionforge", "namespace": "default"}, "spec": cluster}
    )
    return seen


def test_manifests_are_what_kuberay_takes() -> None:
    RayCluster.model_validate(read("raycluster.yaml"))
    job()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "python"),
        (("spec", "rayClusterSpec", "autoscalerOptions", "idleTimeoutSecond"), 60),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "enableInTreeAutoscaling"), "yes"),
    ],
)
def test_a_slip_in_a_manifest_is_seen(path: tuple[str, ...], value: object) -> None:
    data = read("rayjob.yaml")
    node = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ValidationError):
        RayJob.model_validate(data)


def test_job_and_cluster_are_one() -> None:
    assert read("rayjob.yaml")["spec"]["rayClusterSpec"] == read("raycluster.yaml")["spec"]


def test_entrypoint_is_a_run_that_the_grown_cluster_holds() -> None:
    settings = settings_of(job().spec.entrypoint)
    assert settings.mask.is_network
    assert settings.paint.is_network
    assert settings.output.startswith("s3://")
    mask, paint = settings.execution.mask_pool, settings.execution.paint_pool
    assert mask is not None
    assert paint is not None
    assert mask.num_gpus == paint.num_gpus == 1, "LMNet and LINet on one GPU"
    seen = as_autoscaler_sees(read("rayjob.yaml")["spec"]["rayClusterSpec"])
    nodes = nodes_of(seen)
    check_layout(settings.execution, nodes)
    pools = {
        name: pool.model_copy(update={"min": pool.max}) for name, pool in settings.execution.pools.items()
    }  # also when all are as large as they may get
    check_layout(settings.execution.model_copy(update=pools), nodes)
    with pytest.raises(LayoutError, match="2 GPUs"):
        check_layout(settings.execution, [n for n in nodes if not n.get("GPU")])


def test_ray_start_knows_every_parameter() -> None:
    spec = job().spec.ray_cluster_spec
    for group in (spec.head_group_spec, *spec.worker_group_specs):
        assert {f"--{name}" for name in group.ray_start_params} <= flags_of(start)
    aws = read("aws.yaml")
    for line in (*aws["head_start_ray_commands"], *aws["worker_start_ray_commands"]):
        tool, name, *arguments = shlex.split(line)
        assert tool == "ray"
        assert {argument.partition("=")[0] for argument in arguments} <= flags_of(command_of(ray_cli, name))


def test_ports_are_rays_own() -> None:
    spec = job().spec.ray_cluster_spec
    ports = {port.name: port.container_port for port in spec.head_group_spec.template.spec.containers[0].ports}
    defaults = {parameter.name: parameter.default for parameter in start.params}
    assert ports["gcs"] == ray._private.ray_constants.DEFAULT_PORT
    assert ports["dashboard"] == defaults["dashboard_port"]
    assert ports["client"] == 10001
    for group in (spec.head_group_spec, *spec.worker_group_specs):
        (metrics,) = (p.container_port for p in group.template.spec.containers[0].ports if p.name == "metrics")
        assert group.ray_start_params["metrics-export-port"] == str(metrics)


def test_images_are_the_one_that_the_dockerfile_builds() -> None:
    spec = job().spec.ray_cluster_spec
    pods = [group.template.spec for group in (spec.head_group_spec, *spec.worker_group_specs)]
    named = {container.image for pod in pods for container in pod.containers}
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert named | {read("aws.yaml")["docker"]["image"]} == {IMAGE}
    assert f"-t {IMAGE} ." in dockerfile
    assert f"ray=={spec.ray_version}\n" in (ROOT / "constraints.txt").read_text()
    assert f"WORKDIR {pods[0].containers[0].working_dir}\n" in dockerfile


def test_dockerfile_copies_what_the_commands_import() -> None:
    copied = {name for line in copies() for name in line[:-1]}
    assert {"engine", "models", "actors", "jobs", "configs", "pyproject.toml", "constraints.txt"} <= copied
    assert all((ROOT / name).exists() for name in copied)


def copies() -> Iterator[list[str]]:
    for line in re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text()).splitlines():
        if line.startswith("COPY "):
            yield line.split()[1:]


def test_ray_up_takes_its_configuration() -> None:
    """Ray's own schema; and workers are spot, and come only when asked for."""
    aws = read("aws.yaml")
    validate_config(prepare_config(aws))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(aws | {"idle_timeout_minute": 5}))
    for name, kind in aws["available_node_types"].items():
        if name != aws["head_node_type"]:
            assert kind["min_workers"] == 0
            assert kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    check_layout(settings_of(job().spec.entrypoint).execution, nodes_of(aws))


def test_readme_commands_are_known(tmp_path: Path) -> None:
    """Those of Ray and ours: every flag, every file, every setting, with the README's own my-run.yaml."""
    readme = (ROOT / "README.md").read_text()
    (tmp_path / "my-run.yaml").write_text(readme.partition("```yaml\n")[2].partition("```")[0])
    section = readme.partition("## On a cluster")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in commands(block)]
    assert {line.split()[0] for line in lines} >= {"docker", "kubectl", "ray"}
    for name in re.findall(r"configs/[\w./-]+", section):
        assert (ROOT / name).exists(), name
    submitted = []
    for words in map(shlex.split, lines):
        if words[:2] == ["ray", "job"]:
            options, _, entry = " ".join(words[3:]).partition(" -- ")
            known = flags_of(command_of(job_cli_group, words[2]))
            assert set(re.findall(r"(?<!\S)--[\w-]+", options)) <= known
            submitted += [settings_of(entry, tmp_path)] if entry else []
        elif words[0] == "ray":
            command_of(ray_cli, words[1])
    assert len(submitted) == 1


def command_of(group: click.Group, name: str) -> click.Command:
    found = group.get_command(click.Context(group), name)
    assert found is not None, f"ray has no command {name}"
    return found


def commands(block: str) -> list[str]:
    """Lines of a shell block, without what is said behind a #."""
    return [line.partition(" #")[0].strip(" &") for line in block.splitlines() if line.strip()]
