"""How many trials share a GPU and a host: what is measured of one trial, and what follows from it."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted import plan_of

from segsweep.orchestrator.checking.roots import absolute_roots
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.launching.preflight import too_large
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import AttemptEnded, AttemptStarted, Journal, read_events
from segsweep.orchestrator.resources import memory_probe
from segsweep.orchestrator.resources.capacity import GPU, Capacity, listed, shown
from segsweep.orchestrator.resources.control_groups import cpu_quota, memory_left, memory_limit
from segsweep.orchestrator.resources.fits import fit
from segsweep.orchestrator.resources.packing import host_gib, share, trials_a_gpu
from segsweep.orchestrator.resources.share import Share
from segsweep.orchestrator.space.spec import Resources
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.storage import GIB
from segsweep.trainables.training.footprints import Footprint, fitting, in_a_fork

SPACE = """\
datasets: [{type: streets, size: [32, 48], train: 8, val: 4, test: 1}]
models: [{architecture: unet_2015, width: 4, name: plain}]
trials: 6
epochs: 1
batch_size: {choice: [2, 4]}
image_size: [32, 48]
scheduler: fifo
"""


# -- arithmetic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total_gib", "reserved_gib", "trials"),
    [
        (80, 11.3, 5),  # 11.3 x 1.15 + 0.5 = 13.495; 80 / 13.495 = 5.93
        (80, 80, 0),
        (24, 20.4, 1),  # 23.96
        (24, 20.5, 0),  # 24.075
        (10, 1, 6),  # 1.65; 6.06
    ],
)
def test_a_gpu_holds_as_many_trials_as_fit_with_a_margin(total_gib: float, reserved_gib: float, trials: int) -> None:
    assert trials_a_gpu(total_gib, reserved_gib) == trials


def on_gpu(reserved_gib: float, total_gib: float = 80.0, host: float = 0.0) -> Footprint:
    return Footprint(host, reserved_gib, total_gib, micro_batch=8)


def test_the_largest_trial_and_the_smallest_gpu_decide_the_share() -> None:
    auto, machine = Resources(gpus="auto", memory_gib=0), Capacity(cpus=64, gpus=2)
    assert share([on_gpu(1), on_gpu(11.3)], auto, machine, at_once=64).gpus == 0.2
    assert (
        share([on_gpu(11.3), on_gpu(11.3, total_gib=40)], auto, machine, at_once=64).gpus == 0.5
    )  # 40 / 13.495 = 2.96
    assert share([on_gpu(79)], auto, machine, at_once=64).gpus == 1.0


def test_shares_never_add_up_to_more_than_a_gpu_as_ray_counts() -> None:
    for fits in range(1, 60):
        got = share([on_gpu(0, total_gib=0.5 * fits)], Resources(gpus="auto"), Capacity(64, 1), at_once=64).gpus
        assert fits * round(got * 10_000) <= 10_000 < (fits + 1) * round(got * 10_000)


def test_no_gpu_is_shared_by_more_trials_than_there_can_be() -> None:
    auto, machine = Resources(gpus="auto"), Capacity(cpus=64, gpus=4)
    assert share([on_gpu(1)], auto, machine, at_once=4).gpus == 1.0  # else three GPUs would idle
    assert share([on_gpu(1)], auto, machine, at_once=9).gpus == 0.5
    assert Capacity(cpus=9, gpus=4).concurrency(auto, Share(0.5)) == 8


def test_what_is_said_is_not_measured() -> None:
    said = Resources(gpus=0.5, memory_gib=3)
    assert share([on_gpu(1, host=9)], said, Capacity(8, 1), at_once=8) == Share(0.5, 3)
    assert share([], Resources(gpus="auto"), Capacity(8, 1), at_once=8) == Share(1.0, 0.0)


def test_memory_of_the_host_limits_trials_as_well() -> None:
    assert host_gib(2.0) == pytest.approx(2.8)  # 2 x 1.15 + 0.5
    got = share(
        [Footprint(2.0, micro_batch=8), Footprint(1.0, micro_batch=8)], Resources(), Capacity(64, 0), at_once=64
    )
    assert got == Share(0.0, pytest.approx(2.8))
    machine = Capacity(cpus=64, gpus=0, memory_gib=16)
    assert machine.concurrency(Resources(), got) == 5  # 5.7
    team = Resources(gpus=0, cpus=4, processes=4)
    assert share([Footprint(2.0, micro_batch=2)], team, machine, at_once=64).memory_gib == pytest.approx(4 * 2.8)


def test_a_trial_that_asks_for_more_memory_than_there_is_is_refused() -> None:
    found = list(too_large(Resources(memory_gib=40), Capacity(cpus=8, gpus=0, memory_gib=16)))
    assert found == [
        (("resources", "memory_gib"), "a trial needs 40 GiB of memory, this machine has 16.0 GiB left; ask for less"),
    ]


# -- what this process may use --------------------------------------------------------------------------------------

LISTING = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.40gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.10gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)
"""
A100, H100 = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, [A100, H100]),
        ("", []),
        ("-1", []),
        ("1", [H100]),
        ("1,0", [H100, A100]),
        ("0,-1,1", [A100]),  # CUDA looks no further than an entry that is none
        ("0,2,1", [A100]),
        ("0,0", [A100]),
        (" 1 , 0", [H100, A100]),
        ("GPU-8932f937", [H100]),
        (
            "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f,MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
            ["MIG 3g.40gb", "MIG 1g.10gb"],
        ),
        ("MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/1/0", ["MIG 3g.40gb"]),
        ("MIG-00000000-42e4-5de3-91c7-45d71c87eb3f", []),
        ("NoDevFiles", []),
    ],
)
def test_gpus_are_those_that_cuda_shows(visible: str | None, names: list[str]) -> None:
    assert shown(visible, list(listed(LISTING))) == names


