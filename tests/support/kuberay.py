"""What KubeRay 1.4 and later take: the parts of `ray.io/v1` that can be in a RayCluster or a RayJob, by name and type.

After the operator's API types: camel case in the files, snake case here. A key that is none of theirs is an error, as
it is to the operator. Of a pod only what ours hold is known.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

Count = Annotated[StrictInt, Field(ge=0)]
Texts = dict[StrictStr, StrictStr]
Quantity = Annotated[StrictStr, Field(pattern=r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
Name = Annotated[StrictStr, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class Resources(Part):
    limits: dict[str, Quantity]
    requests: dict[str, Quantity]


class Port(Part):
    name: Name
    container_port: Annotated[StrictInt, Field(ge=1, le=65535)]


class SecretRef(Part):
    name: Name
    optional: StrictBool = False


class EnvFrom(Part):
    secret_ref: SecretRef


class Container(Part):
    name: Name
    image: StrictStr
    working_dir: StrictStr | None = None
    ports: tuple[Port, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    resources: Resources


class Toleration(Part):
    key: StrictStr
    operator: Literal["Exists", "Equal"]
    value: StrictStr | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Pod(Part):
    restart_policy: Literal["Never"]
    """The second autoscaler takes a pod that comes back for a node that never left."""
    tolerations: tuple[Toleration, ...] = ()
    containers: Annotated[tuple[Container, ...], Field(min_length=1)]


class PodTemplate(Part):
    metadata: dict[str, Any] | None = None
    spec: Pod


class Group(Part):
    ray_start_params: Texts
    template: PodTemplate


class HeadGroup(Group):
    head_service: dict[str, Any] | None = None
    enable_ingress: StrictBool | None = None
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None


class WorkerGroup(Group):
    suspend: StrictBool | None = None
    group_name: Name
    replicas: Count | None = None
    min_replicas: Count
    max_replicas: Count
    idle_timeout_seconds: Count | None = None
    scale_strategy: dict[str, list[str]] | None = None
    num_of_hosts: Count | None = None


class AutoscalerOptions(Part):
    resources: Resources | None = None
    image: StrictStr | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    security_context: dict[str, Any] | None = None
    idle_timeout_seconds: Count | None = None
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] | None = None
    version: Literal["v1", "v2"] | None = None
    env: list[dict[str, Any]] | None = None
    env_from: tuple[EnvFrom, ...] | None = None
    volume_mounts: list[dict[str, Any]] | None = None


class ClusterSpec(Part):
    suspend: StrictBool | None = None
    managed_by: StrictStr | None = None
    autoscaler_options: AutoscalerOptions | None = None
    head_service_annotations: Texts | None = None
    enable_in_tree_autoscaling: StrictBool | None = None
    gcs_fault_tolerance_options: dict[str, Any] | None = None
    head_group_spec: HeadGroup
    ray_version: StrictStr
    worker_group_specs: tuple[WorkerGroup, ...]


class JobSpec(Part):
    active_deadline_seconds: Annotated[StrictInt, Field(gt=0)] | None = None
    backoff_limit: Count | None = None
    ray_cluster_spec: ClusterSpec
    submitter_pod_template: dict[str, Any] | None = None
    metadata: Texts | None = None
    cluster_selector: Texts | None = None
    submitter_config: dict[str, Any] | None = None
    managed_by: StrictStr | None = None
    deletion_strategy: dict[str, Any] | None = None
    entrypoint: StrictStr
    runtime_env_yaml: StrictStr | None = Field(default=None, alias="runtimeEnvYAML")
    job_id: StrictStr | None = None
    submission_mode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode"] | None = None
    entrypoint_resources: StrictStr | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    ttl_seconds_after_finished: Count | None = None
    shutdown_after_job_finishes: StrictBool | None = None
    suspend: StrictBool | None = None


class Metadata(Part):
    name: Annotated[Name, Field(max_length=50)]
    """KubeRay puts its own words after it."""
    namespace: Name | None = None
    labels: Texts | None = None


class RayCluster(Part):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


class RayJob(Part):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec
