"""A trial in a plain process: what it reports, what it leaves on disk, and that it resumes exactly."""

from __future__ import annotations

import gc
import json
import math
import random
import re
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from street_trials import dataset_of, entry, options_of, street_config
from torch import nn

from segsweep.trainables import catalog, trial
from segsweep.trainables.cache.cached_split import open_split
from segsweep.trainables.config import Objective, TrialConfig
from segsweep.trainables.metric_names import METRICS
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training import epoch as training
from segsweep.trainables.training.batches import batches_per_epoch, eval_batches
from segsweep.trainables.training.checkpoint import StaleAttemptError
from segsweep.trainables.training.divergence import DivergedError
from segsweep.trainables.training.ending import best_epoch, verdict
from segsweep.trainables.training.epoch import ObjectiveError
from segsweep.trainables.training.learner import Learner
from segsweep.trainables.training.loop import train_epoch
from segsweep.trainables.training.network_costs import PASSES, WARM_UPS, gmacs, latency_ms
from segsweep.trainables.trial import EpochReport, Trial

CPU = torch.device("cpu")
CLOCKS = {"epoch_s", "images_per_second", "peak_memory_gib"}  # what may differ between equal trials

STREETS = entry("streets", size=[48, 64], train=7, val=3, test=1)
config = partial(
    street_config,
    dataset=STREETS,
    optimizer=entry("adamw", lr=3e-3, weight_decay=0.01),
    augmentation=entry("light"),
    epochs=3,
    image_size=(48, 64),
)


def run(trial_config: TrialConfig, folder: Path, **arguments: int) -> list[EpochReport]:
    with Trial(trial_config, folder, **arguments) as it:
        return list(it.run())


def numbers(reports: list[EpochReport]) -> list[str]:
    """Everything that must agree between equal trials; as text, since NaN does not equal itself."""
    return [json.dumps({k: v for k, v in r.metrics.items() if k not in CLOCKS}, sort_keys=True) for r in reports]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = checkpoint.load(folder / "last.pt")["model"]
    assert isinstance(model, dict)
    return model


