"""The part of a spec about what a deployment of the model's service needs: replicas, resources, how a change goes in.

Where it runs (target, image, namespace) is a setting of the installation: `mlops/deployment_settings.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mlops.spec.frozen import Frozen

Strategy = Literal["rolling", "blue_green"]
_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_MEMORY = re.compile(r"(\d+)(Ki|Mi|Gi|Ti|k|M|G|T|)")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{name}i": 1024**power for power, name in enumerate("KMGT", start=1)}


def cores(text: str) -> float:
    """A CPU quantity in cores.

    >>> cores("500m"), cores("2")
    (0.5, 2.0)

    Raises:
        ValueError: it is none.
    """
    found = _CPU.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is no CPU quantity; write cores, as '1.5', or thousandths of them, as '500m'")
    return float(found[1]) / (1000 if found[2] else 1)


def size_bytes(text: str) -> int:
    """A memory quantity in bytes.

    >>> size_bytes("1Gi")
    1073741824

    Raises:
        ValueError: it is none.
    """
    found = _MEMORY.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is no memory quantity; write '512Mi' or '2Gi'")
    return int(found[1]) * _UNITS[found[2]]


def _checked_cpu(text: str) -> str:
    cores(text)
    return text


def _checked_memory(text: str) -> str:
    size_bytes(text)
    return text


Cpu = Annotated[str, AfterValidator(_checked_cpu)]
Memory = Annotated[str, AfterValidator(_checked_memory)]


class ResourcesSpec(Frozen):
    """What one replica asks for and may take."""

    cpu: Cpu = Field("500m", description="Cores that one replica is promised: `1.5` or `500m`.")
    memory: Memory = Field("1Gi", description="Memory that it is promised: `512Mi`, `2Gi`.")
    cpu_limit: Cpu = Field("2", description="Cores that it may take at most.")
    memory_limit: Memory = Field("2Gi", description="Memory above which it is killed.")

    @model_validator(mode="after")
    def _within_limits(self) -> ResourcesSpec:
        if cores(self.cpu) > cores(self.cpu_limit):
            raise ValueError(f"cpu {self.cpu} is above cpu_limit {self.cpu_limit}")
        if size_bytes(self.memory) > size_bytes(self.memory_limit):
            raise ValueError(f"memory {self.memory} is above memory_limit {self.memory_limit}")
        return self


class DeploymentSpec(Frozen):
    """What `mlops deploy` asks the target for; docs/deployment.md."""

    min_replicas: int = Field(2, ge=1, description="Replicas that always run (Kubernetes).")
    max_replicas: int = Field(10, ge=1, description="Replicas under load, at most (Kubernetes).")
    cpu_percent: int = Field(
        70, ge=1, le=100, description="Replicas are added above this share of the promised CPU [%] (Kubernetes)."
    )
    workers: int = Field(1, ge=1, description="Processes that answer, in each replica.")
    strategy: Strategy = Field(
        "rolling",
        description="How a change goes in (Kubernetes): `rolling`, replica by replica, or `blue_green`, all at once, "
        "after the new ones have given the golden answers.",
    )
    resources: ResourcesSpec = ResourcesSpec()

    @model_validator(mode="after")
    def _ordered(self) -> DeploymentSpec:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self
