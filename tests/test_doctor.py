"""doctor: everything is tried out for real, and what is wrong comes with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.launching.examination import Finding, Surroundings, examine

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow


def findings(here: Surroundings) -> dict[str, Finding]:
    """All but Ray's, which takes seconds."""
    found: dict[str, Finding] = {}
    for finding in examine(here):
        found[finding.subject] = finding
        if finding.subject == "MLflow":
            break
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    return Surroundings(tmp_path / "sweeps", f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_machine_on_which_the_tests_run_has_no_fault_and_nothing_is_left(here: Surroundings, tmp_path: Path) -> None:
    found = findings(here)
    assert [f for f in found.values() if f.state == "fault"] == []
    assert set(found) > {"Python", "packages", "machine", "storage", "weights", "torch", "MLflow"}
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_fault_with_its_remedy(here: Surroundings) -> None:
    found = findings(here._replace(storage=Path("/proc/sweeps")))["storage"]
    assert found.state == "fault"
    assert "/proc/sweeps: no file can be written and locked there" in found.message
    assert "--storage DIR" in found.message


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "file:///tmp/mlruns", "sqlite:////proc/mlflow.db"])
def test_a_store_that_is_not_usable_is_a_fault(here: Surroundings, uri: str) -> None:
    found = findings(here._replace(tracking_uri=uri))["MLflow"]
    assert found.state == "fault"
    assert uri.split("//")[-1].strip("/") in found.message


def test_packages_of_another_version_are_named(here: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    from segsweep.orchestrator.launching import examination

    real = examination.requires
    monkeypatch.setattr(examination, "requires", lambda name: [*(real(name) or ()), "click>999", "no-such-package"])
    found = findings(here)["packages"]
    assert found.state == "fault"
    assert "is not >999; no-such-package is missing" in found.message


@pytest.mark.ray
def test_the_command_tries_ray_and_exits_with_2_for_a_fault(
    here: Surroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["doctor", "--json", "--storage", str(here.storage), "--tracking-uri", "http://127.0.0.1:9"]
    done = CliRunner().invoke(cli, arguments)
    found = {finding["subject"]: finding for finding in json.loads(done.output)}
    assert done.exit_code == 2
    assert found["MLflow"]["state"] == "fault"
    assert found["Ray"]["state"] == "ok"
    assert "ran a task" in found["Ray"]["message"]