def same_weights(a: Path, b: Path) -> bool:
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochReport]]:
    """One trial of three epochs, trained without interruption."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, run(config(), folder)


# -- what a trial reports ---------------------------------------------------------------------------------------------


def test_every_epoch_has_the_metrics_of_the_contract(straight: tuple[Path, list[EpochReport]]) -> None:
    scores = {"val_miou", "val_pixel_accuracy", "val_mean_accuracy", "val_fwiou", "val_dice", "val_classes"}
    scores |= {"val_precision", "val_recall"}
    classes = {f"val_iou/{name}" for name in catalog.DATASETS.get("streets").describe(options_of(STREETS)).classes}
    for report in straight[1]:
        assert set(report.metrics) == scores | classes | CLOCKS | {"train_loss", "val_loss", "lr", "iterations"}
        finite = {name: value for name, value in report.metrics.items() if name not in classes}
        assert all(math.isfinite(value) for value in finite.values()), finite
        assert report.metrics["epoch_s"] > 0
        assert 0.01 < report.metrics["peak_memory_gib"] < 20


def test_epochs_count_from_one_and_end_at_the_limit(straight: tuple[Path, list[EpochReport]]) -> None:
    assert [(r.epoch, r.done, r.reason) for r in straight[1]] == [
        (1, False, ""),
        (2, False, ""),
        (3, True, "epoch limit"),
    ]


def test_the_lr_is_that_of_the_last_update(straight: tuple[Path, list[EpochReport]]) -> None:
    updates = batches_per_epoch(7, 4)
    expected = [3e-3 * (1 - (updates * epoch - 1) / (updates * 3)) ** 0.9 for epoch in (1, 2, 3)]
    assert [r.metrics["lr"] for r in straight[1]] == pytest.approx(expected)


def test_iterations_count_all_updates_so_far(straight: tuple[Path, list[EpochReport]]) -> None:
    assert [r.metrics["iterations"] for r in straight[1]] == [2, 4, 6]  # 7 images in batches of 4


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    fast = entry("adamw", lr=0.01, weight_decay=0)
    reports = run(config(epochs=8, optimizer=fast, lr_schedule=entry("constant"), augmentation=entry("none")), tmp_path)
    assert reports[-1].metrics["train_loss"] < 0.75 * reports[0].metrics["train_loss"]


def test_facts_describe_the_trial(tmp_path: Path) -> None:
    with Trial(config(), tmp_path) as it:
        facts, model = it.facts, it._experiment.learner.model
    assert facts["params_m"] == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6)
    assert (facts["train_images"], facts["val_images"], facts["cpus"], facts["gpus"]) == (7, 3, 1, 0)
    assert facts["device"] == "cpu"
    assert facts["checkpoint"] == str(tmp_path / "best.pt")
    assert facts["confusions"] == str(tmp_path / "confusions.npz")
    assert isinstance(facts["setup_s"], float)
    assert len(str(facts["data_fingerprint"])) == 16
    assert [name for name, fact in facts.items() if not isinstance(fact, str) and not METRICS[name].per_trial] == []


def test_gmacs_count_a_multiply_add_once() -> None:
    conv = nn.Conv2d(3, 5, kernel_size=3, padding=1, bias=False)
    assert gmacs(conv, (8, 10), CPU) == pytest.approx(3 * 5 * 9 * 8 * 10 / 1e9)


class Napping(nn.Conv2d):
    """Slow at first, and in training mode."""

    naps = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.naps += 1
        time.sleep(0.05 if self.training or self.naps <= WARM_UPS else 0.004)
        return super().forward(images)


def test_latency_is_the_median_of_single_images_after_a_warm_up_in_evaluation_mode() -> None:
    model = Napping(3, 2, kernel_size=1)
    assert 4 <= latency_ms(model, (8, 8), CPU) < 40
    assert WARM_UPS + PASSES[0] <= model.naps <= WARM_UPS + PASSES[1]


def test_latency_is_measured_once(tmp_path: Path) -> None:
    with Trial(config(), tmp_path) as it:
        assert float(it.facts["latency_ms"]) > 0
        it.step()
    with Trial(config(), tmp_path, attempt=2, reported=1) as again:
        assert "latency_ms" not in again.facts


def test_trials_of_one_network_in_one_process_share_what_it_costs(tmp_path: Path) -> None:
    def costs(folder: str, **changes: object) -> tuple[object, object]:
        with Trial(config(**changes), tmp_path / folder) as it:
            return it.facts["latency_ms"], it.facts["gmacs"]

    first = costs("first")
    assert costs("second", seed=1) == first
    latency, gmacs_ = costs("larger", image_size=(96, 128))
    assert latency != first[0]
    assert gmacs_ != first[1]


# -- equal and resumed trials -----------------------------------------------------------------------------------------


def test_one_seed_gives_one_result(straight: tuple[Path, list[EpochReport]], tmp_path: Path) -> None:
    torch.rand(7)  # whatever the process drew before
    assert numbers(run(config(), tmp_path / "same")) == numbers(straight[1])
    assert numbers(run(config(seed=2, epochs=1), tmp_path / "other")) != numbers(straight[1])[:1]


def test_a_resumed_trial_is_the_same_bit_for_bit(straight: tuple[Path, list[EpochReport]], tmp_path: Path) -> None:
    with Trial(config(), tmp_path) as first:
        first.step()
    reports = run(config(), tmp_path, attempt=2, reported=1)
    assert [r.epoch for r in reports] == [2, 3]
    assert numbers(reports) == numbers(straight[1])[1:]
    assert same_weights(tmp_path, straight[0])


def test_a_damaged_checkpoint_costs_an_epoch_and_changes_nothing(
    straight: tuple[Path, list[EpochReport]], tmp_path: Path
) -> None:
    with Trial(config(), tmp_path) as first:
        first.step(), first.step()
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:1000])
    with Trial(config(), tmp_path, attempt=2, reported=2) as again:
        reports = list(again.run())
    assert [r.epoch for r in reports] == [2, 3]  # epoch 2 again: the driver calls it redone
    assert same_weights(tmp_path, straight[0])
    assert "last.pt: not a readable checkpoint" in str(again.facts["damaged_checkpoint"])


def test_trials_that_take_turns_in_one_process_do_not_disturb_each_other(
    straight: tuple[Path, list[EpochReport]], tmp_path: Path
) -> None:
    with Trial(config(), tmp_path / "a") as a, Trial(config(seed=5), tmp_path / "b") as b:
        reports = [report for _ in range(3) for report in (a.step(), b.step())]
    assert numbers(reports[::2]) == numbers(straight[1])


def test_an_epoch_whose_report_was_lost_is_reported_without_training(tmp_path: Path) -> None:
    with Trial(config(), tmp_path) as it:
        trained = [it.step(), it.step()]
    before = (tmp_path / "last.pt").stat().st_mtime_ns
    with Trial(config(), tmp_path, attempt=2, reported=1) as again:
        assert again.epoch == 2
        report = again.step()
        assert (report.epoch, numbers([report])) == (2, numbers(trained[1:]))
        assert (tmp_path / "last.pt").stat().st_mtime_ns == before
        assert again.step().epoch == 3


def test_a_finished_trial_reports_its_last_epoch_again(straight: tuple[Path, list[EpochReport]]) -> None:
    folder, reports = straight
    before = (folder / "last.pt").stat().st_mtime_ns
    again = run(config(), folder, attempt=1, reported=3)
    assert [(r.epoch, r.done) for r in again] == [(3, True)]
    assert numbers(again) == numbers(reports)[2:]
    assert (folder / "last.pt").stat().st_mtime_ns == before


def test_a_folder_of_another_configuration_is_refused(straight: tuple[Path, list[EpochReport]]) -> None:
    with pytest.raises(ValueError, match="another configuration"):
        Trial(config(seed=99), straight[0])


def test_a_worker_of_an_older_attempt_may_not_write(tmp_path: Path) -> None:
    with Trial(config(), tmp_path) as old, Trial(config(), tmp_path, attempt=2) as new:
        report = new.step()
        saved = (tmp_path / "last.pt").read_bytes()
        with pytest.raises(StaleAttemptError, match="attempt 2"):
            old.step()
        assert (tmp_path / "last.pt").read_bytes() == saved
        assert report.epoch == 1


def test_a_finished_trial_keeps_only_last_and_best(straight: tuple[Path, list[EpochReport]]) -> None:
    assert sorted(path.name for path in straight[0].iterdir()) == [
        "attempt",
        "best.pt",
        "confusions.npz",
        "last.pt",
    ]


# -- when it ends -----------------------------------------------------------------------------------------------------


def history(*values: float) -> list[dict[str, float]]:
    return [{"val_miou": value} for value in values]


def test_the_best_epoch_is_the_first_among_equals() -> None:
    assert best_epoch(history(), Objective()) is None
    assert best_epoch(history(0.1, 0.3, 0.3, 0.2), Objective()) == 2
    assert best_epoch(history(0.2, 0.1, 0.3), Objective(mode="min")) == 2


def test_patience_ends_a_trial_that_no_longer_improves() -> None:
    patient = config(epochs=9, patience=2)
    assert verdict(history(0.1, 0.3, 0.2), patient) == (False, "")
    assert verdict(history(0.1, 0.3, 0.2, 0.3), patient) == (True, "patience: no better val_miou for 2 epochs")
    assert verdict(history(0.1, 0.3, 0.2, 0.4), patient) == (False, "")


def test_patience_ends_a_run(tmp_path: Path) -> None:
    still = entry("sgd", lr=1e-30, weight_decay=0)  # learns nothing, so the first epoch's mean accuracy may stay best
    frozen = config(optimizer=still, epochs=20, patience=1, objective=Objective(metric="lr"))
    reports = run(frozen, tmp_path)
    assert [(r.epoch, r.reason) for r in reports] == [(1, ""), (2, "patience: no better lr for 1 epochs")]


def test_a_loss_that_is_not_finite_ends_the_trial(tmp_path: Path) -> None:
    with (
        Trial(config(optimizer=entry("sgd", lr=1e30, weight_decay=0)), tmp_path) as it,
        pytest.raises(DivergedError, match=r"loss is (nan|inf) in epoch 1, step 2, at lr .*e\+2") as caught,
    ):
        it.step()
    assert (caught.value.epoch, caught.value.step) == (1, 2)
    assert not (tmp_path / "last.pt").exists()


def test_a_nan_lr_diverges_at_the_next_update() -> None:
    model = nn.Conv2d(3, 2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=math.nan)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    split = open_split(dataset_of(config()), "streets", "train", (48, 64))
    batches = list(eval_batches(split, 3, CPU))

    class Squares(nn.Module):
        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return logits.square().mean()

    with pytest.raises(DivergedError, match="step 2, at lr nan: weight weight is not finite"):
        train_epoch(Learner(model, Squares(), optimizer, schedule), batches, epoch=1)


def test_an_epoch_that_breaks_only_at_its_last_update_is_caught_by_validation(tmp_path: Path) -> None:
    one_update = config(optimizer=entry("sgd", lr=1e30, weight_decay=0), batch_size=7)
    with Trial(one_update, tmp_path) as it, pytest.raises(DivergedError, match="val loss"):
        it.step()


def test_an_objective_that_nobody_measures_is_named(tmp_path: Path) -> None:
    with (
        Trial(config(objective=Objective(metric="val_mIoU")), tmp_path) as it,
        pytest.raises(ObjectiveError, match=r"epoch 1: no metric 'val_mIoU'; there are .*val_miou"),
    ):
        it.step()


def test_an_objective_that_is_not_a_number_fails(tmp_path: Path) -> None:
    with Trial(config(), tmp_path) as it, pytest.raises(ObjectiveError, match="val_miou is not a number"):
        training.check_objective({"val_miou": math.nan}, it.config.objective, 1)


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match=r"given 0\.5 GPU, but torch .* sees none"):
        Trial(config(), tmp_path, gpus=0.5)


# -- what it leaves in the process ------------------------------------------------------------------------------------


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def test_a_trial_gives_back_threads_and_generators(tmp_path: Path, two_threads: None) -> None:
    def generators() -> list[object]:
        return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]

    before = generators()
    with Trial(config(), tmp_path, cpus=1) as it:
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
        it.step()
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
    assert generators() == before


def test_a_trial_that_cannot_be_built_gives_threads_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="no loss 'crossentropy'"):
        Trial(config(loss=entry("crossentropy")), tmp_path, cpus=before + 1)
    assert torch.get_num_threads() == before


def test_close_frees_the_model(tmp_path: Path) -> None:
    it = Trial(config(), tmp_path)
    it.step()
    model, train = weakref.ref(it._experiment.learner.model), weakref.ref(it._experiment.train)
    gc.disable()  # close() has to do it, not chance
    try:
        it.close()
        it.close()
    finally:
        gc.enable()
    assert model() is None
    assert train() is None


SELF_REFERRING = """
import sys
from torch import nn
from segsweep.trainables.catalog import MODELS
from segsweep.trainables.components import ComponentOptions as Options

