"""`segsweep predict`: what it writes, and what it says to input that it cannot use."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling import args, evaluateImgLists, getPrediction
from click.testing import CliRunner, Result
from PIL import Image
from street_trials import STREETS, entry, train

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.trainables.components import VOID
from segsweep.trainables.datasets import cityscapes, streets
from segsweep.trainables.prediction import dense_crf
from segsweep.trainables.prediction.cleaning import remove_small_segments
from segsweep.trainables.prediction.dense_crf import DenseCrf
from segsweep.trainables.prediction.masks import Values, values
from segsweep.trainables.prediction.pictures import error_map, overlay
from segsweep.trainables.prediction.predictor import Predictor
from segsweep.trainables.prediction.trained_model import load_trained
from segsweep.trainables.scoring.confusions import load_confusions

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained trial, with its validation images and masks as files beside it."""
    folder = tmp_path_factory.mktemp("trial")
    train(folder)
    for sample in streets.build(streets.Options.model_validate(STREETS)).splits["val"]:
        for place, array in zip(("images", "truth"), sample.read(), strict=True):
            path = folder / place / f"{sample.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return folder


@pytest.fixture
def predict(trial: Path, tmp_path: Path) -> Callable[..., Result]:
    output = str(tmp_path / "out")
    return lambda *given: CliRunner().invoke(cli, ["predict", str(trial), *map(str, given), "-o", output])


