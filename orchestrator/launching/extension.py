"""More of a sweep that has run: trials, models, datasets, seeds, epochs, budget. What was done is not done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from segsweep.orchestrator.checking.reproduction import as_yaml, search_space
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.forecasting.summary import summary
from segsweep.orchestrator.launching.launch import Machinery, checked_here
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.record.journal import JOURNAL, Journal, SweepExtended
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.resources.capacity import local_capacity
from segsweep.orchestrator.space.source import Source
from segsweep.orchestrator.space.spec import CROSSING, SweepSpec
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.training.horizon import same_course

Wishes = Mapping[str, JsonValue]
"""Keys of a search space -> their new values; of the lists, what is added."""

ADDED = (*CROSSING, "seeds")


def extend(folder: Path, wishes: Wishes, machinery: Machinery, announce: Announce) -> SweepExtended:
    """Journal what the sweep in `folder` shall become. Raises InputError, with nothing written, for what cannot be."""
    before, created = recorded(folder)
    tree = search_space(before)
    InputError.raise_if(list(_no_extensions(before, wishes)))
    for key, value in wishes.items():
        tree[key] = [*_listed(tree.get(key), getattr(before, key)), *_listed(value, ())] if key in ADDED else value
    source = Source(f"extend {folder.name}", as_yaml(tree, []), tree, {})
    after, _ = checked_here(check(source), created.tracking_uri, machinery, announce)
    with Journal(folder / JOURNAL) as journal:
        event = _extension(before, after, SweepState.load(journal.path))
        journal.append(event)
    announce(f"{folder.name}: {event.change}{_of_old_trials(event)}")
    return event


def _listed(value: JsonValue, default: Sequence[Any]) -> list[JsonValue]:
    """A list as it is, another value as a list of one; nothing: the default."""
    if value is None:
        return list(default)
    return value if isinstance(value, list) else [value]


def _no_extensions(spec: SweepSpec, wishes: Wishes) -> Iterator[Mistake]:
    if not wishes:
        yield Mistake("extend", "needs at least one of --trials, --epochs, --models, --datasets, --seeds, --budget")
    for key in ("trials", "epochs"):
        value, now = wishes.get(key), getattr(spec, key)
        if isinstance(value, int) and value <= now:
            yield Mistake(f"--{key}", f"must be more than the {now} that the sweep has, or +N, not {value}")
    if spec.allocation == "adaptive" and wishes.keys() - {"budget"}:
        yield Mistake("extend", "adaptive allocation has shared out its trials for good; launch another sweep")
    if "epochs" in wishes and spec.scheduler.type == "hyperband":
        yield Mistake("--epochs", "hyperband's brackets follow from the epochs; launch another sweep")


def _extension(before: SweepSpec, after: SweepSpec, state: SweepState) -> SweepExtended:
    """What becomes of the trials that there are."""
    continues: list[str] = []
    anew: list[str] = []
    dropped: list[str] = []
    for trial in state.trials.values() if after.epochs > before.epochs else ():
        if trial.status == "superseded":
            continue
        if _goes_on(trial.config, after.epochs):
            continues.append(trial.id)
        elif trial.confirms or trial.status in ("stopped", "failed", "infeasible"):
            dropped.append(trial.id)
        else:
            anew.append(trial.id)
    return SweepExtended(
        spec=after.model_dump(mode="json"),
        change=", ".join(_changes(before, after)),
        plan=summary(SweepPlan.of(after), local_capacity()),
        continues=tuple(continues),
        anew=tuple(anew),
        dropped=tuple(dropped),
    )


def _goes_on(config: TrialConfig, epochs: int) -> bool:
    return same_course(config.lr_schedule, config.epochs, epochs)


def _changes(before: SweepSpec, after: SweepSpec) -> Iterator[str]:
    for key in ("trials", "epochs"):
        if getattr(before, key) != getattr(after, key):
            yield f"{key} {getattr(before, key)} -> {getattr(after, key)}"
    for key in CROSSING:
        known = {entry.name for entry in getattr(before, key)}
        if new := [entry.name for entry in getattr(after, key) if entry.name not in known]:
            yield f"{key} + {', '.join(new)}"
    if new := [str(seed) for seed in after.seeds if seed not in before.seeds]:
        yield f"seeds + {', '.join(new)}"
    if before.confirm != after.confirm:
        yield f"confirm {before.confirm or 'none'} -> {after.confirm or 'none'}"
    if before.budget != after.budget:
        yield f"budget {before.budget or 'none'} -> {after.budget or 'none'}"


def _of_old_trials(event: SweepExtended) -> str:
    parts = []
    if event.continues:
        parts.append(f"{len(event.continues)} trials can go on")
    if event.anew or event.dropped:
        why = "since their LR schedule ended with the old limit"
        parts.append(f"{len(event.anew)} are trained anew, {why}; {len(event.dropped)} were stopped and are not")
    return f" ({'; '.join(parts)})" if parts else ""
