"""Strict schemas of the files in ``cluster/``: just the fields that those use, so that any other key is a typo."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Image = Annotated[str, Field(pattern=r"^REGISTRY/raytt:\d+\.\d+\.\d+$")]
Market = Literal["spot", "on-demand"]
Count = Annotated[int, Field(ge=0, strict=True)]
Instance = TypeVar("Instance")
Provider = TypeVar("Provider")


class Strict(BaseModel):
    """Unknown keys fail, and so do missing ones."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class Labels(Strict):
    """Ray's node labels."""

    market: Market = Field(alias="ray.io/market-type")


class Resources(Strict):
    """Ray's resources; the launcher wants whole numbers."""

    cpu: Count = Field(alias="CPU")
    gpu: Count = Field(alias="GPU", default=0)


# Cluster launcher


class Docker(Strict):
    """The container in which Ray runs on every node."""

    image: Image
    container_name: str
    pull_before_run: bool
    run_options: list[str]


class Auth(Strict):
    """SSH."""

    ssh_user: str


class AwsProvider(Strict):
    """Where nodes are started."""

    type: Literal["aws"]
    region: str
    availability_zone: str
    cache_stopped_nodes: Literal[False]

    @model_validator(mode="after")
    def _zones_lie_in_the_region(self) -> AwsProvider:
        if not all(zone.startswith(self.region) for zone in self.availability_zone.split(",")):
            raise ValueError("a zone outside the region")
        return self


class Ebs(Strict):
    """A disk."""

    VolumeSize: Count
    VolumeType: Literal["gp3"]


class BlockDevice(Strict):
    """Where a disk is attached."""

    DeviceName: str
    Ebs: Ebs


class MarketOptions(Strict):
    """Spot instances."""

    MarketType: Literal["spot"]


class AwsInstance(Strict):
    """Arguments of EC2's RunInstances."""

    InstanceType: str
    BlockDeviceMappings: list[BlockDevice]
    InstanceMarketOptions: MarketOptions | None = None

    @property
    def is_spot(self) -> bool:
        """Whether it may be taken away."""
        return self.InstanceMarketOptions is not None


class GcpProvider(Strict):
    """Where nodes are started."""

    type: Literal["gcp"]
    project_id: str
    region: str
    availability_zone: str


class DiskSource(Strict):
    """What a disk begins with."""

    diskSizeGb: Count  # noqa: N815 (Google's name)
    sourceImage: Annotated[str, Field(pattern="^projects/[a-z-]+/global/images/family/[a-z0-9-]+$")]  # noqa: N815


class Disk(Strict):
    """A disk."""

    boot: Literal[True]
    autoDelete: Literal[True]  # noqa: N815
    type: Literal["PERSISTENT"]
    initializeParams: DiskSource  # noqa: N815


class ServiceAccount(Strict):
    """Whose rights a node has."""

    email: Annotated[str, Field(pattern=r"^[a-z-]+@\S+\.iam\.gserviceaccount\.com$")]
    scopes: list[str]


class Accelerator(Strict):
    """GPUs."""

    acceleratorType: str  # noqa: N815
    acceleratorCount: Count  # noqa: N815


class Preemptible(Strict):
    """Spot."""

    preemptible: Literal[True]


class Maintenance(Strict):
    """What GPUs ask for."""

    onHostMaintenance: Literal["TERMINATE"]  # noqa: N815


class MetadataItem(Strict):
    """Metadata of an instance."""

    key: Literal["install-nvidia-driver"]
    value: str


class Metadata(Strict):
    """Metadata of an instance."""

    items: list[MetadataItem]


class GcpInstance(Strict):
    """Arguments of Compute Engine's instances.insert, as Ray passes them on."""

    machineType: str  # noqa: N815
    disks: list[Disk]
    serviceAccounts: list[ServiceAccount]  # noqa: N815
    guestAccelerators: list[Accelerator] | None = None  # noqa: N815
    scheduling: list[Preemptible | Maintenance] | None = None
    metadata: Metadata | None = None

    @property
    def is_spot(self) -> bool:
        """Whether it may be taken away."""
        return any(isinstance(entry, Preemptible) for entry in self.scheduling or [])


class NodeType(Strict, Generic[Instance]):
    """One kind of node."""

    resources: Resources
    labels: Labels
    node_config: Instance
    min_workers: Count = 0
    max_workers: Count = 0


class NodeTypes(Strict, Generic[Instance]):
    """The two kinds that there are."""

    head: NodeType[Instance]
    gpu_spot: NodeType[Instance]


class Launcher(Strict, Generic[Provider, Instance]):
    """A cluster-launcher file."""

    cluster_name: Literal["raytt"]
    max_workers: Count
    idle_timeout_minutes: Count
    provider: Provider
    auth: Auth
    docker: Docker
    head_node_type: Literal["head"]
    available_node_types: NodeTypes[Instance]
    head_start_ray_commands: list[str]
    worker_start_ray_commands: list[str]


