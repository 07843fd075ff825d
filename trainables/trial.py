"""One configuration, trained once: data, model, loss, optimizer, LR schedule, epochs, metrics and checkpoint.

A trial needs nothing but this package. A plain script runs one so:

    from pathlib import Path

    from segsweep.trainables.config import Entry, TrialConfig
    from segsweep.trainables.trial import Trial

    config = TrialConfig(
        trial_id="001",
        dataset=Entry(type="streets", name="streets", options={"train": 16, "val": 8}),
        model=Entry(type="unet", name="unet/resnet18", options={"encoder": "resnet18"}),
        loss=Entry(type="cross_entropy", name="cross_entropy"),
        optimizer=Entry(type="adamw", name="adamw", options={"lr": 1e-3, "weight_decay": 0.01}),
        lr_schedule=Entry(type="poly", name="poly"),
        augmentation=Entry(type="light", name="light"),
        epochs=2,
        batch_size=4,
        image_size=(48, 64),
        seed=0,
    )
    with Trial(config, Path("trials/001")) as trial:
        for report in trial.run():
            print(report.epoch, report.metrics["val_miou"], report.reason)

Run again, the same script trains nothing: it finds the finished trial in its folder and reports both epochs.
"""

from __future__ import annotations

import gc
import hashlib
import os
import platform
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from segsweep.trainables import catalog
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.parallel.followers import followers
from segsweep.trainables.places import BEST, CONFUSIONS, TEST_CONFUSIONS
from segsweep.trainables.scoring.confusions import Confusions, SparseMatrix
from segsweep.trainables.training.checkpoint import CheckpointFolder, Last
from segsweep.trainables.training.ending import best_epoch, verdict
from segsweep.trainables.training.epoch import (
    Metrics,
    Place,
    Scored,
    images_of,
    micro_batch_facts,
    score_test,
    train_and_score,
)
from segsweep.trainables.training.experiment import TestSplit, build, least_batch, pick_device
from segsweep.trainables.training.horizon import same_course
from segsweep.trainables.training.isolation import cpu_threads, seeded
from segsweep.trainables.training.micro_batches import free, halving
from segsweep.trainables.training.network_costs import network_costs
from segsweep.trainables.weights.loading import remembered


@dataclass(frozen=True)
class EpochReport:
    """What one step says. epoch counts 1, 2 ... over all attempts."""

    epoch: int
    metrics: Mapping[str, float]
    done: bool
    reason: str  # why it is done: "epoch limit", "patience: ..."; "" while it is not


