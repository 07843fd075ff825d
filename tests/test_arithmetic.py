"""Precision, memory layout and compilation: what a network computes with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from street_trials import entry, street_config
from torch import Tensor, nn

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.launching.preflight import unfit_precision
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.space.source import parse
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training.arithmetic import Arithmetic, arithmetic
from segsweep.trainables.training.batches import Batch
from segsweep.trainables.training.divergence import first_broken
from segsweep.trainables.training.experiment import averaged, build
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.training.loop import evaluate, train_epoch
from segsweep.trainables.training.network_costs import gmacs
from segsweep.trainables.trial import Trial

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


config = partial(
    street_config,
    dataset=entry("streets", size=[32, 32], train=4, val=2, test=1),
    optimizer=entry("adamw", lr=1e-2, weight_decay=0.1),
    epochs=2,
    batch_size=2,
    image_size=(32, 32),
)


class Watched(nn.Module):
    """A loss that notes what it is given."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope
        self.seen: list[torch.dtype] = []

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(logits.dtype)
        return self.slope * nn.functional.cross_entropy(logits.float(), labels)


def batch() -> Batch:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 8, 8, generator=random)
    return Batch(images, torch.randint(0, 4, (2, 8, 8), generator=random), (0, 1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))


def learner(model: nn.Module, computed: Arithmetic, loss: nn.Module) -> Learner:
    computed.settle(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Learner(model, loss, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0), arithmetic=computed)


# -- what is chosen ----------------------------------------------------------------------------------------------------


def test_on_a_cpu_nothing_changes_unless_it_is_asked_for() -> None:
    assert arithmetic(config(), "cnn", CPU) == Arithmetic()
    with Arithmetic()():
        assert not torch.is_autocast_enabled("cpu")


def test_channels_last_is_automatic_for_convolutional_networks_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert arithmetic(config(), "cnn", gpu) == Arithmetic("cuda", "bf16", channels_last=True)
    assert arithmetic(config(), "transformer", gpu) == Arithmetic("cuda", "bf16", channels_last=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert arithmetic(config(channels_last=False), "cnn", gpu) == Arithmetic("cuda", "float32")


def test_fp16_on_a_cpu_is_refused_by_the_trial_and_before_it(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="precision: fp16 needs a GPU, and this trial runs on a CPU; choose auto, bf16"
    ):
        Trial(config(precision="fp16"), tmp_path)
    text = (
        "datasets: [streets]\nmodels: [unet, {architecture: fpn, precision: bf16}]\nepochs: 9\nimage_size: [64, 96]\n"
    )
    spec = check(parse(f"{text}precision: {{choice: [auto, fp16]}}\n", "x.yaml")).spec
    message = "fp16 needs a GPU, and trials get none here; choose auto, bf16 or float32"
    assert list(unfit_precision(spec, Capacity(cpus=2, gpus=0))) == [(("precision",), message)]
    assert list(unfit_precision(spec, Capacity(cpus=2, gpus=1))) == []
    own = check(parse(text.replace("bf16", "fp16"), "x.yaml")).spec
    assert list(unfit_precision(own, Capacity(cpus=2, gpus=0))) == [(("models", 1, "precision"), message)]


# -- what is computed --------------------------------------------------------------------------------------------------


def test_bf16_is_of_the_forward_pass_alone() -> None:
    it = learner(network(), Arithmetic(precision="bf16"), loss := Watched())
    train_epoch(it, [batch()], epoch=1)
    assert loss.seen == [torch.bfloat16]
    assert {p.dtype for p in it.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in it.model.parameters() if p.grad is not None} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_the_loss_of_bf16_logits_is_float32() -> None:
    experiment = build(config(precision="bf16"), CPU)
    it = experiment.learner
    found: list[torch.dtype] = []
    it.loss.loss.register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0].dtype))
    images = torch.rand(2, 3, 32, 32)
    outputs = it.predict(images)
    assert isinstance(outputs, Tensor)
    assert outputs.dtype == torch.bfloat16
    cost = it.loss(outputs, torch.zeros(2, 32, 32, dtype=torch.int64))
    assert (cost.dtype, found) == (torch.float32, [torch.float32])


