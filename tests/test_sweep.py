"""A sweep's decisions, on both backends, with trials that follow a script instead of training."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted as script
from scripted import ScriptedReport, ScriptedTrial, plan_of, scripted

from segsweep.orchestrator.backends import Backend, TrialFactory
from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    EpochDone,
    Event,
    Journal,
    TrialCreated,
    TrialFacts,
    read_events,
)
from segsweep.trainables.components import DoesNotFitError

SPACE = """
datasets: [{type: streets, name: day}, {type: streets, name: night, variant: night}]
models: [{architecture: unet, encoder: resnet18}, {architecture: fpn, encoder: resnet18}]
trials: 4
epochs: 6
image_size: [48, 80]
scheduler: {type: asha, grace: 1, reduction_factor: 3}
min_finished: 2
"""


def run(backend: Backend, folder: Path, factory: TrialFactory, plan: SweepPlan | None = None) -> Sweep:
    with Journal(folder / "journal.jsonl", fsync=False) as journal:  # no power is cut here
        sweep = Sweep(plan or plan_of(SPACE), journal)
        sweep.interrupted("its driver died", lost="driver")
        backend.run(sweep, factory)
    return sweep


@pytest.fixture(scope="module")
def ray_tune(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    from segsweep.orchestrator.launching.ray_session import ray_session

    with ray_session(tmp_path_factory.mktemp("ray"), cpus=2, gpus=0):
        from ray import cloudpickle

        from segsweep.orchestrator.backends.ray_tune import RayTune

        for module in (sys.modules[__name__], script):  # workers cannot import these files
            cloudpickle.register_pickle_by_value(module)
        yield RayTune()


@pytest.fixture(params=["in_process", "simulated", pytest.param("ray_tune", marks=pytest.mark.ray)])
def backend(request: pytest.FixtureRequest) -> Backend:
    match request.param:
        case "in_process":
            return InProcess()
        case "simulated":
            return Simulated(workers=3)
    return request.getfixturevalue("ray_tune")


def epochs_by_trial(folder: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for event, _ in read_events(folder / "journal.jsonl"):
        if isinstance(event, EpochDone) and not event.redone:
            found.setdefault(event.trial, []).append(event.epoch)
    return found


def test_every_cell_gets_its_trials_and_its_finished_ones(backend: Backend, tmp_path: Path) -> None:
    sweep = run(backend, tmp_path, scripted())
    assert sweep.over
    for cell in sweep.plan.cells:
        trials = sweep.state.cell(cell)
        assert len(trials) == 4
        assert sum(trial.status == "finished" for trial in trials) >= 2
        assert all(trial.status in ("finished", "stopped") for trial in trials)
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in epochs_by_trial(tmp_path).values())


def test_stopped_trials_name_rung_cutoff_and_rank(backend: Backend, tmp_path: Path) -> None:
    sweep = run(backend, tmp_path, scripted())
    stopped = [trial for trial in sweep.state.trials.values() if trial.status == "stopped"]
    assert stopped
    for trial in stopped:
        assert trial.stop is not None
        assert trial.epoch == trial.stop.rung
        assert trial.best is not None
        assert trial.best < trial.stop.cutoff
        assert f"rung {trial.stop.rung}: val_miou" in trial.reason
        assert f"rank {trial.stop.rank} of {trial.stop.of}" in trial.reason


PROMOTION = SPACE.replace("{type: asha, grace: 1, reduction_factor: 3}", "{type: asha_promotion, grace: 1}")


def test_promotion_finishes_the_best_of_every_rung(backend: Backend, tmp_path: Path) -> None:
    sweep = run(backend, tmp_path, scripted(), plan_of(PROMOTION))
    for cell in sweep.plan.cells:
        trials = sorted(sweep.state.cell(cell), key=lambda trial: trial.best_until(1), reverse=True)
        assert [trial.status for trial in trials] == ["finished", "finished", "stopped", "stopped"]
        assert {trial.epoch for trial in trials[2:]} == {1}
        for trial in trials[2:]:
            assert trial.stop is not None
            assert trial.stop.of == 4
            assert trial.stop.rank in (3, 4)
            assert trial.stop.cutoff == trials[1].best_until(1)
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in epochs_by_trial(tmp_path).values())


class SlowFirst(ScriptedTrial):
    """The sweep's first trial takes a hundred times as long as the others."""

    def step(self) -> ScriptedReport:
        report = super().step()
        seconds = 1000.0 if self._assignment.trial == "001" else 10.0
        return dataclasses.replace(report, metrics={**report.metrics, "epoch_s": seconds})