AwsLauncher = Launcher[AwsProvider, AwsInstance]
GcpLauncher = Launcher[GcpProvider, GcpInstance]


# KubeRay


class Named(Strict):
    """Metadata of a Kubernetes object."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=47)]


class Amounts(Strict):
    """Of one container."""

    cpu: Annotated[str, Field(pattern=r"^\d+$")]
    memory: Annotated[str, Field(pattern=r"^\d+Gi$")]
    gpu: Annotated[str, Field(pattern=r"^\d+$")] | None = Field(alias="nvidia.com/gpu", default=None)


class Requirements(Strict):
    """Ray counts limits; without equal requests a node may be overcommitted."""

    limits: Amounts
    requests: Amounts

    @model_validator(mode="after")
    def _alike(self) -> Requirements:
        if self.limits != self.requests:
            raise ValueError("limits and requests differ")
        return self


class Port(Strict):
    """A port of a container."""

    name: Literal["gcs-server", "dashboard", "client"]
    containerPort: Count  # noqa: N815


class Container(Strict):
    """Ray's container."""

    name: Literal["ray-head", "ray-worker"]
    image: Image
    resources: Requirements
    ports: list[Port] | None = None


class Toleration(Strict):
    """A taint that a pod bears."""

    key: Literal["nvidia.com/gpu", "cloud.google.com/gke-spot"]
    operator: Literal["Exists"]
    effect: Literal["NoSchedule"]


class SpotSelector(Strict):
    """Nodes that may be taken away."""

    gke: Literal["true"] = Field(alias="cloud.google.com/gke-spot")


class PodSpec(Strict):
    """A pod."""

    serviceAccountName: str  # noqa: N815
    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    terminationGracePeriodSeconds: Count | None = None  # noqa: N815
    nodeSelector: SpotSelector | None = None  # noqa: N815
    tolerations: list[Toleration] | None = None


class Template(Strict):
    """A pod's template."""

    spec: PodSpec


class StartParams(Strict):
    """Options of ``ray start``; values are strings."""

    dashboard_host: str | None = Field(alias="dashboard-host", default=None)


class Head(Strict):
    """The head."""

    labels: Labels
    rayStartParams: StartParams  # noqa: N815
    template: Template


class Group(Strict):
    """Workers of one kind."""

    groupName: str  # noqa: N815
    replicas: Count
    minReplicas: Count  # noqa: N815
    maxReplicas: Annotated[int, Field(ge=1, strict=True)]  # noqa: N815
    labels: Labels
    rayStartParams: StartParams  # noqa: N815
    template: Template

    @model_validator(mode="after")
    def _in_order(self) -> Group:
        if not self.minReplicas <= self.replicas <= self.maxReplicas:
            raise ValueError("replicas outside their bounds")
        return self


class AutoscalerOptions(Strict):
    """When nodes come and go."""

    version: Literal["v2"]
    upscalingMode: Literal["Default", "Conservative"]  # noqa: N815
    idleTimeoutSeconds: Count  # noqa: N815


class RayClusterSpec(Strict):
    """The job's own cluster."""

    rayVersion: str  # noqa: N815
    enableInTreeAutoscaling: Literal[True]  # noqa: N815
    autoscalerOptions: AutoscalerOptions  # noqa: N815
    headGroupSpec: Head  # noqa: N815
    workerGroupSpecs: Annotated[list[Group], Field(min_length=1)]  # noqa: N815


class RayJobSpec(Strict):
    """The job."""

    entrypoint: str
    runtimeEnvYAML: str  # noqa: N815
    submissionMode: Literal["K8sJobMode", "HTTPMode", "SidecarMode"]  # noqa: N815
    entrypointNumCpus: Count  # noqa: N815
    backoffLimit: Count  # noqa: N815
    activeDeadlineSeconds: Annotated[int, Field(ge=1, strict=True)]  # noqa: N815
    shutdownAfterJobFinishes: Literal[True]  # noqa: N815
    ttlSecondsAfterFinished: Annotated[int, Field(ge=1, strict=True)]  # noqa: N815
    rayClusterSpec: RayClusterSpec  # noqa: N815


class RayJob(Strict):
    """The manifest."""

    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayJob"]
    metadata: Named
    spec: RayJobSpec


class RuntimeEnv(Strict):
    """What ``runtimeEnvYAML`` holds."""

    env_vars: dict[Literal["RAY_USAGE_STATS_ENABLED"], Literal["0"]]


SCHEMAS: dict[str, type[Any]] = {"aws.yaml": AwsLauncher, "gcp.yaml": GcpLauncher, "rayjob.yaml": RayJob}
