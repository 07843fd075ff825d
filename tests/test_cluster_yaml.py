"""The files for `ray up` are what Ray's launcher takes, and do what their opening comments say. Needs no account."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
AWS, GCP, ON_PREMISE = "cluster.yaml", "clusters/gcp.yaml", "clusters/on_premise.yaml"
FILES = (AWS, GCP, ON_PREMISE)


def read(file: str) -> dict[str, Any]:
    text = (ROOT / file).read_text()
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


def validate(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` does with the file before it asks a cloud: defaults filled in, then checked. Returns the whole."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("file", FILES)
def test_ray_accepts_the_file(file: str) -> None:
    prepared = validate(read(file))
    assert prepared["cluster_synced_files"] == []  # only in Ray's defaults: they were merged
    assert prepared["head_node_type"] in prepared["available_node_types"]


@pytest.mark.parametrize("file", FILES)
def test_rays_check_would_notice_a_wrong_key(file: str) -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError, match="idle_minutes"):
        validate({**read(file), "idle_minutes": 10})


@pytest.mark.parametrize("file", [AWS, GCP])
def test_gpu_nodes_come_and_go_and_the_head_trains_nothing(file: str) -> None:
    types = read(file)["available_node_types"]
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"], read(file)["max_workers"]) == (0, 4, 4)
    assert types["gpu"]["resources"]["GPU"] == 1
    assert validate(read(file))["available_node_types"]["head"]["max_workers"] == 0
    assert types["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("file", FILES)
def test_every_node_has_the_shared_folder_and_installs_the_wheel(file: str) -> None:
    prepared = validate(read(file))
    before = [*prepared["initialization_commands"], *prepared["setup_commands"]]
    assert any("mountpoint -q /mnt/segsweep" in command for command in before)
    assert prepared["file_mounts"]["~/segsweep/dist"] == "dist"
    for role in ("head", "worker"):
        assert any("segsweep-*.whl" in command for command in prepared[f"{role}_setup_commands"])


@pytest.mark.parametrize("file", FILES)
def test_local_files_that_are_sent_exist(file: str) -> None:
    made = {"dist", "~/.ray/auth_token"}  # by make wheel, by ray get-auth-token
    sent = set(read(file)["file_mounts"].values())
    assert made < sent
    assert all((ROOT / path).exists() for path in sent - made)


@pytest.mark.parametrize("file", FILES)
def test_nothing_listens_beyond_the_cluster_without_the_token(file: str) -> None:
    cluster = read(file)
    assert any("RAY_AUTH_MODE=token" in command for command in cluster["setup_commands"])
    assert any("chmod 600 ~/.ray/auth_token" in command for command in cluster["setup_commands"])
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert any("--dashboard-host=127.0.0.1" in command for command in cluster["head_start_ray_commands"])


@pytest.mark.parametrize("file", FILES)
def test_commands_in_the_head_of_the_file_name_it(file: str) -> None:
    head = (ROOT / file).read_text().partition("cluster_name")[0]
    assert {f"ray {verb} {file}" for verb in ("up", "exec", "dashboard", "down")} <= {
        " ".join(line.split()[1:4]).removeprefix(".venv/bin/") for line in head.splitlines()
    }