def test_a_worker_that_would_idle_promotes_early(tmp_path: Path) -> None:
    one_cell = """
datasets: [streets]
models: [{architecture: unet, encoder: resnet18}]
trials: 6
epochs: 6
image_size: [48, 80]
scheduler: {type: asha_promotion, grace: 1}
"""
    backend = Simulated(workers=6)
    with Journal(tmp_path / "journal.jsonl", clock=backend.clock) as journal:
        sweep = Sweep(plan_of(one_cell), journal)
        backend.run(sweep, SlowFirst)
    promotions = [
        e.time for e, _ in read_events(journal.path) if isinstance(e, AttemptStarted) and e.cause == "promote"
    ]
    assert sweep.over
    assert promotions[0] < 100.0 < 1000.0 <= sweep.state.last_time


def test_values_are_the_best_epoch_and_the_published_point_comes_first(backend: Backend, tmp_path: Path) -> None:
    sweep = run(backend, tmp_path, scripted())
    firsts = {trial.cell: trial for trial in reversed(sweep.state.trials.values())}
    for cell, trial in firsts.items():
        combination = sweep.plan.cells[cell][0]
        first = combination.domains["optimizer.lr"].first
        assert trial.values["optimizer.lr"] == first
    for trial in sweep.state.trials.values():
        assert trial.best == max(m["val_miou"] or 0 for m in trial.metrics)


def crash_once_in_a_while(assignment: Assignment, epoch: int) -> float | None:
    if assignment.trial == "002" and epoch == 2:
        raise ValueError("cannot learn this\nmore lines")
    return float("nan") if assignment.trial == "003" else None


def test_a_crash_and_a_nan_fail_their_trials_only(backend: Backend, tmp_path: Path) -> None:
    space = SPACE.replace("asha, grace: 1, reduction_factor: 3", "fifo")
    sweep = run(backend, tmp_path, scripted(crash_once_in_a_while), plan_of(space))
    trials = sweep.state.trials
    assert trials["002"].status == "failed"
    assert trials["002"].reason == "ValueError: cannot learn this"
    assert trials["002"].epoch == 1
    assert trials["003"].status == "failed"
    assert trials["003"].reason == "val_miou is not a number in epoch 1"
    assert all(trial.status == "finished" for trial in trials.values() if trial.id not in ("002", "003"))


def test_an_interrupted_sweep_goes_on_where_it_was(backend: Backend, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:

        def interrupt_between_rungs(event: Event) -> None:
            if isinstance(event, EpochDone) and event.epoch == 2 and len(sweep.state.trials) > 3:
                sweep.interrupt()

        sweep = Sweep(plan_of(SPACE), journal, listeners=(interrupt_between_rungs,))
        backend.run(sweep, scripted())
    assert sweep.stopping
    assert not sweep.running
    assert len(sweep.state.trials) < sweep.plan.trials
    resumed = run(backend, tmp_path, scripted())
    assert resumed.over
    assert len(resumed.state.trials) == resumed.plan.trials
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in epochs_by_trial(tmp_path).values())
    causes = [e.cause for e, _ in read_events(tmp_path / "journal.jsonl") if isinstance(e, AttemptStarted)]
    assert "resume" in causes


def die_in_epoch_three(assignment: Assignment, epoch: int) -> None:
    if assignment.trial == "001" and epoch == 3 and assignment.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.ray
def test_a_trial_whose_worker_is_killed_goes_on_from_its_last_epoch(ray_tune: Backend, tmp_path: Path) -> None:
    sweep = run(ray_tune, tmp_path, scripted(die_in_epoch_three))
    trial = sweep.state.trials["001"]
    assert trial.status == "finished"
    assert trial.attempt == 2
    assert epochs_by_trial(tmp_path)["001"] == [1, 2, 3, 4, 5, 6]


def die_always(assignment: Assignment, epoch: int) -> None:
    if assignment.trial == "001":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.ray
def test_a_trial_that_keeps_killing_its_worker_fails(ray_tune: Backend, tmp_path: Path) -> None:
    space = SPACE.replace("trials: 4", "trials: 1").replace("min_finished: 2", "min_finished: 1")
    sweep = run(ray_tune, tmp_path, scripted(die_always), plan_of(space))
    assert sweep.state.trials["001"].status == "failed"
    assert "its worker died 3 times" in sweep.state.trials["001"].reason
    assert [t.status for t in sweep.state.trials.values()].count("finished") == 3


def decisions(folder: Path) -> list[tuple[Any, ...]]:
    """Proposals and ends of a sweep, without times and attempts."""
    found: list[tuple[Any, ...]] = []
    for event, _ in read_events(folder / "journal.jsonl"):
        if isinstance(event, TrialCreated):
            found.append((event.trial, json.dumps(event.values)))
        elif event.event == "end" and event.status != "interrupted":
            found.append((event.trial, event.status, event.reason))
    return found


