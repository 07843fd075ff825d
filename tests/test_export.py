"""`segsweep export`: files that compute what the checkpoint computes, and what is said where a format cannot."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from exporting import SIZE, model
from PIL import Image
from street_trials import STREETS, entry, train
from torch import Tensor, nn

from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.exporting.bundle import Bundle, export
from segsweep.orchestrator.exporting.model_card import model_card
from segsweep.orchestrator.exporting.origin import Origin
from segsweep.trainables.catalog import MODELS
from segsweep.trainables.data.normalization import HALF
from segsweep.trainables.data.resize import resize_image
from segsweep.trainables.datasets import streets
from segsweep.trainables.exporting.expressible import _bins
from segsweep.trainables.exporting.graph import ExportError, Graph, compared, example
from segsweep.trainables.exporting.onnx_format import onnx as to_onnx
from segsweep.trainables.exporting.torch_formats import exported_program, torchscript
from segsweep.trainables.prediction.predictor import Predictor
from segsweep.trainables.prediction.trained_model import load_trained
from segsweep.trainables.scoring.inference import predicted_classes
from segsweep.trainables.training.checkpoint import CheckpointError
from segsweep.trainables.weights.licences import NVIDIA

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

CPU = torch.device("cpu")


def segsweep(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    train(folder)
    return folder


@pytest.fixture(scope="module")
def exported(trial: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "net"
    done = segsweep("export", trial, "-o", folder, "--json")
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["files"]) == {"safetensors", "onnx", "torchscript", "mlflow"}
    return folder


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [sample.read().image for sample in streets.build(streets.Options.model_validate(STREETS)).splits["val"]]


@pytest.fixture(scope="module")
def masks(trial: Path, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return Predictor(load_trained(trial / "best.pt", CPU)).labels(images)


def same(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> bool:
    """But for pixels of which two classes are almost equal."""
    assert len(np.unique(np.stack(expected))) > 1
    return all((a == b).mean() > 0.999 for a, b in zip(found, expected, strict=True))


def by_onnx(path: Path, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": resize_image(image, size)[None]})
    return predicted_classes(torch.from_numpy(logits[0]), image.shape[:2]).numpy()


# -- the same masks -------------------------------------------------------------------------------------------------


def test_onnx_gives_the_masks_of_the_checkpoint(
    exported: Path, images: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> None:
    assert same([by_onnx(exported / "model.onnx", image, (48, 72)) for image in images], masks)


@pytest.mark.filterwarnings("ignore:`torch.jit.load`:FutureWarning")  # it is deprecated, and asked for
def test_torchscript_gives_the_masks_of_the_checkpoint(
    exported: Path, images: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> None:
    network = torch.jit.load(exported / "model.torchscript.pt")
    given = torch.from_numpy(np.stack([resize_image(image, (48, 72)) for image in images]))
    assert same([predicted_classes(logits, (60, 88)).numpy() for logits in network(given)], masks)


def test_an_exported_folder_is_predicted_with_like_the_trial(
    exported: Path, trial: Path, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], tmp_path: Path
) -> None:
    loaded, original = load_trained(exported / "model.safetensors", CPU), load_trained(trial / "best.pt", CPU)
    assert all(np.array_equal(a, b) for a, b in zip(Predictor(loaded).labels(images), masks, strict=True))
    for name in ("config", "card", "normalization", "epoch", "metrics", "weights"):
        assert getattr(loaded, name) == getattr(original, name)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    assert segsweep("predict", exported, tmp_path / "a.png", "-o", tmp_path / "out").exit_code == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/masks/a.png")), masks[0])


ELSEWHERE = """
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f)]
sys.path_hooks = [h for h in sys.path_hooks if "editable" not in repr(h)]
sys.path_importer_cache.clear()
import mlflow, numpy, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
found = model.predict(pandas.DataFrame({"image": [sys.argv[2], open(sys.argv[2], "rb").read()]}, index=["p", "b"]))
assert list(found.index) == ["p", "b"]
numpy.savez(sys.argv[3], *found["mask"])
import segsweep.trainables
assert sys.argv[1] in segsweep.trainables.__file__, segsweep.trainables.__file__
assert not {"ray", "optuna", "segsweep.orchestrator"} & sys.modules.keys()
"""


def test_the_mlflow_model_runs_without_segsweep_installed(
    exported: Path, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], tmp_path: Path
) -> None:
    """With nothing but its own folder and the libraries: from a path and from bytes."""
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    command = [sys.executable, "-c", ELSEWHERE, exported / "mlflow", tmp_path / "a.png", tmp_path / "found.npz"]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert [np.array_equal(mask, masks[0]) for mask in found.values()] == [True, True]


def test_the_mlflow_model_takes_arrays_and_urls_and_names_its_classes(
    exported: Path, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], tmp_path: Path
) -> None:
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException

    loaded = pyfunc.load_model(str(exported / "mlflow"))
    Image.fromarray(images[1]).save(tmp_path / "a.png")
    url = "data:image/png;base64," + base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    given = pd.DataFrame({"image": [images[0], url, images[2].tolist()]})
    assert all(np.array_equal(a, b) for a, b in zip(loaded.predict(given)["mask"], masks, strict=False))
    assert json.loads(loaded.metadata.metadata["segsweep.classes"]) == list(streets.describe(streets.Options()).classes)
    assert loaded.metadata.signature.inputs.input_names() == ["image"]
    requirements = (exported / "mlflow/requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in requirements} >= {"torch", "mlflow", "timm", "numpy"}
    assert not [line for line in requirements if line.startswith(("ray", "optuna", "segsweep"))]
    with pytest.raises(MlflowException, match="missing inputs"):
        loaded.predict(pd.DataFrame({"picture": [url]}))
    with pytest.raises(Exception, match=r"image: an array \(2, 2\) of float64 cannot be used; give \(H, W, 3\) RGB"):
        loaded.predict(pd.DataFrame({"image": [np.zeros((2, 2)).tolist()]}))


def test_real_images_get_the_masks_of_the_checkpoint(tmp_path: Path, data_root: Path) -> None:
    """Twenty of CamVid, in ONNX and the MLflow model."""
    if not (data_root / "camvid").is_dir():
        pytest.skip(f"no {data_root / 'camvid'}")
    import pandas as pd
    from mlflow import pyfunc

    dataset = entry("camvid", root=str(data_root / "camvid"), subset={"first": 8, "splits": ["train", "val"]})
    train(tmp_path / "trial", dataset=dataset, image_size=(96, 128))
    assert segsweep("export", tmp_path / "trial", "-o", tmp_path / "net", "--formats", "onnx,mlflow").exit_code == 0
    paths = sorted((data_root / "camvid/test").iterdir())[:20]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    expected = Predictor(load_trained(tmp_path / "trial/best.pt", CPU)).labels(pictures)
    assert len(expected) == 20
    assert same([by_onnx(tmp_path / "net/model.onnx", image, (96, 128)) for image in pictures], expected)
    served = pyfunc.load_model(str(tmp_path / "net/mlflow")).predict(pd.DataFrame({"image": list(map(str, paths))}))
    assert all(np.array_equal(a, b) for a, b in zip(served["mask"], expected, strict=True))


# -- what files say of themselves -----------------------------------------------------------------------------------


def test_an_onnx_file_says_how_to_use_it(exported: Path) -> None:
    stored = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(stored)
    facts = {each.key: each.value for each in stored.metadata_props}
    assert json.loads(facts["segsweep.classes"]) == list(streets.describe(streets.Options()).classes)
    assert "uint8, RGB from 0 to 255" in facts["segsweep.input"]
    assert facts["sizes"] == "any"
    (given,), (found,) = stored.graph.input, stored.graph.output
    assert (given.name, found.name) == ("images", "logits")
    assert [side.dim_param or side.dim_value for side in given.type.tensor_type.shape.dim][1:] == ["height", "width", 3]


def test_the_model_card_tells_scores_classes_licence_and_how_to_run_it(exported: Path, trial: Path) -> None:
    card, loaded = (exported / "README.md").read_text(), load_trained(trial / "best.pt", CPU)
    assert card.startswith("# linknet, trained on streets\n")
    assert f"val_miou {loaded.metrics['val_miou']:.4f}" in card
    assert all(f"| {number} | {name} | #" in card for number, name in enumerate(loaded.classes))
    assert "trained from random ones" in card
    assert 'mlflow.pyfunc.load_model("mlflow")' in card
    (code,) = (part for part in card.split("```python\n") if "onnxruntime.Inf" in part)
    photo = np.random.default_rng(1).integers(0, 256, (60, 88, 3), np.uint8)
    Image.fromarray(photo).save(exported / "photo.jpg")
    command = [sys.executable, "-c", code.partition("```")[0] + "\nnp.save('mask.npy', mask)"]
    subprocess.run(command, cwd=exported, capture_output=True, check=True)
    read = np.array(Image.open(exported / "photo.jpg"))
    assert same([np.load(exported / "mask.npy")], Predictor(loaded).labels([read]))


def test_whoever_may_read_one_file_may_read_all(exported: Path) -> None:
    assert len({path.stat().st_mode & 0o777 for path in exported.iterdir() if path.is_file()}) == 1


@pytest.mark.parametrize(
    ("licence", "sentence"),
    [
        (NVIDIA, "**Not for commercial use**, and neither is this network."),
        ("CC-BY-NC-4.0", "**Not for commercial use**"),
        ("apache-2.0", "Its terms apply to this network as well."),
        ("unknown", "Ask before you use it."),
    ],
)
def test_the_model_card_passes_on_the_licence_of_pretrained_weights(
    tmp_path: Path, licence: str, sentence: str
) -> None:
    loaded = replace(model("fcn"), weights={"weights_source": "nvidia/mit-b0@1", "weights_licence": licence})
    card = model_card(loaded, Trained(tmp_path / "best.pt"), Bundle(tmp_path), Origin(loaded.config), None)
    assert f"`nvidia/mit-b0@1`, whose licence is: {licence}. {sentence}" in card


# -- what a format cannot express -----------------------------------------------------------------------------------


class Special(nn.Module):
    """Ends in an operator that ONNX has not."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.special.erfcx(images[:, :1]).expand(-1, 5, -1, -1) * torch.arange(5).view(5, 1, 1)


