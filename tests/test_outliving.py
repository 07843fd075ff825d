"""Whether a sweep on a cluster outlives its head is told from the mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from segsweep.orchestrator.launching.outliving import MOUNTS, file_system, lost_with_head

TABLE = r"""
21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 21 0:40 / /mnt/shared rw,relatime shared:2 master:1 - nfs4 server:/ rw,vers=4.1
31 30 0:41 / /mnt/shared/scratch rw - tmpfs tmpfs rw
32 21 0:42 / /mnt/two\040words rw - fuse.sshfs host: rw
33 21 0:43 / /mnt/box rw - fuse.fuse-overlayfs fuse-overlayfs rw
34 21 0:44 / /mnt/hidden rw - ext4 /dev/vdb rw
35 21 0:45 / /mnt/hidden rw - lustre host@tcp:/fs rw
""".lstrip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/sweeps", "ext4"),
        ("/mnt/shared/sweeps/x", "nfs4"),
        ("/mnt/shared/scratch/x", "tmpfs"),
        ("/mnt/sharedness", "ext4"),
        ("/mnt/two words/x", "fuse.sshfs"),
        ("/mnt/hidden/x", "lustre"),
    ],
)
def test_the_deepest_and_last_mount_holds_a_path(path: str, kind: str) -> None:
    assert file_system(Path(path), TABLE) == kind


@pytest.mark.parametrize("folder", ["/mnt/shared/sweeps/x", "/mnt/two words/x", "/mnt/hidden/x"])
@pytest.mark.parametrize("uri", ["sqlite:////mnt/shared/mlflow.db", "http://server:5000", "postgresql://me@host/db"])
def test_what_is_shared_or_served_needs_no_warning(folder: str, uri: str) -> None:
    assert list(lost_with_head(Path(folder), uri, TABLE)) == []


@pytest.mark.parametrize("place", ["/home/me", "/mnt/shared/scratch", "/mnt/box"])
def test_what_goes_with_the_head_is_told_in_a_line_each(place: str) -> None:
    storage, store = lost_with_head(Path(place, "sweeps/x"), f"sqlite:///{place}/mlflow.db", TABLE)
    assert storage.startswith(f"{place}/sweeps/x is on a disk (")
    assert storage.endswith("Use --storage DIR on NFS or the like")
    assert store.startswith(f"{place}/mlflow.db (MLflow's store)")
    assert "MLFLOW_TRACKING_URI=http://" in store


def test_this_machines_own_mounts_are_read() -> None:
    assert file_system(Path("/proc/self"), MOUNTS.read_text()) == "proc"
    assert "(proc)" in next(lost_with_head(Path("/proc/self"), "http://server:5000"))
