"""What of a sweep would go with the machine that drives it, on a cluster whose nodes come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from segsweep.orchestrator.mirroring.places import address_of
from segsweep.orchestrator.tracking.store import sqlite_path

MOUNTS = Path("/proc/self/mountinfo")
SHARED = {
    "9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs",
    "panfs", "smb3", "smbfs", "virtiofs", "wekafs",
}  # fmt: skip
OWN_FUSE = {"fuse.fuse-overlayfs"}  # a container's own disk; other FUSE file systems bring something from elsewhere


def lost_with_head(storage: Path, tracking_uri: str, mounts: str | None = None) -> Iterator[str]:
    """A line for each of storage and MLflow store that other nodes cannot see, and what to use instead.

    storage: the sweep's folder. mounts: as in /proc/self/mountinfo; default: this machine's.
    """
    if mounts is None and not MOUNTS.exists():
        return
    table = MOUNTS.read_text() if mounts is None else mounts
    why = "of this machine alone: other nodes do not see it, and it is gone when the head is"
    if address_of(storage) is None and not is_shared(kind := file_system(storage, table)):
        yield f"{storage} is on a disk ({kind}) {why}. Use --storage DIR on NFS or the like"
    store = sqlite_path(tracking_uri)
    if store is not None and not is_shared(kind := file_system(store, table)):
        remedy = "Use MLFLOW_TRACKING_URI=http://... of an MLflow server elsewhere, or a file on NFS"
        yield f"{store} (MLflow's store) is on a disk ({kind}) {why}. {remedy}"


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`: such as "ext4" or "nfs4"."""
    whole = path.resolve()
    kind, deepest = "unknown", -1
    for line in mounts.splitlines():
        about, _, source = line.partition(" - ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), about.split()[4]))  # a blank is \040
        depth = len(place.parts)
        if depth >= deepest and whole.is_relative_to(place):  # the last of several on one place hides the others
            kind, deepest = source.split()[0], depth
    return kind


def is_shared(kind: str) -> bool:
    return kind in SHARED or (kind.startswith("fuse.") and kind not in OWN_FUSE)
