"""What a trial looks like in MLflow: names, tags, parameters and points (docs/mlflow.md). No MLflow here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from segsweep.orchestrator.record.journal import AttemptEnded, EpochDone, SweepCreated, TrialFacts
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.space.spec import SETTINGS
from segsweep.trainables.catalog import (
    AUGMENTATIONS,
    DATASETS,
    LOSSES,
    LR_SCHEDULES,
    MODELS,
    OPTIMIZERS,
    Catalog,
    UnknownComponentError,
)
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.metric_names import is_class_iou

COMPONENTS: Mapping[str, Catalog[Any]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "lr_schedule": LR_SCHEDULES,
    "augmentation": AUGMENTATIONS,
}
RUN_STATUS = {
    "created": "SCHEDULED",
    "running": "RUNNING",
    "finished": "FINISHED",
    "paused": "RUNNING",
    "stopped": "FINISHED",  # the tag segsweep.status tells it from a finished one
    "failed": "FAILED",
    "infeasible": "FAILED",
    "interrupted": "KILLED",
    "superseded": "FINISHED",
}
KEY_LENGTH = 250
REVISION = "segsweep.revision"  # tag of a sweep's own run
PART_LENGTH = 5000  # characters of a long text in one tag; MLflow keeps 8,000


class Point(NamedTuple):
    """One metric value. Its time is the event's, so sending it twice leaves one point."""

    key: str
    value: float
    time_ms: int
    step: int


@lru_cache(maxsize=10_000)  # every epoch has the same names again
def metric_key(name: str) -> str:
    """MLflow's key for a metric; `val_iou/CLASS` with the class escaped, so that it can be told back.

    MLflow allows letters, digits and `_-. ` in a key, reads "/" as a path that must be normal, and keeps 250
    characters. Everything else becomes _xHEX_ (as in Office Open XML).
    """
    head, slash, tail = name.partition("/")
    key = _escaped(head) + slash + (_escaped(tail) or "_x_" if slash else "")
    return key if len(key) <= KEY_LENGTH else f"{key[: KEY_LENGTH - 13]}_{hash_of(key)}"


def metric_name(key: str) -> str:
    """The metric that `metric_key` made `key` of."""
    return re.sub(r"_x([0-9a-f]*)_", lambda m: chr(int(m[1], 16)) if m[1] else "", key)


def _escaped(text: str) -> str:
    text = re.sub(r"_(?=x)", "_x5f_", text)  # what looks like an escape
    return re.sub(r"[^\w\-. ]|^[. ]|[. ]$", lambda m: f"_x{ord(m[0]):x}_", text)


def hash_of(text: str) -> str:
    """12 hexadecimal digits."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sweep_uid(event: SweepCreated) -> str:
    """Tells sweeps of one name in one store apart; the same at every reading of the journal."""
    return hash_of(f"{event.sweep} {event.time} {event.source}")


class Revision(NamedTuple):
    """How much of a journal a store has. Readers that know the last one need not read everything again."""

    since: int  # the event by which a driver started or the sweep was extended: then any trial may have changed
    last: int  # event
    time_ms: int  # of the last event, by the driver's clock: trials that end from now on do so later

    def __str__(self) -> str:
        return f"{self.since} {self.last} {self.time_ms}"

    @classmethod
    def parse(cls, text: str) -> Revision | None:
        try:
            return cls(*map(int, text.split()))
        except (TypeError, ValueError):
            return None


def sweep_tags(event: SweepCreated) -> dict[str, str]:
    names = "version", "segsweep_commit", "git_commit", "data_fingerprint"
    known = {key: event.provenance.get(key) for key in names}
    return {
        "segsweep.kind": "sweep",
        "segsweep.sweep": event.sweep,
        "segsweep.sweep_uid": sweep_uid(event),
        **{f"segsweep.{key}": text(value) for key, value in known.items() if value is not None},
        **long_tags("segsweep.source", event.source),
    }


def sweep_params(event: SweepCreated) -> dict[str, str]:
    """Versions, hardware, command: the whole provenance by dotted path."""
    return {metric_key(path): text(value) for path, value in flat(event.provenance)}


def trial_params(config: TrialConfig) -> dict[str, str]:
    """The contract's parameters, then every further option by its dotted path; defaults filled in."""
    entries: dict[str, Entry] = {kind: getattr(config, kind) for kind in COMPONENTS}
    options = {kind: full_options(kind, entry) for kind, entry in entries.items()}
    optimizer = options["optimizer"]
    params: dict[str, JsonValue] = {kind: entry.name for kind, entry in entries.items()}
    params |= {"architecture": config.model.type, "encoder": encoder(config.model)}
    params |= {key: optimizer.pop(key) for key in ("lr", "weight_decay") if key in optimizer}
    params |= {key: getattr(config, key) for key in ("epochs", "seed", "patience", "steps_per_epoch", *SETTINGS)}
    params |= {"image_size": list(config.image_size), "objective": config.objective.metric}
    options["model"].pop("encoder", None)
    params |= {f"{kind}.type": entry.type for kind, entry in entries.items()}
    params |= {f"evaluation.{name}": value for name, value in config.evaluation.model_dump(mode="json").items()}
    further = {f"{kind}.{path}": value for kind in options for path, value in flat(options[kind])}
    return {metric_key(key): text(value) for key, value in (params | further).items() if value is not None}