class Looped(nn.Conv2d):
    def __init__(self, classes):
        super().__init__(3, classes, 1)
        object.__setattr__(self, "me", self)

def family(options):
    return "cnn"

def build(options, task):
    return Looped(task.num_classes)

MODELS.register("looped", sys.modules[__name__])
"""


def test_close_frees_a_model_of_a_plugin_that_refers_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin_with_looped.py").write_text(SELF_REFERRING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(catalog.MODELS, "_registered", {})  # other tests go through the whole catalogue
    with Trial(config(model=entry("looped"), plugins=["plugin_with_looped"]), tmp_path / "trial") as it:
        it.step()
        model = weakref.ref(it._experiment.learner.model)
    assert model() is None


def test_trainables_need_nothing_of_the_orchestrator() -> None:
    code = """
        import sys
        import segsweep.trainables.trial
        from segsweep.trainables import catalog
        for kind in (catalog.MODELS, catalog.LOSSES, catalog.DATASETS, catalog.OPTIMIZERS, catalog.LR_SCHEDULES,
                     catalog.AUGMENTATIONS):
            for name in kind.names():
                kind.get(name)
        banned = {"ray", "mlflow", "optuna", "segsweep.orchestrator"}
        print(sorted(banned & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_module_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trial.__doc__
    example = re.search(r"runs one so:\n\n(.*?)\n\nRun again", trial.__doc__, re.DOTALL)
    assert example
    monkeypatch.chdir(tmp_path)
    printed = []
    for _ in range(2):
        exec(textwrap.dedent(example[1]), {})
        printed.append(capsys.readouterr().out)
    assert [line.split()[0] for line in printed[0].splitlines()] == ["1", "2"]
    assert printed[1] == printed[0]
