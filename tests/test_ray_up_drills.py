"""`ray up clusters/on_premise.yaml` over SSH on hosts of their own, a sweep on them, and `ray down`.

The hosts have no network beyond each other, so pip installs the wheel alone (a pip.conf says so); the libraries that it
needs come from the environment that runs the test, which the venv of every host sees through a .pth file.
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from hosts import Host, hosts, why_not
from waiting import wait_until
from wheels import build

from segsweep.orchestrator.record.state import SweepState

ROOT = Path(__file__).parents[1]
HOME = Path(pwd.getpwuid(0).pw_dir)
NAMES = ["seg-head", "seg-one", "seg-two", "seg-desk"]  # the last is the user's own machine
TOOLS = {"ssh": "openssh-client", "sshd": "openssh-server", "ssh-keygen": "openssh-client", "rsync": "rsync"}
SPACE = """
name: rooms
datasets: [{type: streets, size: [48, 80], train: 16, val: 4, test: 4}]
models: [{architecture: unet, encoder: tu-mobilenetv3_small_050, decoder_channels: [16, 16, 16, 16, 16], name: tiny}]
trials: 9
epochs: 2
batch_size: 4
image_size: [48, 80]
scheduler: fifo
resources: {gpus: 0}
"""
SSHD = """
HostKey {keys}/host
AuthorizedKeysFile {keys}/id.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
FILE = "clusters/on_premise.yaml"
LAUNCH = "cd /mnt/segsweep && segsweep launch ~/segsweep/search_spaces/rooms.yaml --address auto"
INSTALLED = "~/segsweep/venv/bin/python -c 'import segsweep.orchestrator as it; print(it.__file__)'"
SSH = "ssh -o StrictHostKeyChecking=no"
PIP = "[global]\nno-index = true\n[install]\nno-deps = true\n"


