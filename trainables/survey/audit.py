"""Looking through a whole dataset before a sweep spends hours on it: every file read, every split compared.

Images are looked at in parallel and let go; what stays of each is a fingerprint of 600 bytes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from pydantic import JsonValue

from segsweep.trainables.components import SPLITS, DataError, Dataset, Sample, Split
from segsweep.trainables.data.class_counts import check_labelled
from segsweep.trainables.data.splits import open_dataset
from segsweep.trainables.data.workers import pixels_of, results, worthwhile
from segsweep.trainables.progress import Progress
from segsweep.trainables.survey.findings import Finding, Findings
from segsweep.trainables.survey.inspection import Seen, Task, inspect, name_of
from segsweep.trainables.survey.near_duplicates import SAME, SIDE, Match, matches

IMAGES_A_TASK = 32
TOGETHER = (
    "Keep what belongs together, such as neighbouring frames, in one split: by `group:`, where the dataset takes it, "
    "and `folds: {count: 5, index: 0, by: group}`"
)
NEEDED: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True)
class Audit:
    """What a look through one dataset found."""

    images: Mapping[Split, int]  # empty if the dataset cannot be listed
    findings: Findings


def audit(type_: str, options: Mapping[str, JsonValue], most: int | None, progress: Progress) -> Audit:
    """Check everything that can be checked without training.

    type_: the dataset's name in the catalogue; most: how many findings of a kind are kept, None for all;
    progress: told (images done, images in all). Raises DataError only if a process that reads is killed.
    """
    findings = Findings(most)
    try:
        dataset = open_dataset(type_, options)
    except DataError as error:
        for message in error.each:
            findings.add(Finding("fault", error.kind, message))
        return Audit({}, findings)
    look = _Look(dataset)
    for found in (
        _of_splits(dataset),
        _of_groups(dataset),
        look.of_images(progress),
        look.of_classes(),
        look.of_copies(),
    ):
        for finding in found:
            findings.add(finding)
    return Audit({split: len(samples) for split, samples in dataset.splits.items()}, findings)


def _of_splits(dataset: Dataset) -> Iterator[Finding]:
    for split in SPLITS:
        if split in dataset.splits and not dataset.splits[split]:
            yield Finding("fault", "empty split", f"{split}: has no images; add some or take the split away", split)
        elif split in NEEDED and split not in dataset.splits:
            there = ", ".join(dataset.splits) or "none"
            message = f"no {split} split, so no sweep can be launched on it; the dataset has {there}. Add it"
            yield Finding("warning", "no such split", message, split)


def _of_groups(dataset: Dataset) -> Iterator[Finding]:
    """Groups that lie in several splits."""
    sizes = {split: Counter(one.group for one in samples if one.group) for split, samples in dataset.splits.items()}
    pool = sizes.get("train", Counter()) | sizes.get("val", Counter())
    folds = f"`folds: {{count: {min(5, len(pool))}, index: 0, by: group}}` cuts train and val anew with whole groups"
    for group in sorted({group for counts in sizes.values() for group in counts}):
        have = {split: counts[group] for split, counts in sizes.items() if group in counts}
        if len(have) > 1:
            where = " and ".join(f"{split} ({count} images)" for split, count in have.items())
            remedies = [folds] * (len(pool) > 1 and {*NEEDED} <= {*have})
            remedies += ["its test images are to be taken out, or counted as known"] * ("test" in have)
            yield Finding(
                "warning",
                "group in several splits",
                f"group '{group}' is in {where}. Images of one group look alike, such as neighbouring frames of a "
                f"film, so scores come out too good: {'; '.join(remedies) or 'keep it in one of them'}",
            )


class _Look:
    """The images of all splits, numbered one after the other, and what is remembered of them."""

    def __init__(self, dataset: Dataset) -> None:
        import numpy as np

        self._samples: Mapping[Split, Sequence[Sample]] = {split: dataset.splits.get(split, ()) for split in SPLITS}
        self._classes = dataset.card.classes
        sizes = [len(samples) for samples in self._samples.values()]
        self._starts = dict(zip(SPLITS, itertools.accumulate(sizes, initial=0), strict=False))
        self._splits = np.repeat(np.arange(len(SPLITS), dtype=np.int8), sizes)
        self._counts = {split: np.zeros(len(self._classes), np.int64) for split in SPLITS}
        self._readable = np.zeros(sum(sizes), np.bool_)
        self._pixels = np.zeros(sum(sizes), np.uint64)
        self._details = np.zeros((sum(sizes), SIDE * SIDE), np.int8)

    def of_images(self, progress: Progress) -> Iterator[Finding]:
        """What is wrong with single images. Everything else needs this to be gone through first."""
        everything = [sample for samples in self._samples.values() for sample in samples]
        tasks = [task for split in SPLITS for task in self._tasks(split)]
        done = 0
        with closing(results(inspect, tasks, worthwhile(pixels_of(everything), len(tasks)))) as answers:
            for seen in answers:
                self._remember(seen)
                yield from seen.findings
                done += len(seen.readable)
                progress(done, len(everything))

    def _tasks(self, split: Split) -> Iterator[Task]:
        samples, start = self._samples[split], self._starts[split]
        for first in range(0, len(samples), IMAGES_A_TASK):
            yield Task(split, start + first, samples[first : first + IMAGES_A_TASK], len(self._classes))

    def _remember(self, seen: Seen) -> None:
        numbers = slice(seen.first, seen.first + len(seen.readable))
        self._counts[seen.split] += seen.counts
        self._readable[numbers], self._pixels[numbers] = seen.readable, seen.pixels
        self._details[numbers] = seen.details

    def of_classes(self) -> Iterator[Finding]:
        """Splits and classes without a labelled pixel."""
        labelled: list[Split] = []
        for split, counts in self._counts.items():
            try:
                if self._samples[split] and (counts.any() or self._all_readable(split)):  # else they say why
                    check_labelled(split, int(counts.sum()))
                    labelled.append(split)
            except DataError as error:
                yield Finding("fault", error.kind, str(error), split)
        for index, name in enumerate(self._classes):
            if without := [split for split in labelled if not self._counts[split][index]]:
                unscored = ", ".join(split for split in without if split != "train")
                effects = ["cannot be learned"] * ("train" in without)
                effects += [f"has no score in {unscored}"] * bool(unscored)
                message = f"class {index} '{name}' has no pixel in {', '.join(without)}: it {' and '.join(effects)}"
                yield Finding("warning", "class missing", message, place=index)

    def _all_readable(self, split: Split) -> bool:
        start = self._starts[split]
        return bool(self._readable[start : start + len(self._samples[split])].all())

    def of_copies(self) -> Iterator[Finding]:
        """Images that are there more than once, or almost."""
        import numpy as np

        for match in matches(np.flatnonzero(self._readable), self._pixels, self._details, self._splits):
            yield from self._copy(match)

    def _copy(self, match: Match) -> Iterator[Finding]:
        (split, sample), (other, earlier) = self._numbered(match.image), self._numbered(match.earlier)
        one, two, same = name_of(sample), name_of(earlier), match.likeness >= SAME
        copied = self._pixels[match.image] == self._pixels[match.earlier]
        how = "pixel for pixel" if copied else f"saved or scaled anew (likeness {match.likeness:.4f})"
        about = (split, sample.id, match.image)
        if same and not self._details[match.image].any():
            message = f"{one} ({split}): as blank as {two} ({other}), {how}. Take it out if nothing is to be seen there"
            yield Finding("warning", "blank image", message, *about)
        elif same and split == other:
            message = (
                f"{one}: the same picture as {two}, {how}. Both are in {split}, where it counts twice; take one out"
            )
            yield Finding("warning", "duplicate", message, *about)
        elif same:
            message = (
                f"{one} ({split}): the same picture as {two} ({other}), {how}. Scores on {split} would be too good"
            )
            yield Finding("fault", "leak", f"{message}; take one of them out", *about)
        elif split != other:
            message = f"{one} ({split}): almost the same as {two} ({other}), likeness {match.likeness:.3f}. {TOGETHER}"
            yield Finding("warning", "near-duplicate", message, *about)

    def _numbered(self, number: int) -> tuple[Split, Sample]:
        split = SPLITS[self._splits[number]]
        return split, self._samples[split][number - self._starts[split]]