def full_options(kind: str, entry: Entry) -> dict[str, JsonValue]:
    """The entry's options with the component's defaults; as they are where the component is not installed."""
    try:
        options: dict[str, JsonValue] = (
            COMPONENTS[kind].get(entry.type).Options(**entry.options).model_dump(mode="json")
        )
    except (UnknownComponentError, ImportError, ValidationError):
        return dict(entry.options)
    return options


def encoder(model: Entry) -> str:
    """The component's own word for it; for one that is not installed, the second half of the model's name."""
    try:
        component = MODELS.get(model.type)
        return component.encoder(component.Options(**model.options))
    except (UnknownComponentError, ImportError, ValidationError):
        return str(model.options.get("encoder") or model.name.partition("/")[2])


def trial_tags(trial: TrialState, created: SweepCreated) -> dict[str, str]:
    """What never changes: who it is, copies to filter by, and the configuration itself."""
    config = trial.config
    return {
        "segsweep.kind": "confirm" if trial.confirms else "trial",
        **({"segsweep.confirms": trial.confirms} if trial.confirms else {}),
        "segsweep.sweep": created.sweep,
        "segsweep.sweep_uid": sweep_uid(created),
        "segsweep.trial_id": config.trial_id,
        "segsweep.dataset": config.dataset.name,
        "segsweep.model": config.model.name,
        "segsweep.architecture": config.model.type,
        "segsweep.encoder": encoder(config.model),
        "segsweep.objective": f"{config.objective.mode} {config.objective.metric}",
        "segsweep.allocation": str(created.spec.get("allocation", "even")),
        **long_tags("segsweep.config", config.model_dump_json()),
    }


def long_tags(key: str, whole: str) -> dict[str, str]:
    """A text in as many tags as it takes: KEY, KEY.1, KEY.2 ..."""
    parts = [whole[i : i + PART_LENGTH] for i in range(0, len(whole), PART_LENGTH)] or [""]
    return {f"{key}.{i}" if i else key: part for i, part in enumerate(parts)}


def long_text(key: str, tags: Mapping[str, str]) -> str | None:
    """The text that `long_tags` took apart; None if there is none."""
    if key not in tags:
        return None
    parts, i = [tags[key]], 1
    while f"{key}.{i}" in tags:
        parts.append(tags[f"{key}.{i}"])
        i += 1
    return "".join(parts)


def status_tags(trial: TrialState) -> dict[str, str]:
    """How it stands now. Empty values take back what an earlier attempt said."""
    stop = trial.stop
    return {
        "segsweep.status": trial.status,
        "segsweep.stop_reason": trial.reason,
        "segsweep.stop_rung": str(stop.rung) if stop else "",
        "segsweep.stop_unit": stop.unit if stop else "",
        "segsweep.stop_value": repr(stop.value) if stop and stop.value is not None else "",
        "segsweep.stop_cutoff": repr(stop.cutoff) if stop else "",
        "segsweep.stop_rank": f"{stop.rank} of {stop.of}" if stop else "",
        "segsweep.attempts": str(trial.attempt),
        **{f"segsweep.{key}": value for key, value in trial.facts.items() if isinstance(value, str)},
    }


def epoch_points(event: EpochDone) -> Iterator[Point]:
    """The epoch's metrics; nothing for one that was trained again. A class without pixels has no point."""
    if event.redone:
        return
    for name, value in event.metrics.items():
        if value is not None or not is_class_iou(name):
            yield Point(metric_key(name), float("nan") if value is None else value, milliseconds(event), event.epoch)


def fact_points(event: TrialFacts) -> Iterator[Point]:
    for name, value in event.facts.items():
        if not isinstance(value, str):
            yield Point(metric_key(name), value, milliseconds(event), 0)


def end_points(trial: TrialState, event: AttemptEnded) -> Iterator[Point]:
    """Cost, and every validation metric at the best epoch of the objective (not each at its own best)."""
    values: dict[str, float | None] = cost(trial)
    if trial.best_epoch is not None:
        values["best_epoch"] = trial.best_epoch
        at_best = trial.metrics[trial.best_epoch - 1]
        scores = {name for name in at_best if name.startswith("val_") and "/" not in name}
        values |= {f"best_{name}": at_best.get(name) for name in sorted(scores | {trial.config.objective.metric})}
    for name, value in values.items():
        if value is not None:
            yield Point(metric_key(name), value, milliseconds(event), trial.epoch)


def best_point(trial: TrialState, event: AttemptEnded, number: int) -> Point:
    """Of the sweep's own run: the trial is the best so far on its dataset, and of that number in the sweep."""
    name = f"best_{trial.config.objective.metric}/{trial.cell.dataset}"
    return Point(metric_key(name), trial.best or 0.0, milliseconds(event), number)


def cost(trial: TrialState) -> dict[str, float | None]:
    """gpu_s or cpu_s: busy seconds times the share of devices that the trial held (facts `gpus`, `cpus`)."""
    share = trial.facts.get("gpus" if trial.on_gpu else "cpus", 1.0)
    return {"gpu_s" if trial.on_gpu else "cpu_s": trial.seconds * (share if not isinstance(share, str) else 1.0)}


def milliseconds(event: EpochDone | TrialFacts | AttemptEnded) -> int:
    return int(event.time * 1000)


def flat(tree: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Leaves by dotted path; a list is a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def text(value: JsonValue) -> str:
    """As in the YAML: plain strings bare, everything else in JSON's notation."""
    return value if isinstance(value, str) else json.dumps(value)
