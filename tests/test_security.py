"""What docs/security.md promises: who may listen, who may read, and where a search space may write."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.preflight import unusable
from segsweep.orchestrator.launching.ray_session import private_folder
from segsweep.orchestrator.space.spec import sweep_name
from segsweep.trainables.places import file_name

SESSION = """
import json, os, sys
from pathlib import Path
from segsweep.orchestrator.launching.ray_session import ray_session
with ray_session(Path(sys.argv[1]), cpus=1, gpus=0) as session:
    import ray, psutil  # Ray brings it along
    here = psutil.Process()
    ours = [here, *here.children(recursive=True)]
    listening = [c.laddr.ip for p in ours for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    seen = " ".join(word for process in ours for word in process.cmdline())
    token = session.token_file.read_text()
    logs = Path(ray._private.worker._global_node.get_session_dir_path())
    told = [str(path) for path in logs.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    mode = session.token_file.stat().st_mode & 0o777
    found = {"listening": listening, "shown": token in seen, "told": told, "mode": mode, "logs": str(logs)}
print(json.dumps(found | {"left": session.token_file.exists()}))
"""


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_a_local_ray_is_on_loopback_and_keeps_its_token_to_itself(tmp_path: Path) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-c", SESSION, str(tmp_path)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["listening"]) > 5
    assert {address.removeprefix("::ffff:") for address in found["listening"]} == {"127.0.0.1"}
    assert (found["shown"], found["told"], found["mode"], found["left"]) == (False, [], 0o600, False)
    assert Path(found["logs"]).is_relative_to(private_folder())


def test_rays_folder_is_its_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "new"))
    folder = private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder() == folder


@pytest.mark.parametrize("what", ["open", "link", "file"])
def test_a_folder_that_somebody_else_prepared_for_ray_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    folder = tmp_path / f"ray-{os.getuid()}"
    if what == "open":
        folder.mkdir()
        folder.chmod(0o770)
    elif what == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "theirs")
    else:
        folder.touch(mode=0o600)
    with pytest.raises(InputError, match=r"is not a folder that you alone may enter.*RAY_TMPDIR"):
        private_folder()


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "..", ".hidden", "-x", "x\n", "x\0", "", "a b", "x" * 101])
def test_a_name_cannot_lead_out_of_the_storage_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        sweep_name(name)
    assert [str(mistake) for mistake in unusable(tmp_path, name)]


def test_a_datasets_name_cannot_lead_out_of_a_folder() -> None:
    assert [file_name(name) for name in ("../x", "/etc/x", "a\0b")] == [".._x", "_etc_x", "a_b"]


@pytest.mark.parametrize("experiment", ["../../x", "/etc", "..", "a/../../b"])
def test_an_experiments_name_cannot_lead_out_of_mlflows_folder(experiment: str, tmp_path: Path) -> None:
    from segsweep.orchestrator.tracking.runs import artifact_folder

    assert artifact_folder(tmp_path, experiment).resolve().parent == tmp_path / "mlruns"
