"""How much memory a plan's trials take: measured once for every size of them, then remembered in the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.record.durable import replace_text
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.resources.capacity import visible_gpus
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.places import cache_folder, variables
from segsweep.trainables.training import footprints
from segsweep.trainables.training.footprints import Footprint

FOLDER = "memory"  # in the cache folder, one file for each measurement
DECIDES = {
    "dataset",
    "model",
    "loss",
    "optimizer",
    "augmentation",
    "batch_size",
    "image_size",
    "evaluation",
    "ema",
    "precision",
    "channels_last",
    "compile",
    "plugins",
}
"""Fields of a TrialConfig that memory depends on."""


def demanding(plan: SweepPlan) -> dict[Cell, list[TrialConfig]]:
    """The configurations of each cell that take most: largest batch and image, every choice of the model.

    Losses and optimizers vary one at a time. Several processes of a trial share its batches.
    """
    found: dict[Cell, list[TrialConfig]] = {}
    for cell, combinations in plan.cells.items():
        first = combinations[0]
        few = [first]
        for section in ("loss", "optimizer"):
            few += {
                getattr(c, section).name: c for c in combinations if _but(c, section) == _but(first, section)
            }.values()
        found[cell] = list({_identity(config): config for c in few for config in _largest(c)}.values())
    return found


def _but(combination: Combination, section: str) -> tuple[str, ...]:
    """What a combination is, but for one of its components."""
    sections = ("loss", "optimizer", "lr_schedule", "augmentation")
    return (*(getattr(combination, name).name for name in sections if name != section), str(combination.seed))


def _largest(combination: Combination) -> Iterator[TrialConfig]:
    choices = [path for path in combination.domains if path == "precision" or path.startswith("model.")]
    for fixed in ({}, *({path: value} for path in choices for value in combination.domains[path].samples())):
        config = _config(combination, fixed)
        team = combination.spec.resources.team
        yield config.model_copy(update={"batch_size": -(-config.batch_size // team)})


def _config(combination: Combination, fixed: Mapping[str, JsonValue]) -> TrialConfig:
    """With the largest batch and image, else published values or the middle of each domain."""
    sized = {path: combination.domains[path] for path in ("batch_size", "image_size") if path in combination.domains}
    largest: dict[str, JsonValue] = {path: max(domain.samples(), key=_extent) for path, domain in sized.items()}
    return combination.config("memory", combination.typical({**fixed, **largest}))


def _extent(value: Any) -> float:
    """Of a batch or an image."""
    return float(value[0] * value[1] if isinstance(value, list) else value)


def _identity(config: TrialConfig) -> str:
    return json.dumps(config.model_dump(mode="json", include=DECIDES), sort_keys=True)


def label(config: TrialConfig) -> str:
    """`segformer/mit_b3 at 512x1024 x 8`"""
    height, width = config.image_size
    return f"{config.model.name} at {height}x{width} x {config.batch_size}"


def measured(
    configs: Sequence[TrialConfig], *, cpus: int, gpus: float, announce: Announce = lambda _: None
) -> list[Footprint]:
    """Of each configuration, on this machine: what is known from earlier, else real training in a process of its own.

    gpus: 0, or the GPU is measured. Data that are not in the cache yet are decoded into it.
    """
    device = _device(gpus)
    files = [_file(config, device, cpus) for config in configs]
    missing = {file: config for file, config in zip(files, configs, strict=True) if _remembered(file) is None}
    found: dict[Path, Footprint] = {}
    for number, (file, footprint) in enumerate(_measured_now(missing, cpus, gpus), 1):
        announce(f"measured the memory of {label(missing[file])} ({number} of {len(missing)})")
        found[file] = footprint
        if not footprint.error:
            _remember(file, missing[file], device, footprint)
    return [found.get(file) or _remembered(file) or Footprint(error="its result was lost") for file in files]


def known(configs: Sequence[TrialConfig], *, cpus: int, gpus: float) -> list[Footprint]:
    """What earlier measurements on this machine found of the configurations; nothing unless all were measured."""
    device = _device(gpus)
    found = [_remembered(_file(config, device, cpus)) for config in configs]
    return [] if None in found else [footprint for footprint in found if footprint]


def _device(gpus: float) -> str:
    return ", ".join(sorted(set(visible_gpus()))) if gpus else "cpu"


def _measured_now(configs: Mapping[Path, TrialConfig], cpus: int, gpus: float) -> Iterator[tuple[Path, Footprint]]:
    if not configs:
        return
    request = {"configs": [config.model_dump(mode="json") for config in configs.values()], "cpus": cpus, "gpus": gpus}
    modules = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, **variables(), "PYTHONPATH": modules, "OMP_NUM_THREADS": str(cpus)}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", footprints.__name__],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # warnings of libraries, which the trials' own logs repeat
        text=True,
    ) as probe:
        assert probe.stdin is not None
        assert probe.stdout is not None
        with suppress(BrokenPipeError), probe.stdin:  # it died at once
            probe.stdin.write(json.dumps(request))
        answers = iter(probe.stdout)
        for file in configs:
            died = Footprint(error="the process that measures ended early")
            yield file, Footprint(*json.loads(answer)) if (answer := next(answers, "")) else died


def _file(config: TrialConfig, device: str, cpus: int) -> Path:
    what = f"{_identity(config)} {device} {cpus} CPUs torch {version('torch')}"  # threads and loaders have memory too
    return cache_folder() / FOLDER / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.json"


def _remembered(file: Path) -> Footprint | None:
    try:
        return Footprint(**json.loads(file.read_text(encoding="utf-8"))["footprint"])
    except (OSError, ValueError, KeyError, TypeError):  # missing, cut short, or of another version
        return None


def _remember(file: Path, config: TrialConfig, device: str, footprint: Footprint) -> None:
    """Whole or not at all. Where nothing can be written it is measured again next time."""
    record = {"of": label(config), "device": device, "torch": version("torch"), "footprint": footprint._asdict()}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps(record))