def prepare(tmp_path: Path) -> None:
    """What hosts are shown: keys and the venv that is copied onto their disks; to the desk its user's clone and key."""
    keys, blank, clone = tmp_path / "keys", tmp_path / "blank", tmp_path / "desk" / "clone"
    for folder in (keys, clone / "search_spaces", clone / "clusters", clone / "dist", tmp_path / "shared"):
        folder.mkdir(parents=True)
    for key in (keys / "host", tmp_path / "desk" / "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    shutil.move(tmp_path / "desk" / "id.pub", keys)
    (keys / "sshd_config").write_text(SSHD.format(keys=keys))
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info"))
    build("wheel", source, clone / "dist")
    shutil.copy(ROOT / "constraints.txt", clone)
    (clone / "search_spaces" / "rooms.yaml").write_text(SPACE)
    venv.create(blank, with_pip=True)
    (site,) = blank.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    (blank / "pip.conf").write_text(PIP)
    for name, text in {
        "pip": "from pip._internal.cli.main import main\nmain()\n",
        "ray": "from ray.scripts.scripts import main\nmain()\n",
    }.items():  # pip's own would call the python of `blank`
        script = blank / "bin" / name
        script.write_text(
            f"#!{HOME}/segsweep/venv/bin/python\nimport sys\n{text.replace('main()', 'sys.exit(main())')}"
        )
        script.chmod(0o755)


def fill_in(clone: Path, head: Host, workers: list[Host]) -> None:
    """The file as shipped, filled in; and one CPU to a host, because they all have the same two."""
    text = (ROOT / FILE).read_text()
    for blank, filled in {
        "head_ip: FILL-IN": f"head_ip: {head.address}",
        "worker_ips: [FILL-IN]": f"worker_ips: [{', '.join(worker.address for worker in workers)}]",
        "ssh_user: FILL-IN": "ssh_user: root",
        "ray start ": "ray start --num-cpus=1 ",
    }.items():
        assert blank in text
        text = text.replace(blank, filled)
    (clone / FILE).write_text(text)


def boot(host: Host, tmp_path: Path) -> None:
    """Switch it on with an SSH server, and put the prepared venv on its disk."""
    prepared = f"mkdir -p /run/sshd {HOME}/segsweep && cp -a {tmp_path}/blank {HOME}/segsweep/venv"
    sshd = f"{shutil.which('sshd')} -D -e -f {tmp_path}/keys/sshd_config"
    log = tmp_path / f"{host.name}.log"
    host.start("bash", "-c", f"{prepared} && exec {sshd}", log=log)
    wait_until(lambda: "Server listening" in log.read_text(), f"sshd of {host.name}", 60)


def on(host: Host, script: str, cwd: Path = Path("/"), timeout_s: float = 60, code: int = 0) -> str:
    """Run bash on a host, as its user would; returns what it prints."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    environment = {"HOME": str(HOME), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        host.also("bash", "-ec", script, cwd=cwd),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == code, f"{host.name}: {script}\n{done.stdout}"
    return done.stdout


def runs(host: Host, process: str) -> bool:
    return process in on(host, "ps -eo args")


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(why_not(**TOOLS) != "", reason=why_not(**TOOLS))
def test_a_cluster_of_ones_own_machines_is_set_up_used_and_taken_down(tmp_path: Path) -> None:
    prepare(tmp_path)
    clone = tmp_path / "desk" / "clone"
    libraries = (Path(sys.prefix), Path(sys.base_prefix), tmp_path / "keys", tmp_path / "blank")
    shows = {Path("/mnt/segsweep"): tmp_path / "shared", **{path: path for path in libraries}}
    with hosts(NAMES, [HOME, Path("/tmp"), Path("/run"), Path("/dev/shm")], shows=shows) as (head, one, two, desk):
        desk.shows = {**shows, clone.parent: clone.parent}
        for host in (head, one, two, desk):
            boot(host, tmp_path)
        fill_in(clone, head, [one, two])
        on(desk, "mkdir -p ~/.ssh && cp ../id ~/.ssh/id_ed25519 && ray get-auth-token --generate", clone)
        token = on(desk, "cat ~/.ray/auth_token").strip()
        printed = on(desk, f"ray up -y {FILE}", clone, 600)
        for worker in (one, two):
            wait_until(lambda w=worker: runs(w, "raylet"), f"Ray runs on {worker.name}", 300)
        printed += on(desk, f"ray exec {FILE} '{LAUNCH}'", clone, 900)
        running = "".join(on(host, "ps -eo args") for host in (head, one, two))
        for host in (head, one, two):
            assert on(host, "stat -c %a ~/.ray/auth_token; cat ~/.ray/auth_token") == f"600\n{token}"
            assert on(host, INSTALLED).startswith(f"{HOME}/segsweep/venv/lib")
            assert on(host, "ls ~/.cache/segsweep")
            assert on(host, "stat -c %a ~/.segsweep") == "700\n"
        other = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={'0' * 64} ray status --address {head.address}:6379"
        assert "token" in on(one, other, code=1)
        printed += on(desk, f"ray down -y {FILE}", clone, 120)
        for worker in (one, two):
            on(desk, f"{SSH} root@{worker.address} segsweep/venv/bin/ray stop")
        for host in (head, one, two):
            wait_until(lambda h=host: not runs(h, "/ray/"), f"nothing of Ray runs on {host.name}", 60)
    state = SweepState.load(tmp_path / "shared" / "sweeps" / "rooms-1" / "journal.jsonl")
    assert {trial.status for trial in state.trials.values()} == {"finished"}
    assert len(state.trials) == 9
    assert {str(trial.facts["host"]) for trial in state.trials.values()} >= {"seg-one", "seg-two"}
    assert token not in printed + running
    assert not any(name in Path("/proc/mounts").read_text() for name in (*NAMES, str(tmp_path)))
    assert not set(NAMES) & set(subprocess.check_output(["ip", "netns", "list"], text=True).split())
