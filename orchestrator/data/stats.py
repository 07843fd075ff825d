"""What `segsweep data stats` shows of a dataset, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from segsweep.orchestrator.checking.roots import stage
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.progress import Progress
from segsweep.orchestrator.space.spec import ComponentSpec
from segsweep.orchestrator.table import aligned
from segsweep.trainables.class_weights import Balance, WeightedOptions
from segsweep.trainables.components import DataError, Dataset, Split
from segsweep.trainables.data.splits import open_dataset
from segsweep.trainables.places import file_name
from segsweep.trainables.survey.share import percent

if TYPE_CHECKING:
    from segsweep.trainables.survey.statistics import SplitStatistics

CAP = WeightedOptions().weights_cap
SPLIT_COLUMNS = ("split", "images", "smallest", "median", "largest", "sizes", "void", "mean R G B", "std R G B")

SHOWN = 8  # absent classes that are named

Size = tuple[int, int]  # height, width


class SplitFacts(TypedDict):
    """One split. Lists of shares have one entry per class, in the order of `classes`."""

    images: int
    smallest: Size
    median: Size
    largest: Size
    distinct_sizes: int
    pixel_shares: list[float]  # of the labelled pixels
    image_shares: list[float]  # of the images, those that show the class
    void_share: float  # of all pixels
    mean: list[float]  # of R, G, B in 0..1
    std: list[float]


class ImbalanceFacts(TypedDict):
    """Of the train split."""

    most_frequent: str
    rarest: str  # of the classes that occur
    ratio: float
    effective_classes: float  # so many equally frequent classes would be as uneven
    absent: list[str]


class DatasetFacts(TypedDict):
    dataset: str
    type: str
    classes: list[str]
    splits: dict[Split, SplitFacts]
    imbalance: ImbalanceFacts | None  # None where train has no labelled pixel
    class_weights: dict[
        Balance, list[float]
    ]  # by method, in the order of `classes`; {} where train has no labelled pixel
    weights_cap: float
    pictures: list[str]


def open_all(datasets: Sequence[ComponentSpec]) -> list[Dataset]:
    """Their samples listed, nothing read. Raises InputError for all that cannot be."""
    opened, mistakes = [], []
    for dataset in datasets:
        try:
            stage(dataset)
            opened.append(open_dataset(dataset.type, dataset.options))
        except DataError as error:
            mistakes.append(Mistake(dataset.name, str(error)))
    InputError.raise_if(mistakes)
    return opened


def measured(dataset: ComponentSpec, opened: Dataset, folder: Path) -> DatasetFacts:
    """Read all images of a dataset, with a progress bar, and draw it into `folder`. Raises InputError."""
    from segsweep.trainables.survey.distribution_picture import draw_distribution
    from segsweep.trainables.survey.overlay_picture import draw_overlays
    from segsweep.trainables.survey.statistics import measure

    pictures = [folder / f"{file_name(dataset.name)}-{what}.png" for what in ("classes", "overlays")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Progress(f"{dataset.name}: {sum(map(len, opened.splits.values()))} images") as progress:
            splits = measure(opened, progress)
        draw_distribution(dataset.name, opened.card, splits, pictures[0])
        draw_overlays(dataset.name, opened, pictures[1])
    except DataError as error:
        raise InputError(Mistake(dataset.name, str(error))) from None
    except OSError as error:
        raise InputError(Mistake(str(folder), f"cannot be written ({error.strerror}); give --output DIR")) from None
    return _facts(dataset, opened.card.classes, splits, [str(path) for path in pictures])


def _facts(
    dataset: ComponentSpec, classes: Sequence[str], splits: Mapping[Split, SplitStatistics], pictures: Sequence[str]
) -> DatasetFacts:
    from segsweep.trainables.survey.statistics import suggested_weights

    train = splits.get("train")
    labelled = train if train is not None and train.labelled else None
    return {
        "dataset": dataset.name,
        "type": dataset.type,
        "classes": list(classes),
        "splits": {split: _split_facts(statistics) for split, statistics in splits.items()},
        "imbalance": _imbalance_facts(labelled, classes) if labelled else None,
        "class_weights": suggested_weights(labelled, CAP) if labelled else {},
        "weights_cap": CAP,
        "pictures": list(pictures),
    }


def _split_facts(statistics: SplitStatistics) -> SplitFacts:
    smallest, median, largest = statistics.size_range
    return {
        "images": statistics.images,
        "smallest": smallest,
        "median": median,
        "largest": largest,
        "distinct_sizes": len(statistics.sizes),
        "pixel_shares": statistics.pixel_shares,
        "image_shares": statistics.image_shares,
        "void_share": statistics.void_share,
        "mean": statistics.mean,
        "std": statistics.std,
    }


def _imbalance_facts(statistics: SplitStatistics, classes: Sequence[str]) -> ImbalanceFacts:
    from segsweep.trainables.survey.statistics import Imbalance

    imbalance = Imbalance.of(statistics)
    return {
        "most_frequent": classes[imbalance.most],
        "rarest": classes[imbalance.rarest],
        "ratio": imbalance.ratio,
        "effective_classes": imbalance.effective_classes,
        "absent": [classes[index] for index in imbalance.absent],
    }


def as_lines(found: DatasetFacts) -> Iterator[str]:
    """The splits, the classes in each of them, how uneven they are in train, and weights against it."""
    splits, classes = found["splits"], found["classes"]
    yield f"{found['dataset']}: {len(classes)} classes"
    yield from _indented([SPLIT_COLUMNS, *(_split_row(split, of) for split, of in splits.items())])
    yield "share of the labelled pixels (px), and of the images that show the class (img)"
    shares = [splits[split]["pixel_shares"] for split in splits] + [splits[split]["image_shares"] for split in splits]
    header = ("class", *(f"px {split}" for split in splits), *(f"img {split}" for split in splits))
    yield from _indented([header, *zip(classes, *(map(percent, column) for column in shares), strict=True)])
    if found["imbalance"] is None:
        yield "train has no labelled pixel, so there are no class weights to suggest"
        return
    yield _imbalance_line(found, found["imbalance"])
    yield f"class_weights of a loss, from train, none above {found['weights_cap']:g} times the lightest (weights_cap)"
    weights = found["class_weights"]
    columns = ([f"{weight:.3f}" for weight in column] for column in weights.values())
    yield from _indented([("class", *weights), *zip(classes, *columns, strict=True)])


def _indented(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    return (f"  {line}" for line in aligned(rows, range(1, len(rows[0]))))


def _split_row(split: Split, of: SplitFacts) -> tuple[str, ...]:
    sizes = (f"{width}x{height}" for height, width in (of["smallest"], of["median"], of["largest"]))
    colors = (" ".join(f"{channel:.3f}" for channel in of[key]) for key in ("mean", "std"))
    return split, str(of["images"]), *sizes, str(of["distinct_sizes"]), percent(of["void_share"]), *colors


def _imbalance_line(found: DatasetFacts, imbalance: ImbalanceFacts) -> str:
    absent, more = imbalance["absent"][:SHOWN], len(imbalance["absent"]) - SHOWN
    names = ", ".join([*absent, f"and {more} more"] if more > 0 else absent)
    times = f"{imbalance['ratio']:,.{0 if imbalance['ratio'] >= 100 else 1}f}"
    return (
        f"train: {imbalance['most_frequent']} is {times} times as frequent as {imbalance['rarest']}; "
        f"as uneven as {imbalance['effective_classes']:.1f} equal classes instead of {len(found['classes'])}"
        + (f"; absent: {names}" if names else "")
    )
