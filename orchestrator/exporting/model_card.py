"""The page beside an exported network: what it is, how good, of what data, under which licence, and how to run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from segsweep.orchestrator.board.confirmed import Confirmed
from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.exporting.bundle import Bundle, comparison
from segsweep.orchestrator.exporting.origin import Origin
from segsweep.trainables.components import Color
from segsweep.trainables.weights.licences import NVIDIA, UNKNOWN

if TYPE_CHECKING:
    from segsweep.trainables.prediction.trained_model import TrainedModel

RESIZED = """photo = np.array(Image.open("photo.jpg").convert("RGB"))
image = cv2.resize(photo, ({width}, {height}), interpolation=cv2.INTER_AREA)  # INTER_LINEAR if the photo is smaller
"""
MASK = """planes = [cv2.resize(plane, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR) for plane in logits]
mask = np.argmax(planes, axis=0)  # class numbers, of the photo's size
```"""
RUN_IT = {
    "onnx": f"""```python
import cv2, numpy as np, onnxruntime
from PIL import Image
network = onnxruntime.InferenceSession("model.onnx")
{RESIZED}logits = network.run(None, {{{{"images": image[None]}}}})[0][0]  # (class, {{height}}, {{width}})
{MASK}""",
    "torchscript": f"""```python
import cv2, numpy as np, torch
from PIL import Image
network = torch.jit.load("model.torchscript.pt")
{RESIZED}logits = network(torch.from_numpy(image)[None])[0].detach().numpy()  # (class, {{height}}, {{width}})
{MASK}""",
    "mlflow": """```python
import mlflow, pandas
model = mlflow.pyfunc.load_model("mlflow")  # needs the packages of mlflow/requirements.txt
masks = model.predict(pandas.DataFrame({{"image": ["photo.jpg"]}}))["mask"]  # paths, bytes, data: URLs or RGB arrays
```""",
    "safetensors": """```
segsweep predict . photo.jpg --overlay  # in this folder, where segsweep is installed
```""",
}


def model_card(
    model: TrainedModel, trained: Trained, bundle: Bundle, origin: Origin, confirmed: Confirmed | None
) -> str:
    """Markdown. confirmed: what fresh seeds say of this configuration, if anything."""
    config = model.config
    parts = [
        f"# {config.model.name}, trained on {config.dataset.name}",
        f"Semantic segmentation of RGB images into {len(model.classes)} classes. Trained by segsweep, as trial "
        f"`{trained}`: {config.loss.name}, {config.optimizer.name}, {config.epochs} epochs at "
        f"{config.image_size[0]}x{config.image_size[1]}, seed {config.seed}.",
        *_section("Scores", _scores(model, confirmed)),
        *_section("How to run it", _run_it(model, bundle)),
        *_section("Files", _files(bundle)),
        *_section("Classes", _classes(model)),
        *_section("Where it comes from", _origin(model, origin)),
        *_section("Licences", _licences(model)),
        *_section("Limits", _limits(model, confirmed)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"## {title}"
    yield "\n".join(lines)


def _scores(model: TrainedModel, confirmed: Confirmed | None) -> Iterator[str]:
    if confirmed:
        interval = "no interval"
        if confirmed.low is not None and confirmed.high is not None:
            interval = f"95 % interval {confirmed.low:.4f} to {confirmed.high:.4f}, for other seeds and other images"
        yield f"- {confirmed.metric} {confirmed.value:.4f}: mean of {confirmed.seeds} fresh seeds of this configuration"
        yield f"  ({interval})."
    split = "after its best epoch, chosen by that very score" if confirmed is None else "of this network alone"
    shown = {key: value for key, value in model.metrics.items() if key.startswith("val_") and "/" not in key}
    figures = ", ".join(f"{key} {value:.4f}" for key, value in shown.items())
    yield f"- On the validation images, {split} (epoch {model.epoch}): {figures}."
    yield f"- Scored at label size, with evaluation: {model.config.evaluation}."


def _run_it(model: TrainedModel, bundle: Bundle) -> Iterator[str]:
    height, width = model.config.image_size
    for name, code in RUN_IT.items():
        if name in bundle.files:
            yield code.format(height=height, width=width)
    yield ""
    yield "The networks take RGB from 0 to 255 and normalise it themselves. `segsweep predict` and the MLflow model"
    yield "resize, cut windows and resize back as the trial was scored; the lines above resize likewise."


def _files(bundle: Bundle) -> Iterator[str]:
    yield "| file | format | compared with the network |"
    yield "|---|---|---|"
    for name, path in bundle.files.items():
        found = bundle.compared.get(name)
        yield f"| `{path.relative_to(bundle.folder)}` | {name} | {comparison(found) if found else ''} |"
    for mistake in bundle.mistakes:
        yield f"\nNot here: {mistake}"


def _classes(model: TrainedModel) -> Iterator[str]:
    yield "| number | class | colour | validation IoU |"
    yield "|---|---|---|---|"
    for number, (name, color) in enumerate(zip(model.classes, model.card.colors, strict=True)):
        value = model.metrics.get(f"val_iou/{name}")
        scored = "absent" if value is None or value != value else f"{value:.4f}"
        yield f"| {number} | {name} | {_hex(color)} | {scored} |"


def _hex(color: Color) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in color)


def _origin(model: TrainedModel, origin: Origin) -> Iterator[str]:
    data = model.config.dataset
    yield f"- Training data: {data.name} (dataset type `{data.type}`). Mean and standard deviation taken out of images:"
    yield f"  {_rounded(model.normalization.mean)} and {_rounded(model.normalization.std)} of [0, 1]."
    for key, value in origin.comments.items():
        yield f"- {key.replace('_', ' ')}: `{value}`"
    yield "- `segsweep reproduce RUN` prints the search space that trains it again."


def _rounded(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _licences(model: TrainedModel) -> Iterator[str]:
    yield "- The code that built and trained the network: Apache-2.0 (segsweep); its libraries have their own licences."
    yield f"- The images of {model.config.dataset.name}: see the terms of whoever publishes them; they may bind"
    yield "  networks that were trained on them."
    yield f"- The weights: {_weights(model.weights)}"


def _weights(facts: Mapping[str, str]) -> str:
    if not facts:
        return "trained from random ones, so no others' licence applies to them."
    licence = facts.get("weights_licence") or UNKNOWN
    began = f"trained from `{facts.get('weights_source', '?')}`, whose licence is: {licence}."
    if licence == NVIDIA or "NC" in licence.split("-"):
        return f"{began} **Not for commercial use**, and neither is this network."
    return (
        f"{began} Its terms apply to this network as well." if licence != UNKNOWN else f"{began} Ask before you use it."
    )


def _limits(model: TrainedModel, confirmed: Confirmed | None) -> Iterator[str]:
    yield f"- It knows images like those of {model.config.dataset.name}, and calls every pixel one of its classes."
    if confirmed is None:
        yield "- The score is that of a trial chosen for it among others, by one seed, so it is optimistic; `segsweep"
        yield "  confirm` tells by how much."
    yield f"- Made for {' x '.join(map(str, model.config.image_size))} (height x width); other sizes were not scored."
    if model.config.precision in ("bf16", "fp16"):
        yield f"- It was trained and scored in {model.config.precision}; the files compute in float32."
