"""Sweeps of scripted trials that keep files, as trials do that train, and are kept at an address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripted import ScriptedReport, ScriptedTrial, plan_of

from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.collection import Collection
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.mirroring import upload
from segsweep.orchestrator.mirroring.mirror import mirrored
from segsweep.orchestrator.mirroring.places import working_storage
from segsweep.orchestrator.record.journal import Event, Journal, SweepCreated
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.space.source import parse
from segsweep.trainables.addresses import Address

SPACE = """
datasets: [{type: streets, name: day}]
models: [{architecture: unet, encoder: resnet18}]
trials: 5
epochs: 4
image_size: [48, 80]
scheduler: {type: asha, grace: 1, reduction_factor: 2}
"""
trained: list[tuple[str, int]] = []  # what every SavingTrial of a test trained, on whichever machine


class SavingTrial(ScriptedTrial):
    """Keeps files as a real one does, each holding no more than the epoch that it is of."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self._trial, self._folder = assignment.trial, assignment.folder
        self._folder.mkdir(parents=True, exist_ok=True)
        last = self._folder / "last.pt"
        self._saved = int(last.read_text()) if last.exists() else 0
        self._epoch = min(self._epoch, self._saved)

    def step(self) -> ScriptedReport:
        report = super().step()
        if report.epoch > self._saved:
            trained.append((self._trial, report.epoch))
            save(self._folder, report.epoch)
        return report


def save(trial: Path, epoch: int) -> None:
    for name in ("confusions.npz", "best.pt", "last.pt"):
        if name == "last.pt" and (trial / name).exists():
            (trial / name).replace(trial / "last.prev.pt")
        new = trial / f"{name}.tmp"
        new.write_text(str(epoch))
        new.replace(trial / name)


def began(storage: Address, name: str = "night-1") -> Path:
    """The folder here of a new sweep that is to be kept at `storage`."""
    folder = working_storage(storage) / name
    folder.mkdir(parents=True)
    spec = check(parse(SPACE, "space.yaml")).spec
    created = SweepCreated(
        sweep=name, spec=spec.model_dump(mode="json"), source=SPACE, provenance={}, tracking_uri="", experiment="x"
    )
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(created)
    return folder


def drive(folder: Path, *, listener: Callable[[Event], None] | None = None, mirroring: bool = True) -> list[str]:
    """Run the sweep in `folder` to its end as `launch` does, without MLflow. What was announced."""
    lines: list[str] = []
    with (
        mirrored(folder if mirroring else Path("nowhere"), lines.append) as kept,
        Journal(folder / "journal.jsonl", fsync=False) as journal,
    ):
        sweep = Sweep(plan_of(SPACE), journal)
        sweep.interrupted("its driver died", lost="driver")
        sweep.listen(Collection(sweep.plan, sweep.state, sweep.folder).on_event)
        if listener is not None:
            sweep.listen(listener)
        kept.start(sweep.halt)
        InProcess().run(sweep, SavingTrial)
    return lines


def results(folder: Path) -> dict[str, tuple[str, int, float | None]]:
    state = SweepState.load(folder / "journal.jsonl")
    return {id_: (trial.status, trial.epoch, trial.best) for id_, trial in state.trials.items()}


def kept_files(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.glob("trials/*/*") if path.name in upload.KEPT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
