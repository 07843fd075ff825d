"""Names of classes from a file of the user's: a list, `{"names": [...]}`, or the `id2label.json` of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segsweep.trainables.components import VOID, DataError

Raw = Annotated[int, Field(ge=0, le=65535)]  # a value in a mask file of 8 or 16 bits


class ClassFile(BaseModel):
    """classes.json; other keys are the owner's business."""

    model_config = ConfigDict(frozen=True)
    names: Annotated[tuple[str, ...], Field(min_length=2)]
    ignore_index: Raw | None = None


def read_classes(path: Path) -> ClassFile:
    """A .txt has a name a line; a .json the names, or a mapping from "0", "1" ... to them. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: {getattr(error, 'strerror', None) or error}. "
            'Write {"names": [...]} there, or give `classes: [...]`'
        ) from None
    if path.suffix == ".txt":
        return ClassFile.model_construct(names=tuple(line.strip() for line in text.splitlines() if line.strip()))
    try:
        by_number = _numbered(path, text)
        return ClassFile(names=by_number) if by_number else ClassFile.model_validate_json(text)
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise DataError(f'{path}: {why}. Write {{"names": ["background", ...], "ignore_index": 255 or null}}') from None


def saved_names(folder: Path, column: str) -> tuple[str, ...]:
    """The ClassLabel names in a column of a dataset that Hugging Face's save_to_disk wrote; () where it has none."""
    for info in sorted(folder.glob("**/dataset_info.json")):
        features = (json.loads(info.read_text(encoding="utf-8")).get("features") or {}).get(column)
        while isinstance(features, dict):
            if features.get("_type") == "ClassLabel":
                return tuple(features["names"])
            features = features.get("feature")
    return ()


def check_names(names: Sequence[str]) -> None:
    """Raises DataError for too few, too many or equal names."""
    if not 2 <= len(names) <= VOID:
        raise DataError(f"`classes` are {len(names)}, but must be 2..{VOID}; the background counts, void does not")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"class {twice[0]!r} is named twice; every class needs a name of its own")


def _numbered(path: Path, text: str) -> tuple[str, ...]:
    """The names of `{"0": "wall", "1": "floor"}` in the order of the numbers; () for any other file."""
    try:
        read = json.loads(text)
    except ValueError:
        return ()  # pydantic says what is wrong with it
    if not isinstance(read, dict) or not read or not all(key.isdecimal() for key in read):
        return ()
    if sorted(map(int, read)) != list(range(len(read))):
        raise DataError(f"{path}: {len(read)} labels have to be numbered 0..{len(read) - 1} without gaps")
    return tuple(str(read[key]) for key in sorted(read, key=int))
