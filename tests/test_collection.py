"""Checkpoints that nothing goes on from any more are removed; whatever a cell may still need stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import Mishap, ScriptedReport, ScriptedTrial, no_mishap, plan_of

from segsweep.orchestrator.backends import TrialFactory
from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.collection import Collection
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.forecasting.paces import Paces
from segsweep.orchestrator.forecasting.summary import as_lines, summary
from segsweep.orchestrator.record.journal import Journal
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.trainables.training.timing import Pace

SPACE = """
datasets: [{type: streets, name: day}]
models: [{architecture: unet, encoder: resnet18}]
trials: 8
epochs: 6
image_size: [48, 80]
scheduler: {type: asha, grace: 1, reduction_factor: 2}
min_finished: 2
max_failures: 1
"""


class SavingTrial(ScriptedTrial):
    """Keeps the files that a real one keeps."""

    def __init__(self, assignment: Assignment, mishap: Mishap) -> None:
        super().__init__(assignment, mishap)
        self._folder = assignment.folder
        self._folder.mkdir(parents=True, exist_ok=True)

    def step(self) -> ScriptedReport:
        report = super().step()
        if (self._folder / "last.pt").exists():
            (self._folder / "last.pt").rename(self._folder / "last.prev.pt")
        for name in ("last.pt", "best.pt"):
            (self._folder / name).touch()
        return report


def saving(mishap: Mishap = no_mishap) -> TrialFactory:
    return lambda assignment: SavingTrial(assignment, mishap)


def run(folder: Path, mishap: Mishap = no_mishap, space: str = SPACE, *, collecting: bool = True) -> Sweep:
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        sweep = Sweep(plan_of(space), journal)
        if collecting:
            sweep.listen(Collection(sweep.plan, sweep.state, folder).on_event)
        Simulated(workers=2).run(sweep, saving(mishap))
    return sweep


def lasts(folder: Path) -> set[str]:
    """Trials that could go on."""
    return {path.parent.name for path in folder.glob("trials/*/last*.pt")}


def finished(state: SweepState) -> set[str]:
    return {trial.id for trial in state.trials.values() if trial.status == "finished"}


def test_in_the_end_only_finished_trials_could_go_on_and_each_has_its_best(tmp_path: Path) -> None:
    sweep = run(tmp_path)
    assert 2 <= len(finished(sweep.state)) < 8
    assert lasts(tmp_path) == finished(sweep.state)
    assert len(list(tmp_path.glob("trials/*/best.pt"))) == 8


def test_a_stopped_trial_stays_until_its_cell_has_its_finished_ones(tmp_path: Path) -> None:
    seen = list[tuple[int, set[str], set[str]]]()

    def look(assignment: Assignment, epoch: int) -> None:
        state = SweepState.load(tmp_path / "journal.jsonl")
        stopped = {trial.id for trial in state.trials.values() if trial.status == "stopped"}
        seen.append((len(finished(state)), stopped, lasts(tmp_path)))

    run(tmp_path, look)
    assert any(stopped for count, stopped, _ in seen if count < 2)
    for count, stopped, kept in seen:
        assert (stopped <= kept) if count < 2 else not (stopped & kept)


def test_a_crashed_trial_keeps_its_checkpoint_for_the_last_try_only(tmp_path: Path) -> None:
    kept = dict[int, set[str]]()

    def crash(assignment: Assignment, epoch: int) -> None:
        if assignment.trial == "001":
            kept.setdefault(assignment.attempt, lasts(tmp_path))
            if epoch == 2:
                raise ValueError("no")

    sweep = run(tmp_path, crash, SPACE.replace("{type: asha, grace: 1, reduction_factor: 2}", "fifo"))
    assert (sweep.state.trials["001"].status, sweep.state.trials["001"].attempt) == ("failed", 2)
    assert "001" in kept[2]
    assert "001" not in lasts(tmp_path)


def test_infeasible_trials_keep_nothing_to_go_on_from(tmp_path: Path) -> None:
    sweep = run(tmp_path, space=SPACE + "constraints: {peak_memory_gib: {max: 0.0021}}\n")
    infeasible = {trial.id for trial in sweep.state.trials.values() if trial.status == "infeasible" and trial.epoch}
    assert infeasible
    assert not infeasible & lasts(tmp_path)


def test_a_resume_collects_what_its_predecessor_could_not_and_doing_it_twice_is_the_same(tmp_path: Path) -> None:
    sweep = run(tmp_path, collecting=False)
    assert lasts(tmp_path) > finished(sweep.state)
    for _ in range(2):
        Collection(sweep.plan, sweep.state, tmp_path)
        assert lasts(tmp_path) == finished(sweep.state)


def test_the_plan_states_the_worst_case(tmp_path: Path) -> None:
    plan = plan_of(SPACE)
    (cell,) = plan.cells
    paces = Paces({cell: Pace(epoch_s=1, setup_s=0, last_gib=3.0, best_gib=1.0)}, "as in old")
    facts = summary(plan, Capacity(cpus=2, gpus=0), paces)
    assert facts["disk"] == {"at_worst_gib": 8 * (3 + 3 + 1) + 2 * 3, "all_finished_gib": 8 * (3 + 1)}
    assert "  disk          checkpoints of 62 GiB at worst, 32 GiB if all finish; " in "\n".join(as_lines(facts))
    unknown = Paces({cell: Pace(epoch_s=1, setup_s=0)}, "as in old")
    assert summary(plan, Capacity(cpus=2, gpus=0), unknown)["disk"] is None


def test_no_driver_minds_a_file_that_it_cannot_remove(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweep = run(tmp_path, collecting=False)
    stopped = next(trial.id for trial in sweep.state.trials.values() if trial.status == "stopped")
    (tmp_path / "trials" / stopped / "last.pt").unlink()
    (tmp_path / "trials" / stopped / "last.pt").mkdir()
    Collection(sweep.plan, sweep.state, tmp_path)
    assert "last.pt cannot be removed" in caplog.text
    assert lasts(tmp_path) == finished(sweep.state) | {stopped}
