"""cluster.yaml is what Ray's launcher takes, and does what its opening comments say. Needs no AWS account."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
CLUSTER: dict[str, Any] = YAML(typ="safe").load(ROOT / "cluster.yaml")


def validate(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` does with the file before it asks AWS: defaults filled in, then checked. Returns the whole."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(deepcopy(config))
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_file() -> None:
    prepared = validate(CLUSTER)
    assert prepared["available_node_types"]["head"]["max_workers"] == 0
    assert prepared["cluster_synced_files"] == []  # only in Ray's defaults: they were merged


def test_rays_check_would_notice_a_wrong_key() -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError, match="idle_minutes"):
        validate({**CLUSTER, "idle_minutes": 10})


def test_gpu_nodes_come_and_go() -> None:
    gpu = CLUSTER["available_node_types"]["gpu"]
    assert (gpu["min_workers"], gpu["max_workers"], CLUSTER["max_workers"]) == (0, 4, 4)
    assert gpu["resources"]["GPU"] == 1


def test_every_node_mounts_the_shared_folder_and_installs_the_wheel() -> None:
    prepared = validate(CLUSTER)
    assert any("mount -t nfs4" in command for command in prepared["initialization_commands"])
    assert prepared["file_mounts"]["~/segsweep/dist"] == "dist"
    for role in ("head", "worker"):
        assert any("segsweep-*.whl" in command for command in prepared[f"{role}_setup_commands"])


def test_local_files_that_are_sent_exist() -> None:
    made = {"dist", "~/.ray/auth_token"}  # by make wheel, by ray get-auth-token
    sent = set(CLUSTER["file_mounts"].values())
    assert made < sent
    assert all((ROOT / path).exists() for path in sent - made)


def test_nothing_listens_beyond_the_cluster_without_the_token() -> None:
    assert any("RAY_AUTH_MODE=token" in command for command in CLUSTER["setup_commands"])
    assert "~/.ray/auth_token" in CLUSTER["file_mounts"]
    assert any("--dashboard-host=127.0.0.1" in command for command in CLUSTER["head_start_ray_commands"])
