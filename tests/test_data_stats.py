"""segsweep data stats: what it counts, worked out by hand, and what its pictures show."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from segsweep.orchestrator.cli import cli, main
from segsweep.orchestrator.errors import InputError
from segsweep.trainables.components import VOID, Dataset, DatasetCard, Pair, Sample
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.datasets import streets
from segsweep.trainables.datasets._palette import palette
from segsweep.trainables.survey.distribution_picture import draw_distribution
from segsweep.trainables.survey.overlay_picture import GAP, OPACITY, draw_overlays, overlay, side_by_side, spread
from segsweep.trainables.survey.share import percent
from segsweep.trainables.survey.statistics import Imbalance, SplitStatistics, measure, suggested_weights
from segsweep.trainables.training.experiment import build

CLASSES = ("left", "right", "never")
ORANGE, BLUE = (255, 0, 51), (0, 0, 51)

TRAIN = {"a": ([[0, 0], [0, 1]], ORANGE), "b": ([[0, 1, 255, 255, 255, 255]], BLUE)}
VAL = {"c": ([[1]], BLUE)}


def write(folder: Path, splits: Mapping[str, Mapping[str, tuple[list[list[int]], tuple[int, int, int]]]]) -> Path:
    """A dataset of type folder; images of one colour each."""
    for part in ("images", "masks", "splits"):
        (folder / part).mkdir(parents=True)
    (folder / "classes.json").write_text(json.dumps({"names": CLASSES, "ignore_index": 255}))
    for split, samples in splits.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(samples))
        for name, (rows, color) in samples.items():
            mask = np.array(rows, np.uint8)
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
            Image.fromarray(np.full((*mask.shape, 3), color, np.uint8)).save(folder / "images" / f"{name}.png")
    return folder


def write_space(folder: Path) -> Path:
    """A search space of two datasets, tiny and other."""
    write(folder / "tiny", {"train": TRAIN, "val": VAL})
    write(folder / "other", {"train": VAL, "val": TRAIN})
    file = folder / "space.yaml"
    file.write_text(
        f"""
datasets:
  - {{type: folder, name: tiny, root: {json.dumps(str(folder / "tiny"))}}}
  - {{type: folder, name: other, root: {json.dumps(str(folder / "other"))}}}
