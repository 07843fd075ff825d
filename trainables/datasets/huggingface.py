"""A Hugging Face dataset: a column of images and a column of masks, from a local folder or from the hub.

    {type: huggingface, root: my_dataset, label: annotation}                  saved by save_to_disk, or files
    {type: huggingface, repo: OWNER/NAME, revision: v1, label: annotation, classes: [...]}

Needs the package `datasets` (`pip install 'segsweep[huggingface]'`). Rows are read one by one as they are stored, never
mapped or copied. Masks are images of class values (mode L, P or 16 bits), nested lists of them, or one channel of RGB
images: `label_channel: 0` reads the semantic classes of scene_parse_150's instance maps. Without `classes`, names come
from id2label.json below `root`, else from the ClassLabel in the label column of a saved dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from segsweep.trainables.addresses import Address, Root
from segsweep.trainables.components import SPLITS, DataError, Dataset, DatasetCard, Pair, Sample, Split
from segsweep.trainables.datasets._classes import read_classes, saved_names
from segsweep.trainables.datasets._files import (
    MaskCodes,
    existing_root,
    file_below,
    raw_mask,
    resolve_root,
    rgb,
    to_label,
)
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.datasets._values import ValueOptions, value_codes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Table = Any  # a datasets.Dataset; the package has no types that mypy could follow
USUAL_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("validation", "val", "valid"),
    "test": ("test",),
}
LABELS = "id2label.json"


class Options(ValueOptions):
    """Where the rows are, which columns count, and what the values in the masks mean."""

    root: str | None = None  # a folder of save_to_disk, or of files; below $SEGSWEEP_DATA, else the current folder
    repo: str | None = None  # on the hub, or in the cache that the hub's files are kept in
    revision: str | None = None  # of the repo: a tag or a commit, so that the data stay what they are
    config: str | None = None  # which of a repo's configurations
    image: str = "image"  # the column
    label: str = "label"  # the column
    label_channel: Annotated[int, Field(ge=0, le=2)] | None = None  # of RGB masks: 0 is red
    group: str | None = None  # the column that says who a row belongs with
    split_names: dict[Split, str] = {}  # by default train, validation (or val, valid) and test
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | str | None = None  # names, or a file with them

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.root is None) == (self.repo is None):
            raise ValueError("needs either `root`, a folder, or `repo`, a name on the Hugging Face hub")
        if self.repo is None and (self.revision or self.config):
            raise ValueError("`revision` and `config` go with `repo`; a folder has neither")
        return self


def root(options: Options) -> Root | None:
    return None if options.root is None else resolve_root(options.root)


def describe(options: Options) -> DatasetCard:
    """Classes from the options or from a file; no row is read and nothing is fetched. Raises DataError."""
    codes = _codes(options)
    return DatasetCard(codes.classes, palette(len(codes.classes)), values=codes.values)


def build(options: Options) -> Dataset:
    """A sample for each row. Raises DataError."""
    _tables.cache_clear()  # what was saved anew since is looked at anew
    codes, tables = _codes(options), _tables(options.model_dump_json())
    found: dict[Split, list[Sample]] = {}
    for split in SPLITS:
        wanted = options.split_names.get(split)
        name = wanted or next((usual for usual in USUAL_NAMES[split] if usual in tables), None)
        if name is not None:
            found[split] = _samples(options, codes, tables, split, name)
    if not found:
        raise DataError(f"{_place(options)}: has the splits {', '.join(tables)}; `split_names` says which is which")
    return Dataset(describe(options), found)


def _samples(options: Options, codes: MaskCodes, tables: Mapping[str, Table], split: Split, name: str) -> list[Sample]:
    if name not in tables:
        raise DataError(f"{_place(options)}: has no split '{name}'; it has {', '.join(tables)}")
    table = tables[name]
    for column in filter(None, (options.image, options.label, options.group)):
        if column not in table.column_names:
            have = ", ".join(table.column_names)
            raise DataError(f"{_place(options)}: {name} has no column '{column}'; its columns are {have}")
    how = f"{codes.digest} {options.image} {options.label} {options.label_channel}"
    groups = table[options.group] if options.group else ()
    return [
        Sample(
            f"{split}/{index:06}",
            f"{table._fingerprint} {index} {how}",
            partial(_read, options.model_dump_json(), codes, name, index),
            str(groups[index]) if options.group else "",
        )
        for index in range(len(table))
    ]


def _read(options_json: str, codes: MaskCodes, name: str, index: int) -> Pair:
    """One row. Options travel as text, so that a sample is small to send and every process opens the tables once."""
    options = Options.model_validate_json(options_json)
    place = f"{_place(options)}: {name}[{index}]"
    try:
        row = _tables(options_json)[name].select_columns([options.image, options.label])[index]  # decodes no other
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{place}: cannot be read ({error}). Replace the row or take it out", "unreadable") from error
    if row[options.image] is None or row[options.label] is None:
        raise DataError(f"{place}: has no {options.image if row[options.image] is None else options.label}")
    if not hasattr(row[options.image], "getexif"):
        kind = type(row[options.image]).__name__
        raise DataError(f"{place}: {options.image} is no column of images but of {kind}; `image` names another")
    image = rgb(row[options.image], place)
    label = to_label(_raw(row[options.label], options, place), codes, place)
    if image.shape[:2] != label.shape:
        sizes = f"the mask is {label.shape} but its image is {image.shape[:2]} (height, width)"
        raise DataError(f"{place}: {sizes}", "sizes")
    return Pair(image, label)


def _raw(label: Any, options: Options, place: str) -> npt.NDArray[np.int64]:
    import numpy as np
    from PIL.Image import Image

    if options.label_channel is not None:
        array = np.asarray(label)
        if array.ndim != 3:
            raise DataError(f"{place}: `label_channel` is for RGB masks, this one has one channel; leave it out")
        return array[..., options.label_channel].astype(np.int64)
    if isinstance(label, Image):
        if label.mode == "RGB":
            raise DataError(f"{place}: the mask is RGB; `label_channel: 0` reads the classes from the red channel")
        return raw_mask(label, MaskCodes((), ()), place)
    array = np.asarray(label)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise DataError(f"{place}: {options.label} is no mask (H, W) of whole numbers, but {array.shape} {array.dtype}")
    return array.astype(np.int64)


@lru_cache(maxsize=8)
def _tables(options_json: str) -> Mapping[str, Table]:
    """The splits by the names that they have there. Raises DataError."""
    options = Options.model_validate_json(options_json)
    try:
        import datasets
    except ImportError:
        raise DataError("the dataset type huggingface needs a package: pip install 'segsweep[huggingface]'") from None
    folder = None if options.root is None else existing_root(options.root)
    try:
        if folder is None:
            found = datasets.load_dataset(options.repo, options.config, revision=options.revision)
        elif (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(str(folder))
    except Exception as error:  # the hub, the network and each file format fail in their own ways
        raise DataError(_not_loaded(options, error)) from error
    tables: Mapping[str, Table] = found if isinstance(found, dict) else {"train": found}
    return tables


def _not_loaded(options: Options, error: Exception) -> str:
    why = f"{_place(options)}: cannot be loaded ({type(error).__name__}: {error})."
    if options.root is not None:
        return (
            f"{why} A folder holds what save_to_disk wrote, or files that load_dataset reads (parquet, an image folder)"
        )
    return (
        f"{why} Without network, load it where there is one: load_dataset('{options.repo}').save_to_disk('FOLDER'), "
        "bring FOLDER here and give `root: FOLDER` instead of `repo`"
    )


def _place(options: Options) -> str:
    return f"hub dataset {options.repo}" if options.root is None else str(resolve_root(options.root))


def _codes(options: Options) -> MaskCodes:
    return value_codes(options, _names(options))


def _names(options: Options) -> tuple[str, ...]:
    if isinstance(options.classes, tuple):
        return options.classes
    if options.classes is not None:
        return read_classes(file_below(options.root or "", options.classes)).names
    if options.root is not None:
        if isinstance(resolve_root(options.root), Address):  # they may be anywhere among its gigabytes
            raise DataError(f"{options.root}: give `classes:` as well, names or a file below, where root is an address")
        folder = existing_root(options.root)
        if (folder / LABELS).is_file():
            return read_classes(folder / LABELS).names
        if names := saved_names(folder, options.label):
            return names
    raise DataError(
        f"{_place(options)}: no names of classes. Give `classes: [...]`, or `classes: FILE` with a file like {LABELS}: "
        '{"0": "wall", "1": "floor", ...}'
    )