class Fixed(nn.Module):
    """Knows one size only, as do networks with positions of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.linspace(0, 1, 5 * SIZE[0] * SIZE[1]).view(5, *SIZE))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True) * self.positions


def test_an_operator_that_onnx_lacks_is_named_and_the_other_formats_are_made(tmp_path: Path) -> None:
    loaded = replace(model("fcn"), network=Special())
    bundle = export(loaded, ("onnx", "torchscript"), tmp_path, {})
    (mistake,) = bundle.mistakes
    assert mistake.place == "--formats onnx"
    assert "'fcn' cannot be had: any size: Exporting the operator 'aten::special_erfcx' to ONNX" in mistake.message
    assert {path.name for path in tmp_path.iterdir()} == {"model.torchscript.pt"}
    assert bundle.compared["torchscript"].deviation < 1e-6


def test_a_network_of_one_size_is_exported_for_that_size(tmp_path: Path) -> None:
    graph = Graph(replace(model("fcn"), network=Fixed()))
    found = [to_onnx(graph, tmp_path / "a.onnx", SIZE, {}), torchscript(graph, tmp_path / "a.pt", SIZE)]
    assert [(each.any_size, each.sizes) for each in found] == [(False, (SIZE,))] * 2
    assert all(each.failures.startswith("any size: The size of tensor a (97) must match") for each in found)
    facts = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert facts == {"sizes": "64x96"}


@pytest.mark.parametrize("wrong", [lambda logits: logits * 1.01, lambda logits: logits[:, :, 1:], lambda _: 1 / 0])
def test_a_file_that_computes_something_else_is_refused(tmp_path: Path, wrong: Callable[[Tensor], Tensor]) -> None:
    graph = Graph(model("fcn"))
    with pytest.raises(ExportError, match=r"away from the network's|gives|cannot run at 64x96"):
        compared(tmp_path, graph, lambda given: wrong(graph(given)), SIZE, any_size=False)


def test_unknown_formats_and_damaged_exports_are_refused(trial: Path, exported: Path, tmp_path: Path) -> None:
    done = segsweep("export", trial, "-o", tmp_path, "--formats", "onx,mlflow")
    assert isinstance(done.exception, InputError)
    assert "--formats: 'onx' is no format. Did you mean 'onnx'? There are: safetensors, onnx" in str(done.exception)
    (tmp_path / "file").touch()
    assert "'-o' / '--output': Directory" in segsweep("export", trial, "-o", tmp_path / "file").output
    done = segsweep("export", trial, "-o", tmp_path / "file/net", "--formats", "safetensors")
    assert str(done.exception) == f"--output {tmp_path}/file/net: cannot be written: Not a directory"
    (tmp_path / "model.safetensors").write_bytes((exported / "model.safetensors").read_bytes()[:-9])
    (tmp_path / "config.json").write_text((exported / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a readable file of weights"):
        load_trained(tmp_path / "model.safetensors", CPU)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json: is no description of model\.safetensors"):
        load_trained(tmp_path / "model.safetensors", CPU)


# -- architectures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["segformer", "pspnet", "unet"])
def test_onnx_knows_any_size_and_normalises_by_itself(name: str, tmp_path: Path) -> None:
    """SegFormer reshapes by its size, PSPNet pools into bins."""
    loaded = model(name, HALF)
    found = to_onnx(Graph(loaded), tmp_path / "a.onnx", SIZE, {})
    assert (found.any_size, len(found.sizes)) == (True, 4)
    assert found.deviation < 1e-4
    given = example((50, 70), 1)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    expected = loaded.network((given.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    np.testing.assert_allclose(session.run(None, {"images": given.numpy()})[0], expected, rtol=1e-3, atol=1e-4)


def test_torch_export_gives_a_program_of_any_size(tmp_path: Path) -> None:
    found = exported_program(Graph(model("fast_scnn")), tmp_path / "a.pt2", SIZE)
    assert found.deviation < 1e-4


@pytest.mark.parametrize("count", [1, 2, 3, 6, 11])
def test_bins_are_those_of_adaptive_pooling(count: int) -> None:
    images = torch.rand(1, 2, 11, 7)
    by_hand = _bins(images, 2, count) @ images @ _bins(images, 3, 5).T
    assert torch.allclose(by_hand, nn.functional.adaptive_avg_pool2d(images, (count, 5)), atol=1e-6)


NOT_IN_ONNX = {
    "mobilevitv2": "operator col2im",
    "oneformer": "Reshape",
    "segnet": "cond must be a bool",
    "utnet": "Concat",
}
"""Architectures, and a word of why ONNX does not have them: see docs/export.md."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS.names())
def test_every_architecture_is_the_same_in_onnx(name: str, tmp_path: Path) -> None:
    graph = Graph(model(name))
    if reason := NOT_IN_ONNX.get(name):
        with pytest.raises(ExportError, match=reason):
            to_onnx(graph, tmp_path / "a.onnx", SIZE, {})
        return
    assert to_onnx(graph, tmp_path / "a.onnx", SIZE, {}).deviation < 1e-3