models: [unet]
trials: 1
epochs: 1
image_size: [32, 32]
"""
    )
    return file


def run(file: Path, *arguments: str) -> Result:
    """Pictures go to pictures/ beside the file."""
    command = ["data", "stats", str(file), "-o", str(file.parent / "pictures"), *arguments]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


def datasets(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["datasets"]
    return found


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return write_space(tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    (found,) = datasets(run(write_space(tmp_path_factory.mktemp("tiny")), "--json", "--dataset", "tiny"))
    return found


def test_json_says_what_is_counted_by_hand(tiny: dict[str, Any]) -> None:
    assert tiny["classes"] == [*CLASSES]
    train, val = tiny["splits"]["train"], tiny["splits"]["val"]
    assert (train["images"], train["distinct_sizes"], val["images"]) == (2, 2, 1)
    assert (train["smallest"], train["median"], train["largest"]) == ([2, 2], [2, 2], [1, 6])
    assert train["pixel_shares"] == pytest.approx([4 / 6, 2 / 6, 0])
    assert train["image_shares"] == [1, 1, 0]
    assert train["void_share"] == pytest.approx(4 / 10)
    assert train["mean"] == pytest.approx([0.4, 0, 0.2])  # 4 of 10 pixels have R = 255, all of them B = 51
    assert train["std"] == pytest.approx([math.sqrt(0.4 * 0.6), 0, 0])
    assert (val["pixel_shares"], val["image_shares"], val["void_share"]) == ([0, 1, 0], [0, 1, 0], 0)


def test_class_weights_are_those_of_every_method_capped(tiny: dict[str, Any]) -> None:
    """Shares 2/3 and 1/3: raw weights 1 : sqrt 2 and 1 : 2, the class that never occurs at the cap of 10."""
    weights, cap = tiny["class_weights"], tiny["weights_cap"]
    assert cap == 10
    assert set(weights) == {"inverse_sqrt", "median_frequency", "enet", "effective_number"}
    lightest = 1 / (2 / 3 + math.sqrt(2) / 3)  # a labelled pixel weighs 1 on average
    assert weights["inverse_sqrt"] == pytest.approx([lightest, math.sqrt(2) * lightest, 10 * lightest])
    assert weights["median_frequency"] == pytest.approx([0.75, 1.5, 7.5])


def test_imbalance_is_the_ratio_of_the_shares_and_the_number_of_equal_classes(tiny: dict[str, Any]) -> None:
    entropy = 2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3)
    assert tiny["imbalance"] == {
        "most_frequent": "left",
        "rarest": "right",
        "ratio": pytest.approx(2),
        "effective_classes": pytest.approx(math.exp(entropy)),
        "absent": ["never"],
    }


def counted(
    *class_pixels: int, sizes: Mapping[tuple[int, int], int] = MappingProxyType({(4, 7): 1})
) -> SplitStatistics:
    counts = np.array(class_pixels, np.int64)
    return SplitStatistics(Counter(sizes), counts, (counts > 0).astype(np.int64), np.zeros(3), np.zeros(3))


def test_equal_classes_count_in_full() -> None:
    imbalance = Imbalance.of(counted(7, 7, 7, 7))
    assert (imbalance.ratio, imbalance.effective_classes) == (1, pytest.approx(4))


def test_median_size_is_that_of_the_image_in_the_middle() -> None:
    assert counted(sizes={(10, 10): 1, (1, 1): 2, (5, 4): 1}).size_range == ((1, 1), (1, 1), (10, 10))
    assert counted(sizes={(10, 10): 1, (1, 1): 2, (5, 4): 2}).size_range == ((1, 1), (5, 4), (10, 10))


def test_a_split_that_is_void_everywhere_has_shares_of_zero() -> None:
    void = counted(0, 0)
    assert (void.pixel_shares, void.void_share) == ([0, 0], 1)


def test_a_loss_gets_the_weights_that_are_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    options = {"train": 6, "val": 2, "test": 1, "size": [48, 64]}
    config = TrialConfig(
        trial_id="001",
        dataset=Entry(type="streets", name="streets", options=options),
        model=Entry(type="linknet", name="linknet", options={"encoder": "tu-mobilenetv3_small_050"}),
        loss=Entry(type="cross_entropy", name="cross_entropy", options={"class_weights": "inverse_sqrt"}),
        optimizer=Entry(type="adamw", name="adamw", options={"lr": 1e-3, "weight_decay": 0.01}),
        lr_schedule=Entry(type="poly", name="poly"),
        augmentation=Entry(type="none", name="none"),
        epochs=1,
        batch_size=2,
        image_size=(32, 32),  # half of what is counted
        seed=0,
    )
    experiment = build(config, torch.device("cpu"))
    (weights,) = [buffer for buffer in experiment.learner.loss.buffers() if buffer.shape == (8,)]
    train = measure(streets.build(streets.Options.model_validate(options)))["train"]
    assert train.class_pixels.tolist() == experiment.train.class_counts.tolist()
    assert weights.tolist() == pytest.approx(suggested_weights(train, cap=10)["inverse_sqrt"])


def test_processes_change_nothing_and_progress_reaches_the_end() -> None:
    data = streets.build(streets.Options(train=40, val=3, test=2, size=(48, 64)))
    told: list[tuple[int, int]] = []
    alone, together = measure(data), measure(data, lambda *images: told.append(images), processes=2)
    assert [*alone] == [*together] == ["train", "val", "test"]
    for split, statistics in alone.items():
        for name, value in vars(statistics).items():
            assert np.array_equal(value, vars(together[split])[name]), (split, name)
    assert told[-1] == (45, 45)
    assert told == sorted(told)


def test_a_subset_is_what_is_measured(space: Path) -> None:
    (only,) = datasets(run(space, "--json", "--dataset", "tiny", "--set", "datasets[0].subset={first: 1}"))
    assert only["splits"]["train"]["images"] == 1


def test_only_the_named_dataset_is_read(space: Path) -> None:
    (only,) = datasets(run(space, "--json", "--dataset", "other"))
    assert only["dataset"] == "other"
    pictures = sorted(map(str, (space.parent / "pictures").iterdir()))
    assert [Path(path).name for path in pictures] == ["other-classes.png", "other-overlays.png"]
    assert only["pictures"] == pictures
    with pytest.raises(InputError, match=r"--dataset tinny: .* Did you mean 'tiny'\? There are: tiny, other"):
        run(space, "--dataset", "tinny")


def test_tables_name_splits_classes_weights_and_pictures(space: Path) -> None:
    lines = run(space, "--dataset", "tiny").stdout.splitlines()
    assert lines[0] == "tiny: 3 classes"
    assert " ".join(lines[2].split()) == "train 2 2x2 2x2 6x1 2 40.0 % 0.400 0.000 0.200 0.490 0.000 0.000"
    assert [line.split() for line in lines[5:8]] == [
        ["class", "px", "train", "px", "val", "img", "train", "img", "val"],
        ["left", "66.7", "%", "0", "%", "100.0", "%", "0", "%"],
        ["right", "33.3", "%", "100.0", "%", "100.0", "%", "100.0", "%"],
    ]
    uneven = "left is 2.0 times as frequent as right; as uneven as 1.9 equal classes instead of 3; absent: never"
    assert lines[9] == f"train: {uneven}"
    assert lines[13].split()[:3] == ["right", "1.243", "1.500"]  # inverse_sqrt, median_frequency
    assert lines[-2:] == [f"{space.parent}/pictures/tiny-overlays.png", f"Next: segsweep plan {space}"]


def test_unreadable_file_is_named_with_exit_code_2_after_what_can_be_said(
    space: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = space.parent / "tiny" / "masks" / "b.png"
    mask.write_bytes(mask.read_bytes()[:40])
    command = ["segsweep", "data", "stats", str(space), "--json", "-o", str(space.parent / "pictures")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert re.search(rf"^error: tiny: {re.escape(str(mask))}: cannot be read as an image", said.err, re.MULTILINE)
    assert [each["dataset"] for each in json.loads(said.out)["datasets"]] == ["other"]


def test_reading_stops_after_several_unreadable_files() -> None:
    def unreadable(index: int) -> Sample:
        def read() -> Pair:
            image = np.zeros((2, 2, 3), np.uint8)
            return Pair(image, np.full((2, 2), 9, np.uint8))

        return Sample(f"s{index}", "", read)

    data = Dataset(DatasetCard(CLASSES, palette(3)), {"train": [unreadable(index) for index in range(100)]})
    with pytest.raises(ValueError, match=r"^s0: label 9 is no class(.*\n){5}\(stopped after 5; there may be more\)$"):
        measure(data)


def test_missing_folder_is_said_before_anything_is_read(space: Path) -> None:
    with pytest.raises(InputError, match=r"^other: .*/gone: no such folder"):
        run(space, "--set", f"datasets[1].root={space.parent}/gone")
    assert not (space.parent / "pictures").exists()


def test_output_that_cannot_be_a_folder_is_refused(space: Path) -> None:
    (space.parent / "pictures").write_text("")
    assert run(space).exit_code == 2
    (space.parent / "pictures").unlink()
    (space.parent / "pictures").symlink_to(space.parent / "space.yaml" / "below")
    with pytest.raises(InputError, match=r"pictures: cannot be written \(.*\); give --output DIR"):
        run(space)


# --- pictures ----------------------------------------------------------------------------------------------------


def colors_in(path: Path) -> set[tuple[int, ...]]:
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(color) for color in values[counts >= 100].tolist()}


def test_pictures_show_classes_in_their_colors(tmp_path: Path) -> None:
    data = streets.build(streets.Options(train=2, val=1, test=1, size=(48, 64)))
    draw_distribution("streets", data.card, measure(data), tmp_path / "classes.png")
    draw_overlays("streets", data, tmp_path / "overlays.png")
    assert set(data.card.colors) <= colors_in(tmp_path / "classes.png")
    assert set(data.card.colors) <= colors_in(tmp_path / "overlays.png")


def test_a_class_that_is_absent_has_no_bar(tmp_path: Path) -> None:
    card = DatasetCard(CLASSES, ((200, 10, 10), (10, 200, 10), (10, 10, 200)))
    draw_distribution("x", card, {"train": counted(20, 8, 0)}, tmp_path / "classes.png")
    shown = colors_in(tmp_path / "classes.png")
    assert {(200, 10, 10), (10, 200, 10)} <= shown
    assert (10, 10, 200) not in shown


def test_names_are_drawn_as_they_are_whatever_matplotlib_makes_of_dollars_and_underscores(tmp_path: Path) -> None:
    """Nothing but the name of one class differs, and that can be seen."""
    data = streets.build(streets.Options(train=1, val=1, test=1, size=(48, 64)))
    drawn = set()
    for name in ("_hidden_", "", "$a$", "a"):
        card = DatasetCard((name, *data.card.classes[1:]), data.card.colors)
        draw_overlays("streets", Dataset(card, data.splits), tmp_path / "overlays.png")
        drawn.add((tmp_path / "overlays.png").read_bytes())
    assert len(drawn) == 4


def gray(height: int, width: int, label: int) -> Pair:
    return Pair(np.full((height, width, 3), 100, np.uint8), np.full((height, width), label, np.uint8))


def test_overlay_mixes_image_and_class_color_and_stripes_void() -> None:
    colors = ((200, 0, 50), (0, 255, 0))
    mixed = overlay(gray(40, 40, 0), colors)
    assert np.unique(mixed.reshape(-1, 3), axis=0).tolist() == [[round(40 + OPACITY * c) for c in colors[0]]]
    stripes = overlay(gray(40, 40, VOID), colors)
    assert np.unique(stripes.reshape(-1, 3), axis=0).tolist() == [[40] * 3, [193] * 3]  # black and white at 0.6
    assert 0.4 < (stripes == 40).mean() < 0.6


def test_overlay_lies_beside_its_image_and_is_aligned_with_it() -> None:
    pair = gray(420, 840, 0)
    pair.label[:, 420:] = 1
    pair.image[:, 420:] = 200
    sheet: npt.NDArray[np.uint8] = side_by_side(pair, ((0, 0, 0), (255, 255, 255)))
    assert sheet.shape == (210, 2 * 420 + GAP, 3)  # shrunk to its longest side
    image, drawn = sheet[:, :420], sheet[:, 420 + GAP :]
    assert (image[:, 209].min(), image[:, 210].max()) == (100, 200)
    assert (drawn[:, 209].max(), drawn[:, 210].min()) == (40, 233)


def test_images_are_taken_from_all_over_the_split() -> None:
    samples = [Sample(str(index), "", lambda: gray(1, 1, 0)) for index in range(100)]
    assert [sample.id for sample in spread(samples)] == ["16", "50", "83"]
    assert [sample.id for sample in spread(samples[:2])] == ["0", "1"]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100.0 %"), (0.2731, "27.3 %"), (0.0099, "0.99 %"), (0.003, "0.30 %"), (4.5e-8, "0.0000045 %")],
)
def test_small_shares_keep_two_digits(share: float, text: str) -> None:
    assert percent(share) == text
