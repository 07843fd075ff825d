"""Learning four photos by heart, and what labels keep of themselves at the stride of a network's logits.

SEGSWEEP_DATA=... python tests/overfitting.py [MODEL ...]         (prints rows of docs/overfit.md)
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from small_models import SMALL
from torch import Tensor, nn
from torch.nn import functional as F

from segsweep.trainables.cache.cached_split import open_split
from segsweep.trainables.catalog import DATASETS, LOSSES, LR_SCHEDULES, MODELS, OPTIMIZERS
from segsweep.trainables.components import VOID, Dataset, Family, LossContext, Task
from segsweep.trainables.masked_loss import build_loss
from segsweep.trainables.models._sizes import AnySize
from segsweep.trainables.scoring.metrics import confusion_matrix, mean_iou
from segsweep.trainables.training.batches import Batch, eval_batches
from segsweep.trainables.training.isolation import seeded
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.training.loop import train_epoch

SIZE = (160, 224)
PHOTOS = (10, 102, 194, 286)  # of CamVid's train split: three drives, all 11 classes, the rarest on 218 pixels
CLASSES = 11
CHECKED = 25  # updates between two looks at the score


@dataclass(frozen=True)
class Aim:
    """How a model learns, and what it has to reach."""

    lr: float | None = None  # by the model's family unless given
    steps: int = 600
    share: float = 0.95  # of what the labels keep
    reason: str = ""  # why the share is less


LR: Mapping[Family, float] = {"cnn": 3e-3, "transformer": 1e-3}
SET_LR = 7e-4  # of networks with a set loss
AIMS: Mapping[str, Aim] = {
    "eomt": Aim(SET_LR),
    "hf_dpt": Aim(
        share=0.7, reason="its ViT-tiny has 192 numbers for the 256 pixels of a patch, and begins from scratch"
    ),
    "manet": Aim(
        share=0.9, reason="at stride 1 the labels lose nothing, so the last points are single pixels of poles"
    ),
    "mask2former": Aim(SET_LR),
    "maskformer": Aim(SET_LR, share=0.9, reason="from scratch, its queries still change places after 600 updates"),
    "mobilevit": Aim(5e-3),  # narrow, and its convolutions begin small
    "mobilevitv2": Aim(5e-3),
    "oneformer": Aim(SET_LR),
    "sam": Aim(
        2e-4, share=0.65, reason="SAM's smallest encoder, a ViT-B, from scratch; at a higher lr it stays at a third"
    ),
    "segnet": Aim(5e-3, share=0.8, reason="at stride 1 the labels lose nothing, and the small variant has 8 channels"),
    "transunet": Aim(share=0.75, reason="at stride 1 the labels lose nothing, and its ViT begins from scratch"),
    "unet": Aim(share=0.9, reason="at stride 1 the labels lose nothing, so the last points are single pixels of poles"),
    "unet_2015": Aim(
        5e-3, share=0.8, reason="at stride 1 the labels lose nothing, and the small variant has 8 channels"
    ),
    "unetplusplus": Aim(
        share=0.75,
        reason="the two rarest classes, 550 of 139,000 pixels, take it longer; the others are at 0.92 and more",
    ),
    "utnet": Aim(5e-3, share=0.85, reason="at stride 1 the labels lose nothing, and the small variant has 8 channels"),
}
"""Of models that the usual aim does not fit."""


class Overfitted(NamedTuple):
    stride: int  # of the logits, before they are upsampled
    kept: float  # mIoU of the labels, averaged to that stride and resized back
    miou: float  # of the model on the photos it learned, in evaluation mode
    steps: int  # updates


def photos(folder: Path) -> Batch:
    """The four photos; folder: for the cache. Raises DataError where CamVid is not."""
    camvid = DATASETS.get("camvid")
    dataset = camvid.build(camvid.Options())
    chosen = [dataset.splits["train"][number] for number in PHOTOS]
    split = open_split(Dataset(dataset.card, {"train": chosen}), "camvid", "train", SIZE, folder)
    (batch,) = eval_batches(split, len(PHOTOS), torch.device("cpu"))
    return batch


def overfit(name: str, batch: Batch) -> Overfitted:
    """Train the small variant of a model on one batch until its aim is reached, or its steps are used up."""
    aim = AIMS.get(name, Aim())
    with seeded(0, 0, torch.device("cpu")):
        learner = _learner(name, aim)
        stride = output_stride(learner.model, batch.images)
        kept = kept_at(stride, batch.labels)
        miou, steps = 0.0, 0
        while miou < aim.share * kept and steps < aim.steps:
            steps += CHECKED
            train_epoch(learner, [batch] * CHECKED, epoch=steps // CHECKED)
            with torch.inference_mode():
                miou = _miou(learner.model.eval()(batch.images), batch.labels)
    return Overfitted(stride, kept, miou, steps)


def kept_at(stride: int, labels: Tensor) -> float:
    """mIoU of the labels with themselves, averaged to `stride` as one-hot maps and brought back as logits are."""
    return _miou(AnySize(nn.AvgPool2d(stride), stride)(_one_hot(labels)), labels)


def output_stride(model: nn.Module, images: Tensor) -> int:
    """Pixels on a side for each logit: of what the network returns, or of its last convolution to the classes.

    The latter is finer than nothing that follows: upsampling invents no detail. Networks that multiply masks with
    classes end without such a convolution.
    """
    heights: dict[bool, tuple[int, int]] = {}

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if module is network or (isinstance(module, nn.Conv2d) and module.out_channels == CLASSES):
            heights[module is network] = (given[0].shape[2], output.shape[2])

    network = model.get_submodule("network")
    hooks = [module.register_forward_hook(note) for module in network.modules()]
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()
    padded = heights[True][0]
    return padded // min(out for _, out in heights.values())


def _learner(name: str, aim: Aim) -> Learner:
    """As a trial trains: the model's own loss or cross entropy, and AdamW on half a cosine after a warm-up."""
    model_component, loss_component = MODELS.get(name), LOSSES.get("cross_entropy")
    options = model_component.Options(**SMALL.get(name, {}))
    model = model_component.build(options, Task(CLASSES, SIZE, len(PHOTOS)))
    loss = build_loss(loss_component, loss_component.Options(), LossContext(CLASSES, lambda: torch.ones(CLASSES)))
    adamw, cosine = OPTIMIZERS.get("adamw"), LR_SCHEDULES.get("cosine")
    lr = aim.lr or LR[model_component.family(options)]
    optimizer = adamw.build(adamw.Options.model_validate({"lr": lr, "weight_decay": 0.01}), model)
    warmed_up = cosine.Options.model_validate({"warmup_epochs": 0.4})
    return Learner(model, loss, optimizer, cosine.build(warmed_up, optimizer, CHECKED, aim.steps // CHECKED))


def _one_hot(labels: Tensor) -> Tensor:
    """(N, H, W) to (N, C, H, W) float32; void is no class."""
    return F.one_hot(labels.where(labels != VOID, CLASSES), CLASSES + 1)[..., :CLASSES].permute(0, 3, 1, 2).float()


def _miou(logits: Tensor, labels: Tensor) -> float:
    return mean_iou(confusion_matrix(logits.argmax(1), labels, CLASSES))


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        batch = photos(Path(folder))
    for name in names or MODELS.names():
        stride, kept, miou, steps = overfit(name, batch)
        print(f"| {name} | {stride} | {kept:.3f} | {miou:.3f} | {miou / kept:.0%} | {steps} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
