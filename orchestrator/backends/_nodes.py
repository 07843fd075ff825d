"""What a running Ray cluster has, and what a trial takes of its nodes."""

from __future__ import annotations

from collections.abc import Sequence

import ray

from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.resources.memory_probe import measured
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.storage import GIB
from segsweep.trainables.training.footprints import Footprint

KIND = "accelerator_type:"  # begins the resource by which Ray's nodes say which GPU they have


def cluster_capacity() -> Capacity:
    """CPUs and GPUs of all nodes that are there, memory of the largest, since a trial runs on one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (int(sum(node.get(unit, 0) for node in nodes)) for unit in ("CPU", "GPU"))
    return Capacity(cpus, gpus, max((node.get("memory", 0) for node in nodes), default=0) / GIB)


def measured_on_nodes(configs: Sequence[TrialConfig], *, cpus: int, gpus: float) -> list[Footprint]:
    """Footprints of all configurations, once for every kind of GPU that the cluster has; else on one node.

    Waits until a node has room, or until the cluster has started one.
    """
    found = {name for node in ray.nodes() if node["Alive"] for name in node["Resources"] if name.startswith(KIND)}
    task = ray.remote(measured)
    answers = [
        task.options(num_cpus=cpus, num_gpus=min(gpus, 1), resources=kind and {kind: 0.001}).remote(
            configs, cpus=cpus, gpus=gpus
        )
        for kind in (sorted(found) if gpus and found else [None])
    ]
    return [footprint for answer in ray.get(answers) for footprint in answer]
