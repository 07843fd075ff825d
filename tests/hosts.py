"""Several hosts on one machine: network namespaces with their own addresses, names and disks, behind one switch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


def why_not() -> str:
    """Why no hosts can be made here; "" if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is not installed (Debian: iproute2, util-linux)"
    name = f"try{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return "" if made.returncode == 0 else f"no network namespace can be made: {made.stderr.strip()}"


@dataclass
class Host:
    name: str
    address: str
    disk: Path  # its own: nobody else sees what is below
    environment: Mapping[str, str]
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Run a command on the host; what it prints goes to `log`."""
        private = f'hostname {self.name}; mount --make-rprivate /; mount -t tmpfs tmpfs "{self.disk}"; exec "$@"'
        with log.open("ab") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "-m", "-u", "sh", "-c", private, "--", *command],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def also(self, *command: str, cwd: Path) -> Sequence[str]:
        """The command line of a process that shares the host's disk and name with the first one that it runs."""
        first = str(self._processes[0].pid)
        return ["nsenter", "-t", first, "-n", "-m", "-u", f"--wd={cwd}", *command]

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
def hosts(names: Sequence[str], disk: Path, environment: Mapping[str, str]) -> Iterator[list[Host]]:
    """Hosts that reach each other and nobody else; all that runs on them ends with the block.

    disk: a folder that is another disk on every host.
    """
    disk.mkdir(parents=True, exist_ok=True)
    tag = f"{os.getpid() % 100000}"
    switch = f"sw{tag}"
    with ExitStack() as undo:
        _ip("link", "add", switch, "type", "bridge")
        undo.callback(_ip, "link", "del", switch)
        _ip("link", "set", switch, "up")
        made: list[Host] = []
        for number, name in enumerate(names, start=1):
            host = Host(name, f"10.77.0.{number}", disk, environment)
            _ip("netns", "add", name)
            undo.callback(_ip, "netns", "del", name)
            undo.callback(host.lose)
            plug = f"p{number}x{tag}"
            _ip("link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", plug, "master", switch, "up")
            _ip("-n", name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", name, "link", "set", device, "up")
            made.append(host)
        yield made


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def wait_until(met: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.2)
