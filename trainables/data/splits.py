"""Opening a dataset: its own splits, then folds and subset where its options ask for them, all in one place."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from segsweep.trainables.catalog import DATASETS
from segsweep.trainables.components import DataError, Dataset, Sample, Split
from segsweep.trainables.dataset_options import DatasetOptions, Folds, Subset


def open_dataset(type_: str, options: Mapping[str, JsonValue]) -> Dataset:
    """List (not read) the samples of a dataset as its options ask for. Raises DataError and UnknownComponentError.

    type_: its name in the catalogue.
    """
    component = DATASETS.get(type_)
    chosen = component.Options.model_validate(options)
    dataset = component.build(chosen)
    if not isinstance(chosen, DatasetOptions):  # a plug-in's, that does without
        return dataset
    if chosen.folds is not None:
        dataset = fold(dataset, chosen.folds)
    return dataset if chosen.subset is None else subset(dataset, chosen.subset)


def fold(dataset: Dataset, folds: Folds) -> Dataset:
    """The dataset with fold `folds.index` of train and val as val, and the others as train. Raises DataError."""
    pool = [*dataset.splits.get("train", ()), *dataset.splits.get("val", ())]
    _refuse_equal_ids(pool)
    keys = [sample.id if folds.by == "sample" else _group(sample) for sample in pool]
    sizes = Counter(keys)
    if len(sizes) < folds.count:
        what = "images" if folds.by == "sample" else f"groups ({', '.join(sorted(sizes))})"
        raise DataError(
            f"`folds`: train and val have {len(sizes)} {what}, too few for {folds.count} folds; "
            f"`count` can be at most {len(sizes)}"
        )
    held = _fold_keys(sizes, folds)
    train = [sample for sample, key in zip(pool, keys, strict=True) if key not in held]
    val = [sample for sample, key in zip(pool, keys, strict=True) if key in held]
    return replace(dataset, splits={**dataset.splits, "train": train, "val": val})


def subset(dataset: Dataset, wanted: Subset) -> Dataset:
    """The dataset with fewer samples in `wanted.splits`, in their old order. Raises DataError."""
    smaller = {split: _part(dataset, split, wanted) for split in wanted.splits}
    return replace(dataset, splits={**dataset.splits, **smaller})


def _part(dataset: Dataset, split: Split, wanted: Subset) -> Sequence[Sample]:
    samples = dataset.splits.get(split, ())
    if not samples:
        have = ", ".join(name for name, there in dataset.splits.items() if there) or "none"
        raise DataError(f"`subset`: there is no split '{split}' to take a part of; the dataset has {have}")
    if wanted.fraction is None:
        count = wanted.first or 0
        if count > len(samples):
            raise DataError(f"`subset`: {split} has {len(samples)} images, fewer than `first: {count}`")
        return samples[:count]
    count = max(1, round(wanted.fraction * len(samples)))
    if wanted.stratify is None:
        chosen = random.Random(wanted.seed).sample(range(len(samples)), count)
    else:
        from segsweep.trainables.data.presence import class_presence
        from segsweep.trainables.data.stratified import draw

        chosen = draw(class_presence(samples, len(dataset.card.classes)), count, wanted.seed)
    return [samples[index] for index in sorted(chosen)]


def _fold_keys(sizes: Mapping[str, int], folds: Folds) -> set[str]:
    """The keys of fold `folds.index`: the largest group first, each to the fold that has the fewest images so far."""
    keys = sorted(sizes)
    random.Random(folds.seed).shuffle(keys)
    filled = [0] * folds.count
    held: set[str] = set()
    for key in sorted(keys, key=lambda key: -sizes[key]):
        smallest = filled.index(min(filled))
        filled[smallest] += sizes[key]
        if smallest == folds.index:
            held.add(key)
    return held


def _group(sample: Sample) -> str:
    if not sample.group:
        raise DataError(
            f"`folds`: '{sample.id}' belongs to no group; the dataset knows none (folder takes `group:`). "
            "Where its images are independent, give `by: sample`"
        )
    return sample.group


def _refuse_equal_ids(pool: Sequence[Sample]) -> None:
    counts = Counter(sample.id for sample in pool)
    if twice := [id_ for id_, count in counts.items() if count > 1]:
        raise DataError(
            f"`folds`: the id '{twice[0]}' is there twice in train and val ({len(twice)} such ids), so a fold could "
            "hold one image to train and to validate; give the files names of their own"
        )