class Trial:
    """Trains `config` epoch by epoch. Whatever is in `folder` from earlier attempts is continued exactly."""

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        *,
        attempt: int = 1,
        reported: int = 0,
        cpus: int = 1,
        gpus: float = 0.0,
        processes: int | None = None,
    ) -> None:
        """folder: the trial's own; attempt: see checkpoint.py; reported: epochs that the caller knows already.

        processes: how many train it together, see parallel; they share the CPUs. None: one for every GPU, else one.
        Raises DataError, UnknownComponentError, pydantic.ValidationError, StaleAttemptError, DoesNotFitError.
        """
        began = time.perf_counter()
        self.config = config
        size = processes or max(1, int(gpus))
        self._place = place = Place(pick_device(gpus), max(1, cpus // size))
        with ExitStack() as undo:
            undo.enter_context(cpu_threads(place.cpus))
            self._followers = undo.enter_context(followers(size, place))
            self._folder = CheckpointFolder(folder, attempt)
            catalog.import_plugins(config.plugins)
            self._reported = reported
            images = images_of(config, place.device)
            halving(lambda _: self._take_up(), 1, images)
            self.facts: dict[str, float | str] = halving(lambda _: self._facts(cpus, gpus, size), 1, images)[0]
            self._followers.begin(config, self._experiment)
            self._undo = undo.pop_all()  # everything went well: undone in close()
        self.facts["setup_s"] = time.perf_counter() - began

    @property
    def epoch(self) -> int:
        """Epochs trained so far, over all attempts."""
        return len(self._history)

    def step(self) -> EpochReport:
        """The next epoch that has not been reported: out of the checkpoint if it is there, else trained now.

        A driver can die between a checkpoint and its report; so nothing is trained twice. Of a finished trial the last
        epoch is reported again. Where memory does not hold a batch, the epoch begins again with half as many images at
        once. Raises DivergedError, ObjectiveError, StaleAttemptError, ProcessLostError, DoesNotFitError.
        """
        if not self._verdict(self._reported)[0]:
            if self._reported == self.epoch:
                self._train_one_epoch()
            self._reported += 1
        done, reason = self._verdict(self._reported)
        return EpochReport(self._reported, dict(self._history[self._reported - 1]), done, reason)

    def run(self) -> Iterator[EpochReport]:
        """Step until done."""
        while True:
            report = self.step()
            yield report
            if report.done:
                return

    def close(self) -> None:
        """Give memory and threads back. The trial cannot be used afterwards; closing twice does nothing."""
        self._release()
        self._undo.close()
        if self._place.device.type == "cuda":
            torch.cuda.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _release(self) -> None:
        if "_experiment" in self.__dict__:
            model = weakref.ref(self._experiment.learner.model)
            del self._experiment
            if model() is not None:  # an architecture that refers to itself; collecting costs 0.25 s, so only then
                gc.collect()

    def _take_up(self, at_once: int | None = None) -> None:
        """Build what the configuration stands for, and go on where its checkpoint ends; at_once: see micro_batch."""
        last = self._last()
        with seeded(self.config.seed, 0, self._place.device):
            self._experiment = build(self.config, self._place.device, pretrained=last and remembered(last))
        if last is not None:
            self._experiment.learner.load_state_dict(last)
        learner = self._experiment.learner
        learner.micro_batch = at_once or learner.micro_batch
        if learner.micro_batch is not None:
            learner.least_batch = least_batch(self.config, len(self._experiment.classes))
        self._history: list[Metrics] = last["history"] if last is not None else []  # [epoch - 1]
        self._reported = min(self._reported, len(self._history))

    def _train_one_epoch(self) -> None:
        """Train, score, save: once the checkpoint is on disk the epoch counts, and not before."""
        began, config, it = time.perf_counter(), self.config, self._experiment
        first, classes = it.learner.micro_batch or min(config.batch_size, len(it.train)), len(it.classes)
        alone = it.learner.team.size == 1  # several processes would have to begin again together
        del it  # another attempt needs its room
        (metrics, images), _ = halving(
            lambda at_once: self._attempt(at_once, again=at_once < first),
            first,
            images_of(config, self._place.device),
            lambda: least_batch(config, classes) if alone else first,
        )
        metrics["epoch_s"] = time.perf_counter() - began
        self._history.append(metrics)
        self._save(images)
        metrics["epoch_s"] = time.perf_counter() - began  # now with the time that saving took

    def _attempt(self, at_once: int, *, again: bool) -> Scored:
        """The next epoch; again: after memory did not hold more images at once, from where the epoch began."""
        if again:
            self._release()
            free()
            self._take_up(at_once)
            self.facts |= micro_batch_facts(self._experiment, self.config)
        epoch = self.epoch + 1
        with self._followers.led(epoch):
            return train_and_score(self._experiment, self.config, epoch, self._place)

    def _save(self, images: Sequence[SparseMatrix]) -> None:
        """Best first: a kill between the files leaves an epoch to train again, and never a best that is missing."""
        it, config = self._experiment, self.config.model_dump_json()
        pretrained = it.pretrained.as_saved()
        if best_epoch(self._history, self.config.objective) == self.epoch:
            metrics, classes, model = self._history[-1], list(it.classes), it.learner.scored.state_dict()
            self._folder.save_best(
                {
                    "config": config,
                    "classes": classes,
                    "epoch": self.epoch,
                    "metrics": metrics,
                    "model": model,
                    **pretrained,
                },
                Confusions(it.val.ids, it.classes, self.epoch, tuple(images), it.val_groups, it.scored),
            )
        if it.test is not None and self._verdict(self.epoch)[0]:
            self._test(it.test)
        self._folder.save_last({"config": config, "history": self._history, **it.learner.state_dict(), **pretrained})
        if self._verdict(self.epoch)[0]:
            self._folder.drop_previous()

    def _test(self, test: TestSplit) -> None:
        """Adds the scores of the test split to those of the last epoch, so that they are made once."""
        it, best = self._experiment, self._folder.load_best()
        metrics, images = score_test(it, self.config, self._place, best["model"])
        self._history[-1] |= metrics
        confusions = Confusions(test.split.ids, it.classes, best["epoch"], tuple(images), test.groups, it.scored)
        self._folder.save_test(confusions)

    def _last(self) -> Last | None:
        """What an earlier attempt left. Raises ValueError if it is another trial's."""
        last = self._folder.load_last()
        if last is not None and not self._goes_on(TrialConfig.model_validate_json(last["config"])):
            raise ValueError(
                f"{self._folder.path} holds a trial of another configuration; give this one its own folder"
            )
        return last

    def _goes_on(self, before: TrialConfig) -> bool:
        """The checkpoint's trial is this one, or this one with fewer epochs and the same course until there."""
        with_more = before.model_copy(update={"epochs": self.config.epochs})
        if with_more != self.config or before.epochs > self.config.epochs:
            return False
        return before == self.config or same_course(before.lr_schedule, before.epochs, self.config.epochs)

    def _verdict(self, epochs: int) -> tuple[bool, str]:
        return verdict(self._history[:epochs], self.config)

    def _facts(self, cpus: int, gpus: float, processes: int) -> dict[str, float | str]:
        it = self._experiment
        model, loss = it.learner.model, it.learner.loss
        scored = "" if it.scored is None else f"scored {it.scored}"  # not to be compared either
        fingerprint = hashlib.sha256((it.train.fingerprint + it.val.fingerprint + scored).encode()).hexdigest()[:16]
        return {
            "params_m": sum(p.numel() for p in model.parameters()) / 1e6,
            **network_costs(it, self.config, self._place, timed=not self._reported),
            **it.learner.arithmetic.facts,
            **micro_batch_facts(it, self.config),
            "train_images": float(len(it.train)),
            "val_images": float(len(it.val)),
            "data_fingerprint": fingerprint,
            **it.pretrained.facts,
            "device": str(self._place.device),
            "cpus": float(cpus),
            "gpus": gpus,
            "processes": float(processes),
            **({} if processes == 1 or loss.adds_up else {"loss_of": "each process's share of a batch"}),
            "host": platform.node(),
            "pid": str(os.getpid()),
            "torch": torch.__version__,
            "checkpoint": str(self._folder.path / BEST),
            **({"damaged_checkpoint": self._folder.damage} if self._folder.damage else {}),
            "confusions": str(self._folder.path / CONFUSIONS),
            **self._test_facts(),
        }

    def _test_facts(self) -> dict[str, float | str]:
        if (test := self._experiment.test) is None:
            return {}
        path = str(self._folder.path / TEST_CONFUSIONS)
        return {
            "test_images": float(len(test.split)),
            "test_fingerprint": test.split.fingerprint[:16],
            "test_confusions": path,
        }
