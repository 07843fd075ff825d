"""The files for Kubernetes and Slurm are what these take; nothing is started.

The RayJob's pods are checked by Kubernetes' own schemas, which admit no unknown key. No package ships those of KubeRay,
so the names of its fields stand here, from its Go types (rayjob_types.go and raycluster_types.go of KubeRay 1.5).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint", "entrypointNumCpus",
    "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "rayClusterSpec", "runtimeEnvYAML",
    "shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate", "suspend",
    "ttlSecondsAfterFinished",
}  # fmt: skip
RAY_CLUSTER = {
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "headServiceAnnotations",
    "managedBy", "rayVersion", "suspend", "workerGroupSpecs",
}  # fmt: skip
HEAD = {"enableIngress", "headService", "rayStartParams", "serviceType", "template"}
WORKERS = {
    "groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas", "scaleStrategy", "template",
}  # fmt: skip
AUTOSCALER = {
    "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources", "securityContext", "upscalingMode",
    "volumeMounts",
}  # fmt: skip
SLURM = ROOT / "clusters" / "slurm.sh"
KUBERAY = ROOT / "clusters" / "kuberay_rayjob.yaml"


def manifests() -> tuple[dict[str, Any], dict[str, Any]]:
    """The config map and the RayJob."""
    config_map, job = YAML(typ="safe").load_all(KUBERAY.read_text())
    return config_map, job


def objections(manifest: Mapping[str, Any]) -> str:
    """What Kubernetes would say against it, unknown keys included."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate(manifest, "1.31", strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


def pods() -> list[dict[str, Any]]:
    cluster = manifests()[1]["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]


def as_manifest(pod: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": pod}


def test_kubernetes_accepts_config_map_and_pods() -> None:
    for manifest in (manifests()[0], *map(as_manifest, pods())):
        assert objections(manifest) == ""


def test_kubernetes_would_notice_a_wrong_key_of_a_pod() -> None:
    wrong = pods()[0]
    wrong["spec"]["containers"][0]["volumeMount"] = []
    assert "volumeMount" in objections(as_manifest(wrong))


def test_every_field_of_the_rayjob_is_one_of_kuberays() -> None:
    job = manifests()[1]
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(spec) <= RAY_JOB
    assert set(spec["submitterConfig"]) == {"backoffLimit"}
    assert set(cluster) <= RAY_CLUSTER
    assert set(cluster["autoscalerOptions"]) <= AUTOSCALER
    assert set(cluster["headGroupSpec"]) <= HEAD
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_rayjob_asks_for_the_token_and_for_the_ray_that_is_installed() -> None:
    cluster = manifests()[1]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert cluster["rayVersion"] == pinned[1]


def test_every_pod_has_the_shared_folder() -> None:
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["shared"] == "/mnt/segsweep"
        assert set(mounted) == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_bash_can_read_the_script_for_slurm() -> None:
    done = subprocess.run(["bash", "-n", str(SLURM)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({}, ["launch", "x.yaml"], "slurm.sh: is for sbatch: sbatch clusters/slurm.sh launch FILE"),
        ({"SLURM_JOB_ID": "7"}, ["x.yaml"], "slurm.sh: say launch FILE, resume SWEEP or extend SWEEP"),
        (
            {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": "/nowhere"},
            ["launch", "x"],
            "slurm.sh: no segsweep in /nowhere/.venv",
        ),
    ],
)
def test_a_wrong_call_of_the_script_says_how_to_call_it(
    environment: dict[str, str], arguments: list[str], message: str
) -> None:
    clean = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(["bash", str(SLURM), *arguments], env=clean, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith(message)) == (2, True), done.stderr


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="sbatch is not installed (Debian: slurm-client)")
@pytest.mark.parametrize("wrong", [False, True])
def test_sbatch_takes_every_directive(tmp_path: Path, wrong: bool) -> None:
    """It reads them before it looks for its controller, which is not there."""
    (tmp_path / "slurm.conf").write_text(
        "ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nGresTypes=gpu\n"
    )
    text = SLURM.read_text()
    script = tmp_path / "slurm.sh"
    script.write_text(text.replace("--exclusive", "--exclusively") if wrong else text)
    environment = {"PATH": os.environ["PATH"], "SLURM_CONF": str(tmp_path / "slurm.conf")}
    done = subprocess.run(
        ["sbatch", "--test-only", str(script)], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert ("unrecognized option" in done.stderr) == wrong, done.stderr
    assert wrong or "allocation failure" in done.stderr
