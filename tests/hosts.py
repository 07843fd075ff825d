"""Several hosts on one machine: network namespaces with their own addresses, disks and processes."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from types import MappingProxyType

OWN = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
ASIDE = "/mnt"  # where a host holds what it is shown until its disks are mounted

TOOLS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}  # and the Debian package of each


def why_not(**also: str) -> str:
    """Why no hosts can be made here; "" if they can. also: further tools, each with its Debian package."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tools = {**TOOLS, **also}
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        return f"{', '.join(missing)} is not installed (Debian: {', '.join(sorted({tools[t] for t in missing}))})"
    name = f"try{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return "" if made.returncode == 0 else f"no network namespace can be made: {made.stderr.strip()}"


@dataclass
class Host:
    name: str
    address: str
    disks: Sequence[Path]
    shows: Mapping[Path, Path]
    environment: Mapping[str, str]
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Switch the host on with a command that runs until it is lost; what it prints goes to `log`."""
        assert not self._processes, f"{self.name} is on; run further commands with `also`"
        with log.open("ab") as out:
            process = subprocess.Popen(
                # bash is the host's first process: it buries the orphans of all others
                [
                    *("ip", "netns", "exec", self.name),
                    *OWN,
                    "bash",
                    "-ec",
                    f'{self._boot()}; "$@" & wait $!',
                    "--",
                    *command,
                ],
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def variables(self) -> dict[str, str]:
        """This process's environment and the host's own; conftest.py keeps Ray on loopback, where hosts are alone."""
        return {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", **self.environment}

    def _boot(self) -> str:
        """Mount the host's own disks, and on them what it is shown; a disk may hide the places where that lies."""
        steps = [f"hostname {self.name}", "mount --make-rprivate /"]
        if self.shows:
            steps.append(f"mount -t tmpfs tmpfs {ASIDE}")
        for number, source in enumerate(self.shows.values()):
            steps += [f"mkdir {ASIDE}/{number}", f"mount --bind {quote(str(source))} {ASIDE}/{number}"]
        for disk in self.disks:
            steps += [f"mkdir -p {quote(str(disk))}", f"mount -t tmpfs -o mode=755 tmpfs {quote(str(disk))}"]
        for number, place in enumerate(map(str, self.shows)):
            steps += [f"mkdir -p {quote(place)}", f"mount --bind {ASIDE}/{number} {quote(place)}"]
        return " && ".join(steps)

    def also(self, *command: str, cwd: Path) -> Sequence[str]:
        """The command line of a process on the host while it is on."""
        first = self._processes[0].pid
        processes = f"--pid=/proc/{first}/ns/pid_for_children"
        return ["nsenter", "-t", str(first), "-n", "-m", "-u", processes, f"--wd={cwd}", *command]

    def lose(self) -> None:
        """Cut its power: every process dies at once."""
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        for pid in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for process in self._processes:
            process.wait()
        self._processes.clear()


@contextmanager
def hosts(
    names: Sequence[str],
    disks: Sequence[Path],
    environment: Mapping[str, str] = MappingProxyType({}),
    shows: Mapping[Path, Path] = MappingProxyType({}),
) -> Iterator[list[Host]]:
    """Hosts that reach each other and nobody else; all that runs on them ends with the block.

    disks: folders that are another disk, empty at first, on every host. What they hide of this machine is only there
    if it is shown.
    shows: folders of this machine, by the place where every host has them.
    """
    tag = secrets.token_hex(3)  # not that of earlier ones: devices go some time after their namespace
    switch = f"sw{tag}"
    with ExitStack() as undo:
        _ip("link", "add", switch, "type", "bridge")
        undo.callback(_ip, "link", "del", switch)
        _ip("link", "set", switch, "up")
        made: list[Host] = []
        for number, name in enumerate(names, start=1):
            host = Host(name, f"10.77.0.{number}", disks, shows, environment)
            _ip("netns", "add", name)
            undo.callback(_ip, "netns", "del", name)
            undo.callback(host.lose)
            plug = f"p{number}x{tag}"
            _ip("link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", plug, "master", switch, "up")
            _ip("-n", name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "route", "add", "default", "dev", "eth0")  # by it Ray knows a host's own address
            made.append(host)
        yield made


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def descendants(pid: int) -> list[int]:
    """Ids of the processes that this one started, and that those did."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found