def test_bf16_trains_and_scores_close_to_float32_and_says_what_it_did(tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bf16"):
        with Trial(config(precision=precision, epochs=3), tmp_path / precision) as trial:
            losses[precision] = [report.metrics["val_loss"] for report in trial.run()]
            assert (trial.facts["precision"], trial.facts["channels_last"]) == (precision, "false")
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"][0] == pytest.approx(losses["float32"][0], rel=0.05)


def test_a_split_is_scored_in_the_precision_of_the_trial() -> None:
    parts = build(config(), CPU)
    dtypes: list[torch.dtype] = []
    parts.learner.model.register_forward_hook(lambda _module, _inputs, output: dtypes.append(output.dtype))
    for precision in ("float32", "bf16"):
        evaluate(
            parts.learner.model,
            parts.learner.loss,
            parts.val,
            config().evaluation,
            batch_size=2,
            device=CPU,
            arithmetic=Arithmetic(precision=precision),
        )
    assert dtypes == [torch.float32, torch.bfloat16]


def test_channels_last_lays_weights_and_maps_out_and_changes_no_name() -> None:
    model = network()
    names = [*model.state_dict()]
    Arithmetic(channels_last=True).settle(model)
    assert model.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    images = batch().images
    assert model(images).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), network()(images))
    assert [*model.state_dict()] == names


# -- fp16 --------------------------------------------------------------------------------------------------------------


def test_gradients_are_scaled_where_they_could_vanish_and_the_scale_is_saved() -> None:
    """fp16's scaler needs no GPU."""
    it = learner(network(), Arithmetic(), Watched())
    it.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    it.clip_norm = 1e-3
    before = [p.detach().clone() for p in it.model.parameters()]
    train_epoch(it, [batch()], epoch=1)
    steps = [a.detach() - b for a, b in zip(it.model.parameters(), before, strict=True)]
    assert float(torch.cat([step.flatten() for step in steps]).norm()) == pytest.approx(0.1 * 1e-3, rel=1e-3)
    resumed = learner(network(), Arithmetic(), Watched())
    resumed.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    resumed.load_state_dict(it.state_dict())
    assert resumed.scaler.get_scale() == it.scaler.get_scale() == 16.0


def test_an_update_whose_gradients_overflowed_is_skipped_and_counts() -> None:
    it = learner(network(), Arithmetic(), Watched(slope=1e4))
    it.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = [p.detach().clone() for p in it.model.parameters()]
    train_epoch(it, [batch()], epoch=1)
    assert all(torch.equal(a, b) for a, b in zip(it.model.parameters(), before, strict=True))
    assert (it.lr_schedule.last_epoch, it.scaler.get_scale()) == (1, 2.0**126)


@GPU
def test_fp16_trains_and_resumes_exactly_on_a_gpu(tmp_path: Path) -> None:
    given = config(precision="fp16", epochs=3)
    with Trial(given, tmp_path / "a", gpus=1) as trial:
        straight = [report.metrics["val_loss"] for report in trial.run()]
    with Trial(given, tmp_path / "b", gpus=1) as trial:
        trial.step()
    with Trial(given, tmp_path / "b", gpus=1, attempt=2) as trial:
        assert [report.metrics["val_loss"] for report in trial.run()] == pytest.approx(straight, rel=1e-2)
    ours, theirs = (checkpoint.load(tmp_path / name / "last.pt")["scaler"] for name in "ab")
    assert ours == theirs


# -- compiled ----------------------------------------------------------------------------------------------------------


def test_compiling_changes_no_name_and_leaves_copies_alone() -> None:
    model = network()
    names = [*model.state_dict()]
    Arithmetic(compiled=True).settle(model)
    assert [*model.state_dict()] == names
    average = averaged(model, 0.9)
    assert [*average.module.state_dict()] == names
    assert average.module._compiled_call_impl is None


def test_multiply_adds_are_counted_and_broken_layers_are_found_without_compiling() -> None:
    model = network()
    Arithmetic(compiled=True).settle(model)
    torch._dynamo.reset()
    assert gmacs(model, (8, 8), CPU) == gmacs(network(), (8, 8), CPU) > 0
    model.get_submodule("2").register_forward_hook(lambda _module, _inputs, output: output / 0)
    assert first_broken(model.train(), batch().images) == "the output of 2"
    assert not torch._dynamo.utils.counters["stats"]


@pytest.mark.slow
def test_checkpoints_of_compiled_and_plain_networks_are_interchangeable() -> None:
    compiled, plain = (learner(network(), Arithmetic(compiled=on), Watched()) for on in (True, False))
    for it in (compiled, plain):
        train_epoch(it, [batch()], epoch=1)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    for ours, theirs in zip(leaves(compiled), leaves(plain), strict=True):
        torch.testing.assert_close(ours, theirs)
    for source, compiles in ((compiled, False), (plain, True)):
        other = learner(network(), Arithmetic(compiled=compiles), Watched())
        other.load_state_dict(source.state_dict())
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(leaves(other), leaves(source), strict=True))
        images = batch().images
        torch.testing.assert_close(other.model.eval()(images), source.model.eval()(images))


def leaves(it: Learner) -> list[Tensor]:
    return [*it.state_dict()["model"].values()]