SECONDS = PROMOTION.replace("grace: 1", "grace: 15, unit: seconds, rungs: dataset")


TRADED = f"""{PROMOTION}
more_objectives: [gmacs]
constraints: {{gmacs: {{max: 0.2}}, peak_memory_gib: {{max: 0.0061}}}}
""".replace("trials: 4", "trials: 9")


def test_what_memory_cannot_hold_is_infeasible_and_never_tried_again(backend: Backend, tmp_path: Path) -> None:
    def mishap(assignment: Assignment, epoch: int) -> float | None:
        if assignment.config.image_size == (96, 160):
            raise DoesNotFitError("memory does not hold 1 image of 96x160 at once (batch_size 8, on cuda:0)")
        return None

    sizes = "image_size: {choice: [[48, 80], [96, 160]]}\nmax_failures: 2\ntrials: 6\n"
    space = SPACE.replace("image_size: [48, 80]\n", "").replace("trials: 4\n", sizes)
    sweep = run(backend, tmp_path, scripted(mishap), plan_of(space))
    trials = list(sweep.state.trials.values())
    unfit = [trial for trial in trials if trial.config.image_size == (96, 160)]
    assert unfit
    assert len(trials) == 4 * 6
    for trial in trials:
        assert (trial.status == "infeasible") == trial.unfit == (trial in unfit)
        assert trial.status in ("finished", "stopped", "infeasible")
    for trial in unfit:
        assert (trial.attempt, trial.epoch, trial.failures) == (1, 0, 0)
        assert trial.reason == "memory does not hold 1 image of 96x160 at once (batch_size 8, on cuda:0)"
    assert sweep.over
    with Journal(tmp_path / "journal.jsonl") as journal:  # read back, it says the same
        again = Sweep(sweep.plan, journal)
    assert [trial.unfit for trial in again.state.trials.values()] == [trial.unfit for trial in trials]
    assert again.over


def test_facts_that_change_with_an_epoch_are_recorded(tmp_path: Path) -> None:
    class Shrinking(ScriptedTrial):
        def step(self) -> ScriptedReport:
            report = super().step()
            if report.epoch == 2:
                self.facts = {**self.facts, "micro_batch": 4.0, "smaller_batches_for": "BatchNorm"}
            return report

    sweep = run(InProcess(), tmp_path, Shrinking, plan_of(SPACE.replace("asha, grace: 1, reduction_factor: 3", "fifo")))
    for trial in sweep.state.trials.values():
        assert (trial.facts["micro_batch"], trial.facts["smaller_batches_for"]) == (4.0, "BatchNorm")
        assert trial.facts["device"] == "none"
    told = [event for event, _ in read_events(tmp_path / "journal.jsonl") if isinstance(event, TrialFacts)]
    assert len(told) == 2 * len(sweep.state.trials)


def test_infeasible_trials_end_at_once_never_rank_and_say_why(backend: Backend, tmp_path: Path) -> None:
    sweep = run(backend, tmp_path, scripted(), plan_of(TRADED))
    assert sweep.over
    trials = sweep.state.trials.values()
    infeasible = [trial for trial in trials if trial.status == "infeasible"]
    unbuilt = [trial for trial in infeasible if trial.epoch == 0]
    assert unbuilt
    for trial in unbuilt:
        assert trial.reason == f"gmacs {trial.measured('gmacs'):.4g} is above max 0.2"
    assert len(unbuilt) < len(infeasible)
    for trial in set(infeasible) - set(unbuilt):
        peaks = [metrics["peak_memory_gib"] or 0.0 for metrics in trial.metrics]
        assert [peak > 0.0061 for peak in peaks] == [False] * (trial.epoch - 1) + [True]
        assert trial.reason == f"peak_memory_gib {peaks[-1]:.4g} is above max 0.0061"
    for trial in set(trials) - set(infeasible):
        assert trial.status in ("finished", "stopped")
        assert (trial.measured("gmacs") or 0.0) <= 0.2
    for cell in sweep.plan.cells:
        assert sweep.state.count(cell, "finished") >= 2 or not sweep.state.count(cell, "stopped")
    gone: set[str] = set()
    for event, _ in read_events(tmp_path / "journal.jsonl"):
        if isinstance(event, AttemptEnded):
            gone |= {event.trial} if event.status == "infeasible" else set()
            assert event.stop is None or gone.isdisjoint(event.stop.ahead)