def test_without_nvidia_smi_entries_of_the_variable_count() -> None:
    assert len(shown("0,MIG-c6d4f1ef,GPU-8932f937", [])) == 3
    assert len(shown("0,-1,1", [])) == 1
    assert shown(None, []) == []
    assert list(listed("NVIDIA-SMI has failed\n")) == []
    assert list(listed("GPU 3: X (UUID: GPU-1)\n")) == [GPU("X", "GPU-1", 3)]


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_control_groups_of_version_2_limit_with_all_that_are_above(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/job/step\n")
    root = tmp_path / "cgroup"
    write(root / "job/step", cpu__max="max 100000\n", memory__max="max\n", memory__current="5\n", memory__stat="")
    assert (cpu_quota(root, own), memory_limit(root, own), memory_left(root, own)) == (math.inf,) * 3
    stat = f"anon 1\ninactive_file {GIB}\n"
    write(
        root / "job",
        cpu__max="250000 100000\n",
        memory__max=f"{8 * GIB}\n",
        memory__current=f"{3 * GIB}\n",
        memory__stat=stat,
    )
    assert (cpu_quota(root, own), memory_limit(root, own), memory_left(root, own)) == (2.5, 8 * GIB, 6 * GIB)


def test_a_container_has_its_own_group_at_the_root(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n")
    root = tmp_path / "cgroup"
    stat = f"total_inactive_file {GIB}\n"
    write(root / "memory", memory__limit_in_bytes=f"{4 * GIB}", memory__usage_in_bytes=f"{2 * GIB}", memory__stat=stat)
    write(root / "cpu,cpuacct", cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
    assert (cpu_quota(root, own), memory_limit(root, own), memory_left(root, own)) == (1.5, 4 * GIB, 3 * GIB)
    write(root / "memory", memory__limit_in_bytes=str(2**63 - 4096))
    write(root / "cpu,cpuacct", cpu__cfs_quota_us="-1")
    assert (cpu_quota(root, own), memory_limit(root, own), memory_left(root, own)) == (math.inf,) * 3


def test_no_control_groups_limit_nothing(tmp_path: Path) -> None:
    assert (cpu_quota(tmp_path, tmp_path / "none"), memory_left(tmp_path, tmp_path / "none")) == (math.inf, math.inf)


# -- the probe -------------------------------------------------------------------------------------------------------


def test_what_is_taken_in_a_fork_is_seen_and_given_back() -> None:
    from segsweep.trainables.training.memory import peak_gib, reset_peak

    import torch  # isort: skip

    def take(gib: float) -> Footprint:
        reset_peak(torch.device("cpu"))  # the workers of a test run grow and shrink by themselves
        before = peak_gib(torch.device("cpu"))
        block = bytearray(int(gib * GIB))
        block[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(block[:: os.sysconf("SC_PAGE_SIZE")])  # only then it is there
        return Footprint(peak_gib(torch.device("cpu")) - before, micro_batch=1)

    large, small = in_a_fork(lambda: take(0.5)), in_a_fork(lambda: take(0.1))
    assert large == Footprint(pytest.approx(0.5, abs=0.05), micro_batch=1)
    assert small == Footprint(pytest.approx(0.1, abs=0.05), micro_batch=1)


def test_memory_that_cannot_be_had_is_told_from_errors() -> None:
    def refuse() -> Footprint:
        raise MemoryError("DefaultCPUAllocator: can't allocate memory")

    def fail() -> Footprint:
        raise ValueError("no such layer")

    def killed() -> Footprint:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does
        return Footprint()

    def die() -> Footprint:
        os._exit(3)

    assert in_a_fork(refuse) is None
    assert in_a_fork(killed) is None
    assert in_a_fork(fail) == Footprint(error="ValueError: no such layer")
    assert in_a_fork(die) == Footprint(error="the process that measured it ended with code 3")


def test_half_of_a_batch_is_tried_and_half_of_that() -> None:
    tried: list[int] = []

    def attempt(size: int) -> Footprint | None:
        tried.append(size)
        return Footprint(1.0, micro_batch=size) if size <= 3 else None

    assert fitting(attempt, 12).micro_batch == 3
    assert tried == [12, 6, 3]
    assert fitting(lambda size: None, 5) == Footprint()


def configs(plan: SweepPlan) -> list[TrialConfig]:
    return [config for few in memory_probe.demanding(plan).values() for config in few]


def test_the_most_demanding_configurations_are_measured() -> None:
    space = SPACE.replace("width: 4", "width: {choice: [4, 8]}").replace(
        "[32, 48]\n", "{choice: [[32, 48], [64, 48]]}\n"
    )
    found = configs(plan_of(f"{space}losses: [dice, focal]\noptimizers: [adamw, sgd]\n"))
    assert {(c.batch_size, c.image_size) for c in found} == {(4, (64, 48))}
    chosen = [(c.loss.type, c.optimizer.type, c.model.options["width"]) for c in found]
    pairs = [("dice", "adamw"), ("focal", "adamw"), ("dice", "sgd")]
    assert sorted(chosen) == sorted((*pair, width) for pair in pairs for width in (4, 8))
    (shared,) = configs(plan_of(f"{SPACE}resources: {{gpus: 0, cpus: 3, processes: 3}}\n".replace("[2, 4]", "[3, 8]")))
    assert shared.batch_size == 3  # of 8, for the largest of 3 shares


@pytest.mark.slow  # starts Python and imports torch: 5 s where nothing else runs
def test_memory_is_measured_by_training_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    wide = SPACE.replace("width: 4", "width: 32").replace("[2, 4]", "[16, 32]").replace("train: 8", "train: 32")
    both = [*configs(plan_of(SPACE)), *configs(plan_of(wide))]
    said: list[str] = []
    small, large = memory_probe.measured(both, cpus=1, gpus=0, announce=said.append)
    assert said == [
        "measured the memory of plain at 32x48 x 4 (1 of 2)",
        "measured the memory of plain at 32x48 x 32 (2 of 2)",
    ]
    assert (small.error, large.error, small.micro_batch, large.micro_batch) == ("", "", 4, 32)
    # of its first resolution alone: 2 convolutions, norms and ReLUs of 32 maps of 32 images, kept for the gradient
    assert large.host_gib - small.host_gib > 4 * 32 * 32 * 32 * 48 * 4 / GIB
    began = time.perf_counter()
    assert memory_probe.measured(both, cpus=1, gpus=0, announce=said.append) == [small, large]
    assert memory_probe.known(both, cpus=1, gpus=0) == [small, large]
    assert time.perf_counter() - began < 0.5
    assert len(said) == 2
    record = json.loads(next(tmp_path.glob("memory/*.json")).read_text())
    assert (record["device"], record["torch"]) == ("cpu", memory_probe.version("torch"))
    assert memory_probe.known([both[0].model_copy(update={"batch_size": 2}), both[0]], cpus=1, gpus=0) == []
    assert memory_probe.known(both, cpus=2, gpus=0) == []


# -- what becomes of it ----------------------------------------------------------------------------------------------


def test_plans_say_what_fits_and_what_will_be_tried() -> None:
    plan = plan_of(f"{SPACE}resources: {{gpus: auto}}\n".replace("trials: 6", "trials: 60"))
    machine = Capacity(cpus=64, gpus=2, memory_gib=100)

    def probe(found: Footprint) -> tuple[Share, str]:
        made = fit(plan, machine, lambda few: [found])
        (line,) = made.lines
        return made.share, line

    assert probe(Footprint(2.0, 11.3, 80, 4)) == (
        Share(0.2, pytest.approx(2.8)),
        "plain at 32x48 x 4: 11.3 GiB, 5 trials a GPU",
    )
    halved = "plain at 32x48 x 4: memory does not hold a batch; 2 images at once will be tried: 70.0 GiB, 1 trial a GPU"
    assert probe(Footprint(2.0, 70, 80, 2))[1] == halved
    nothing = "plain at 32x48 x 4: memory does not hold even one image at once, so its trials will be infeasible"
    assert probe(Footprint()) == (Share(1.0, 0.0), nothing)
    unknown = "plain at 32x48 x 4: its memory could not be measured (ValueError: no)"
    assert probe(Footprint(error="ValueError: no")) == (Share(1.0, 0.0), unknown)


def test_one_trial_at_least_runs_whatever_it_takes() -> None:
    made = fit(plan_of(SPACE), Capacity(cpus=8, gpus=0, memory_gib=2.0), lambda few: [Footprint(4.0, micro_batch=4)])
    assert made.share == Share(0.0, 2.0)
    assert made.lines[-1] == "a trial may take 5.1 GiB of memory and 2.0 GiB are left: one runs at a time"


@pytest.mark.parametrize(
    ("line", "cpus"),
    [("", 1), ("max_concurrent: 1", 8), ("resources: {memory_gib: 1}", 8), ("resources: {gpus: 1}", 8)],
)
def test_nothing_is_measured_where_it_decides_nothing(line: str, cpus: int) -> None:
    def never(few: Sequence[TrialConfig]) -> list[Footprint]:
        raise AssertionError(few)

    plan, machine = plan_of(f"{SPACE}{line}\n"), Capacity(cpus=cpus, gpus=1)
    assert fit(plan, machine, never) == (machine.asked(plan.spec.resources), ())


@pytest.mark.parametrize("dataset", ["", "datasets: [{type: folder, root: mine, classes: [a, b]}]"])
def test_plan_shows_what_launch_found(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGSWEEP_DATA", raising=False)
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    file = tmp_path / "x.yaml"
    space = "\n".join([dataset or SPACE.splitlines()[0], *SPACE.splitlines()[1:]])
    file.write_text(f"{space}\nresources: {{gpus: auto}}\nmax_concurrent: 4\n")
    cpus = len(os.sched_getaffinity(0))
    before = CliRunner().invoke(cli, ["plan", str(file)], catch_exceptions=False).stdout
    assert "a trial gets  1 CPU, 1 GPU\n" in before
    (config,) = configs(SweepPlan.of(absolute_roots(plan_of(space).spec)))  # as `launch` measures it
    device = memory_probe._device(1)
    memory_probe._remember(memory_probe._file(config, device, 1), config, device, on_gpu(10, host=2))
    after = CliRunner().invoke(cli, ["plan", str(file)], catch_exceptions=False).stdout
    at_once = min(4, cpus)
    if at_once > 1:
        assert f"a trial gets  1 CPU, {1 / at_once:g} GPU, 2.8 GiB of memory\n" in after.replace("GPUs", "GPU")
        assert "    plain at 32x48 x 4: 10.0 GiB, 6 trials a GPU\n" in after


@pytest.mark.ray
def test_ray_starts_no_more_trials_than_memory_allows(tmp_path: Path) -> None:
    from segsweep.orchestrator.driving.assignment import Assignment
    from segsweep.orchestrator.driving.sweep import Sweep
    from segsweep.orchestrator.launching.ray_session import ray_session

    def slowly(assignment: Assignment, epoch: int) -> None:
        time.sleep(0.5)

    with ray_session(tmp_path, cpus=4, gpus=0, memory_gib=1.0):
        import scripted as script
        from ray import cloudpickle

        from segsweep.orchestrator.backends.ray_tune import RayTune

        cloudpickle.register_pickle_by_value(script)
        with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
            sweep = Sweep(plan_of(SPACE), journal)
            sweep.grant(Share(memory_gib=0.4))  # 2.5 of them in 1 GiB, where 4 CPUs would take 4
            RayTune().run(sweep, script.scripted(slowly))
    running, most = 0, 0
    for event, _ in read_events(tmp_path / "journal.jsonl"):
        running += isinstance(event, AttemptStarted) - isinstance(event, AttemptEnded)
        most = max(most, running)
    assert most == 2
    assert [trial.status for trial in sweep.state.trials.values()] == ["finished"] * 6