def made(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def array(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def messages(result: Result) -> str:
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


# -- images ---------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_masks_pictures_and_the_scores_of_the_trial(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    done = predict(trial / "images", "--overlay", "--side-by-side", "--masks", trial / "truth", "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""  # progress is for terminals
    names = [path.stem for path in (trial / "images").glob("*.png")]
    kinds = {"masks": ".png", "overlays": ".jpg", "side-by-side": ".jpg", "errors": ".jpg"}
    assert len(names) == 5
    assert made(tmp_path / "out") == {f"{k}/{n}{e}" for k, e in kinds.items() for n in names} | {"scores.json"}
    stored = load_confusions(trial / "confusions.npz").total()
    unions = stored.sum(0) + stored.sum(1) - stored.diagonal()
    ious = stored.diagonal()[unions > 0] / unions[unions > 0]
    facts = json.loads(done.stdout)
    assert facts["scores"]["miou"] == pytest.approx(ious.mean(), abs=1e-12)
    assert facts["scores"] == json.loads((tmp_path / "out/scores.json").read_text())
    mask = Image.open(next((tmp_path / "out/masks").rglob("*.png")))
    assert (mask.mode, mask.size) == ("P", (88, 60))
    colors = np.array(mask.getpalette()).reshape(-1, 3)[:8]
    assert colors.tolist() == [list(color) for color in streets.describe(streets.Options()).colors]


def test_other_classes_are_void_and_other_regions_unseen(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    image = next((trial / "images").rglob("*.png"))
    assert predict(image).exit_code == 0
    full = array(tmp_path / "out/masks" / f"{image.stem}.png")
    name = streets.describe(streets.Options()).classes[int(np.bincount(full.ravel()).argmax())]
    assert predict(image, "--classes", name).exit_code == 0
    some = array(tmp_path / "out/masks" / f"{image.stem}.png")
    assert np.array_equal(some, np.where(full == np.bincount(full.ravel()).argmax(), full, VOID))
    assert predict(image, "--roi", "10,20,30,40").exit_code == 0
    part = array(tmp_path / "out/masks" / f"{image.stem}.png") != VOID
    assert part[20:60, 10:40].all()
    assert part.sum() == 30 * 40


def test_the_manner_of_the_trial_may_be_overridden(predict: Callable[..., Result], trial: Path) -> None:
    image = next((trial / "images").rglob("*.png"))
    done = predict(image, "--window", "32x32", "--flip", "--scales", "0.75,1", "--size", "original", "--overlap", "0.5")
    assert done.exit_code == 0, done.output
    assert "--overlap: Input should be less than 1" in messages(predict(image, "--window", "32x32", "--overlap", "1"))
    assert "--scales" in messages(predict(image, "--scales", "a"))
    assert "leave out one" in messages(predict(image, "--window", "32x32", "--whole"))


def test_labels_are_drawn_to_the_edges_of_the_image(
    predict: Callable[..., Result], trial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = next((trial / "images").rglob("*.png"))
    found = []
    for crf in ([], ["--crf", "67,3"]):
        assert predict(image, *crf).exit_code == 0
        found.append(array(tmp_path / "out" / "masks" / f"{image.stem}.png"))
    probabilities = Predictor(load_trained(trial / "best.pt", torch.device("cpu"))).probabilities(array(image)).numpy()
    assert (found[1] == DenseCrf().labels(array(image), probabilities)).all()
    assert (found[0] != found[1]).any()
    monkeypatch.setattr(dense_crf, "MOST_VALUES", 100)
    assert "88x60 pixels are too many for a dense CRF" in messages(predict(image, "--crf", "67,3"))
    assert "'67' must be XY,RGB" in predict(image, "--crf", "67").output


def test_a_cityscapes_submission_has_our_scores_by_the_official_scorer(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, split in enumerate(("train", "train", "val", "val")):
        frame = f"{split}/ulm/ulm_{number:06}_000019"
        ids = np.kron(rng.choice([0, 7, 11, 23, 26], (4, 6)), np.ones((16, 16))).astype(np.uint8)
        for name, pixels in (
            (f"leftImg8bit/{frame}_leftImg8bit.png", np.repeat(ids[..., None] * 7, 3, axis=2)),
            (f"gtFine/{frame}_gtFine_labelIds.png", ids),
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name)
    changes = {"dataset": entry("cityscapes", root=str(tmp_path)), "epochs": 6, "batch_size": 2, "image_size": (64, 96)}
    train(tmp_path / "trial", **changes)
    images, masks = tmp_path / "leftImg8bit/val", f"{tmp_path}/gtFine/val/{{id}}_gtFine_labelIds.png"
    given = ["predict", tmp_path / "trial", images, "--ids", "cityscapes", "--masks", masks, "-o", tmp_path / "out"]
    done = CliRunner().invoke(cli, [*map(str, given), "--json"])
    assert done.exit_code == 0, done.output
    arguments = copy.copy(args)
    arguments.predictionPath, arguments.predictionWalk = str(tmp_path / "out/masks"), None
    arguments.evalInstLevelScore, arguments.JSONOutput, arguments.quiet = False, False, True
    truths = [str(path) for path in sorted(tmp_path.glob("gtFine/val/*/*.png"))]
    found = evaluateImgLists([getPrediction(arguments, path) for path in truths], truths, arguments)
    ours = json.loads(done.stdout)["scores"]
    assert 0 < ours["miou"] < 1
    assert found["averageScoreClasses"] == pytest.approx(ours["miou"], abs=1e-9)
    assert found["classScores"]["road"] == pytest.approx(ours["iou/road"], abs=1e-9)


# -- videos ---------------------------------------------------------------------------------------------------------


def test_a_video_becomes_one_of_as_many_frames_as_fast(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (88, 60))
    for path in [*sorted((trial / "images").rglob("*.png"))] * 2:
        writer.write(cv2.imread(str(path)))
    writer.release()
    done = predict(tmp_path / "a.mp4", "--overlay", "--side-by-side")
    assert done.exit_code == 0, done.output
    assert made(tmp_path / "out") == {"videos/a.mp4", "videos/a-side-by-side.mp4"}
    film = cv2.VideoCapture(str(tmp_path / "out/videos/a-side-by-side.mp4"))
    assert (film.get(cv2.CAP_PROP_FPS), film.get(cv2.CAP_PROP_FRAME_COUNT)) == (12.5, 10)
    there, frame = film.read()
    film.release()
    assert there
    before = cv2.imread(str(min((trial / "images").rglob("*.png"))))
    assert np.abs(frame[:60, :88].astype(int) - before).mean() < 12  # the frame itself is on the left, compressed


# -- explanations ---------------------------------------------------------------------------------------------------


def test_explanations_are_pictures_and_videos_beside_the_others(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    image = next((trial / "images").rglob("*.png"))
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5, (88, 60))
    writer.write(cv2.imread(str(image)))
    writer.release()
    done = predict(image, tmp_path / "a.mp4", "--grad-cam", "sky", "--roi", "8,0,80,60", "--pixel", "20,10")
    assert done.exit_code == 0, done.output
    pictures = {f"masks/{image.stem}.png", f"grad-cam/sky/{image.stem}.jpg"}
    assert made(tmp_path / "out") == pictures | {"videos/a.mp4", "videos/a-grad-cam-sky.mp4"}
    assert array(tmp_path / f"out/grad-cam/sky/{image.stem}.jpg").shape == (60, 88, 3)


def test_what_cannot_be_explained_is_said_before_images_are_predicted_in_vain(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    found = messages(predict(trial / "images", "--attention", "1:2", "--pixel", "3,4"))
    assert (
        found
        == "--attention: 'linknet' has no attention layer 1; it has none that can be watched; CNNs have --grad-cam"
    )
    assert made(tmp_path / "out") == set()
    image = next((trial / "images").rglob("*.png"))
    assert "--attention: needs --pixel x,y" in messages(predict(image, "--attention", "1:mean"))
    assert "--grad-cam: 'sly' is no class. Did you mean 'sky'?" in messages(predict(image, "--grad-cam", "sly"))


# -- input that cannot be used --------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_named_and_the_rest_is_kept(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_text("text")
    (tmp_path / "bad.mp4").write_text("text")
    cv2.VideoWriter(str(tmp_path / "none.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (88, 60)).release()
    good = next((trial / "images").rglob("*.png"))
    done = predict(tmp_path / "bad.png", good, tmp_path / "bad.mp4", tmp_path / "none.avi")
    assert re.findall(r"(\w+\.\w+): (?:cannot be|holds)", messages(done)) == ["bad.png", "bad.mp4", "none.avi"]
    assert "It may hold no frame" in messages(done)
    assert made(tmp_path / "out") == {f"masks/{good.stem}.png"}
    assert "1 image predicted, 1 file in" in done.output


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--classes", "vehicel"), r"--classes: 'vehicel' is no class\. Did you mean 'vehicle'\?"),
        (
            ("--roi", "1,2,3"),
            r"--roi 1,2,3: must be x,y,w,h in pixels: four whole numbers, none negative, w and h from 1$",
        ),
        (("--roi", "0,0,0,5"), r"--roi 0,0,0,5: must be x,y,w,h"),
        (("--roi", "80,0,20,20"), r"the region 20x20 at x=80, y=0 is not inside the image, which is 88x60"),
        (("--masks", "nowhere"), r"--masks nowhere: nowhere: no such folder$"),
        (("--ids", "cityscapes"), r"--ids cityscapes: .* is no class of Cityscapes"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    predict: Callable[..., Result], trial: Path, given: tuple[str, ...], message: str
) -> None:
    assert re.search(message, messages(predict(next((trial / "images").rglob("*.png")), *given)))


def test_inputs_that_are_not_there_or_of_one_name_are_refused_together(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    image = next((trial / "images").rglob("*.png"))
    copy = tmp_path / f"{image.stem}.jpg"
    Image.open(image).save(copy)
    found = messages(predict(tmp_path / "gone.png", tmp_path / "empty", image, copy))
    assert "gone.png: no such file or folder" in found
    assert "empty: holds no image and no video" in found
    assert f"{copy}: what is made of it has the name of that of {image}" in found


def test_all_mistakes_are_told_together_before_the_network_is_loaded(trial: Path, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_text("no network")
    shutil.copy(trial / "confusions.npz", tmp_path)
    wrong = "--classes vehicel --grad-cam sly --overlap 2 --scales a --roi 1,2 --attention 1:1 --masks nowhere --whole"
    wrong = (
        f"predict {tmp_path} gone.png {trial / 'images'} {wrong} --window 8x8 --ids cityscapes -o {tmp_path / 'out'}"
    )
    found = messages(CliRunner().invoke(cli, wrong.split()))
    places = [line.partition(":")[0] for line in found.splitlines()]
    options = ["--overlap", "--scales", "--roi 1,2", "--whole", "--attention", "--masks nowhere", "--classes"]
    assert places == ["INPUT", *options, "--grad-cam", "--ids cityscapes"]
    assert "is no class. Did you mean 'vehicle'?" in found


def test_only_the_network_may_know_its_classes(trial: Path, tmp_path: Path) -> None:
    shutil.copy(trial / "best.pt", tmp_path)
    wrong = ["predict", tmp_path, trial / "images", "--classes", "rod", "--grad-cam", "sly", "-o", tmp_path / "out"]
    found = messages(CliRunner().invoke(cli, list(map(str, wrong))))
    assert [line.partition(":")[0] for line in found.splitlines()] == ["--classes", "--grad-cam"]


def test_images_without_mask_are_counted_once_and_refused_if_none_has_one(
    predict: Callable[..., Result], trial: Path, tmp_path: Path
) -> None:
    first, *others = sorted((trial / "images").glob("*.png"))
    truth = tmp_path / "truth"
    truth.mkdir()
    shutil.copy(trial / "truth" / first.name, truth / "other.png")
    told = rf"--masks {truth}: holds no mask for {{}} of 5 images, the first is {{}}; masks are called as"
    assert told.format(5, first.stem) in messages(predict(trial / "images", "--masks", truth))
    assert made(tmp_path / "out") == set()
    shutil.copy(trial / "truth" / first.name, truth)
    found = messages(predict(trial / "images", "--masks", truth))
    assert told.format(4, others[0].stem) in found
    assert "\n" not in found
    assert {name.partition("/")[0] for name in made(tmp_path / "out")} == {"masks", "errors", "scores.json"}
    assert len(made(tmp_path / "out")) == 5 + 1 + 1


# -- values, colours, segments --------------------------------------------------------------------------------------


def test_masks_have_the_datasets_own_values_where_that_is_asked() -> None:
    card = cityscapes.describe(cityscapes.Options())
    assert values(card, "train").classes == tuple(range(19))
    for ids in ("original", "cityscapes"):
        found = values(card, ids)
        assert (found.classes[:3], found.classes[18], found.void) == ((7, 8, 11), 33, 0)
    of_train_ids = cityscapes.describe(cityscapes.Options(labels="train_ids"))
    assert (values(of_train_ids, "original").classes[18], values(of_train_ids, "cityscapes").classes[18]) == (18, 33)


def test_an_indexed_mask_holds_values_and_looks_as_the_colours(tmp_path: Path) -> None:
    Values((7, 33), 0, (RED, BLUE)).save(np.array([[0, 1, VOID]], np.uint8), tmp_path / "a/b.png")
    mask = Image.open(tmp_path / "a/b.png")
    assert np.asarray(mask).tolist() == [[7, 33, 0]]
    assert np.asarray(mask.convert("RGB")).tolist() == [[[255, 0, 0], [0, 0, 255], [224, 224, 192]]]


def test_an_overlay_mixes_and_leaves_void_alone() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    found = overlay(image, np.array([[0, 1, VOID]], np.uint8), (RED, BLUE), 0.25)
    assert found.tolist() == [[[139, 75, 75], [75, 75, 139], [100, 100, 100]]]


def test_a_map_of_errors_is_red_where_wrong_and_grey_where_nobody_knows() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    found = error_map(image, np.array([[0, 1, 1]], np.uint8), np.array([[0, 0, VOID]], np.uint8))
    assert found.tolist() == [[[40, 40, 40], [255, 0, 0], [128, 128, 128]]]


def test_small_segments_go_to_what_touches_most_of_their_border() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 5:] = 1
    labels[2:4, 3:6] = 2  # 6 pixels: its border has 8 of class 0 and 6 of class 1
    labels[6, 1] = 1  # alone
    labels[7, 7] = 2
    expected = np.zeros((8, 8), np.uint8)
    expected[:, 5:] = 1
    expected[2:4, 5] = 0
    found = remove_small_segments(labels, 7)
    assert found.tolist() == expected.tolist()
    assert labels[6, 1] == 1  # what was given stays
    assert (remove_small_segments(labels, 6)[2:4, 3:6] == 2).all()


def test_segments_within_small_ones_go_with_them_and_one_that_is_all_stays() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[2:6, 2:6] = 1
    labels[3, 3] = 2
    assert not remove_small_segments(labels, 20).any()
    assert remove_small_segments(np.full((2, 2), 3, np.uint8), 20).tolist() == [[3, 3], [3, 3]]