def test_a_cell_that_no_trial_fits_ends_without_training(backend: Backend, tmp_path: Path) -> None:
    sweep = run(backend, tmp_path, scripted(), plan_of(SPACE + "constraints: {params_m: {max: 1.5}}\n"))
    assert sweep.over
    for trial in sweep.state.trials.values():
        if trial.config.model.type == "fpn":
            assert (trial.status, trial.epoch) == ("infeasible", 0)
            assert trial.reason == "params_m 2 is above max 1.5"
        else:
            assert trial.status in ("finished", "stopped")


def test_a_cost_that_nobody_measures_fails_the_trial(tmp_path: Path) -> None:
    space = SPACE.replace("min_finished: 2", "more_objectives: [latency_ms]\nconstraints: {gmacs: {max: 50}}")
    sweep = run(InProcess(), tmp_path, scripted(), plan_of(space))
    assert {(trial.status, trial.epoch) for trial in sweep.state.trials.values()} == {("failed", 1)}
    reason = "reports no latency_ms, which more_objectives or constraints name"
    assert sweep.state.trials["001"].reason == reason


def test_a_driver_that_died_over_an_infeasible_trial_does_not_train_it(tmp_path: Path) -> None:
    plan = plan_of(TRADED)
    run(InProcess(), tmp_path, scripted(), plan)
    events = [event for event, _ in read_events(tmp_path / "journal.jsonl")]
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    end = next(i for i, event in enumerate(events) if event.event == "end" and event.status == "infeasible")
    assert events[end - 1].event == "facts"
    (tmp_path / "journal.jsonl").write_bytes(b"".join(lines[:end]))
    with Journal(tmp_path / "journal.jsonl") as journal:
        sweep = Sweep(plan, journal)
        sweep.interrupted("its driver died", lost="driver")
    assert sweep.state.trials[lines_trial(lines[end])].status == "infeasible"


def lines_trial(line: bytes) -> str:
    return str(json.loads(line)["trial"])


KILLED = {"asha": SPACE, "asha_promotion": PROMOTION, "seconds": SECONDS, "objectives and constraints": TRADED}


@pytest.fixture(scope="module", params=KILLED.values(), ids=KILLED.keys())
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepPlan, Path]:
    """A plan, and the folder of its sweep with one worker."""
    plan, folder = plan_of(request.param), tmp_path_factory.mktemp("undisturbed")
    run(InProcess(), folder, scripted(), plan)
    return plan, folder


@pytest.mark.parametrize("moment", range(50))
def test_a_killed_sweep_with_one_worker_ends_like_an_undisturbed_one(
    undisturbed: tuple[SweepPlan, Path], tmp_path: Path, moment: int
) -> None:
    plan, folder = undisturbed
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    cut = random.Random(moment).randrange(1, len(lines))
    (tmp_path / "journal.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][:20])  # dies while it writes
    run(InProcess(), tmp_path, scripted(), plan)
    assert decisions(tmp_path) == decisions(folder)


LARGER = (
    PROMOTION.replace("trials: 4", "trials: 14") + "batch_size: {choice: [4, 8]}"
)  # TPE takes over at 11 of a study


TRADED_LARGER = LARGER + TRADED.removeprefix(PROMOTION.replace("trials: 4", "trials: 9"))


@pytest.mark.parametrize(
    ("scheduler", "space"),
    [
        ("{type: asha_promotion, grace: 2}", LARGER),
        ("{type: asha, grace: 2}", LARGER),
        ("{type: asha_promotion, grace: 6, unit: iterations, rungs: dataset}", LARGER),
        ("{type: hyperband, grace: 15, unit: seconds, brackets: 3}", LARGER),
        ("{type: median, grace: 15, unit: seconds}", LARGER),
        ("{type: asha_promotion, grace: 1}", TRADED_LARGER),
        ("{type: hyperband, grace: 1}", TRADED_LARGER + "searcher: {type: nsga2, population: 4}\n"),
    ],
)
def test_replaying_a_journal_of_many_workers_reproduces_its_decisions(
    tmp_path: Path, scheduler: str, space: str
) -> None:
    """At 50 moments: what the sweep started or stopped next is what it would start or stop again."""
    plan = plan_of(space.replace("{type: asha_promotion, grace: 1}", scheduler))
    run(Simulated(workers=4), tmp_path, scripted(), plan)
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    events = [event for event, _ in read_events(tmp_path / "journal.jsonl")]
    proposals = [i for i, event in enumerate(events) if isinstance(event, TrialCreated)]
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    for cut in random.Random(0).sample(proposals, min(50, len(proposals))):
        (prefix / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        with Journal(prefix / "journal.jsonl") as journal:
            Sweep(plan, journal).next()
        again = [event for event, _ in read_events(prefix / "journal.jsonl")]
        assert len(again) > cut
        for before, now in zip(events[cut:], again[cut:], strict=False):
            assert before.model_copy(update={"time": 0.0}) == now.model_copy(update={"time": 0.0})
