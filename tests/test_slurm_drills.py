"""`sbatch clusters/slurm.sh` on a real Slurm of two hosts: munge, slurmctld and slurmd of Debian's slurm-wlm."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hosts import Host, hosts, why_not
from waiting import wait_until

from segsweep.orchestrator.record.state import SweepState

ROOT = Path(__file__).parents[1]
NAMES = ["seg-a", "seg-b"]
TOOLS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
SPACE = """
name: slurmed
datasets: [{type: streets, size: [48, 80], train: 16, val: 4, test: 4}]
models: [{architecture: unet, encoder: tu-mobilenetv3_small_050, decoder_channels: [16, 16, 16, 16, 16], name: tiny}]
trials: 6
epochs: 3
batch_size: 4
image_size: [48, 80]
scheduler: fifo
resources: {gpus: 0}
"""
CONF = """
ClusterName=segsweep
SlurmctldHost=seg-a(10.77.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
StateSaveLocation=/run/slurm/state
SlurmdSpoolDir=/run/slurm/spool
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
NodeName=seg-a NodeAddr=10.77.0.1 CPUs=2
NodeName=seg-b NodeAddr=10.77.0.2 CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""
BOOT = """
cd /run && mkdir -p slurm/state slurm/spool munge && cp {folder}/munge.key munge/key && chmod 600 munge/key
munged --force --key-file=munge/key --log-file=/run/munge/log --pid-file=/run/munge/pid --seed-file=/run/munge/seed
[ $(hostname) = seg-b ] || slurmctld
exec slurmd -D
"""


@contextmanager
def slurm(folder: Path) -> Iterator[list[Host]]:
    """Two hosts with one CPU each to Slurm; `folder` is shared, /tmp is each one's own."""
    (folder / "slurm.conf").write_text(CONF)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # none is mounted, none is used
    (folder / "munge.key").write_bytes(os.urandom(128))
    shows = {path: path for path in (folder, Path(sys.prefix), ROOT)}
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    disks = [Path("/tmp"), Path("/run"), Path("/dev/shm")]
    with hosts(NAMES, disks, environment, shows) as made:
        for host in made:
            host.start("bash", "-ec", BOOT.format(folder=folder), log=folder / f"{host.name}.log")
        wait_until(
            lambda: on(made[0], "sinfo --noheader --format=%D%t", folder).split() == ["2idle"], "Slurm is up", 60
        )
        yield made


def on(host: Host, script: str, folder: Path) -> str:
    """Run bash on a host; returns what it prints."""
    done = subprocess.run(
        host.also("bash", "-c", script, cwd=folder),
        env={**host.variables(), "SEGSWEEP_VENV": sys.prefix},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(why_not(**TOOLS) != "", reason=why_not(**TOOLS))
def test_a_sweep_runs_on_both_nodes_of_a_slurm_job_and_goes_on_in_another(tmp_path: Path) -> None:
    (tmp_path / "slurmed.yaml").write_text(SPACE)
    journal = tmp_path / "sweeps" / "slurmed-1" / "journal.jsonl"
    with slurm(tmp_path) as (first, _):
        submit = f"sbatch --parsable --gpus-per-node=0 {ROOT}/clusters/slurm.sh"
        job = on(first, f"{submit} launch slurmed.yaml", tmp_path).strip()
        wait_until(lambda: journal.exists() and '"event":"epoch"' in journal.read_text(), "an epoch is recorded", 300)
        assert on(first, "stat -c %a /tmp/ray-*", tmp_path) == "700\n"
        on(first, f"scancel --batch --signal=TERM {job}", tmp_path)  # as --signal does when the time is nearly up
        wait_until(lambda: on(first, "squeue --noheader", tmp_path) == "", "the first job has ended", 120)
        assert "segsweep resume slurmed-1" in (tmp_path / f"segsweep-{job}.log").read_text()
        again = on(first, f"{submit} resume slurmed-1", tmp_path).strip()
        wait_until(lambda: on(first, "squeue --noheader", tmp_path) == "", "the second job has ended", 400)
        assert "No such file" in on(first, "ls -d /tmp/ray-*", tmp_path)
    state = SweepState.load(journal)
    printed = (tmp_path / f"segsweep-{again}.log").read_text()
    assert [(trial.status, trial.epoch) for trial in state.trials.values()] == [("finished", 3)] * 6, printed
    assert {trial.facts["host"] for trial in state.trials.values()} == set(NAMES)
