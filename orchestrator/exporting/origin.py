"""Where a trial came from: its configuration, the data's fingerprint, versions, commits and command of its sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.provenance import PACKAGES, git_commit, installed, source_commit
from segsweep.orchestrator.record.journal import JOURNAL
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.records import flat, text
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.places import CONFIG, WEIGHTS

VERSIONS = "versions."


@dataclass(frozen=True)
class Origin:
    config: TrialConfig
    fingerprint: str = ""  # of the images and labels that the trial saw; "" where nobody recorded it
    facts: Mapping[str, str] = field(default_factory=dict)  # git_commit, command, versions.torch ...; {} likewise

    @property
    def comments(self) -> dict[str, str]:
        """What one has to know beside the search space to run the trial again."""
        shown = {key: self.facts.get(key, "") for key in ("command", "python", "platform")}
        libraries = {key: value for key, value in self.facts.items() if key.startswith(VERSIONS)}
        versions = ", ".join(f"{key.removeprefix(VERSIONS)} {value}" for key, value in libraries.items())
        found = {**shown, "versions": versions, "data_fingerprint": self.fingerprint}
        return {key: value for key, value in found.items() if value} | self._commits

    @property
    def _commits(self) -> dict[str, str]:
        if not self.facts:
            return {}
        own = self.facts.get("segsweep_commit") or "none recorded: segsweep was installed, or an older one"
        folders = self.facts.get("git_commit") or "none: it was in no git repository"
        return {"segsweep_commit": own, "git_commit": folders}

    def differences(self) -> Iterator[str]:
        """What is not here as it was there, so that a score may come out otherwise."""
        for name in PACKAGES:
            then, now = self.facts.get(VERSIONS + name, ""), installed(name)
            if then and then != now:
                yield f"{name} was {then}, here it is {now or 'not installed'}"
        then, now = self.facts.get("segsweep_commit", ""), source_commit()
        if then and then != now:
            yield f"segsweep's commit was {then}, here it is {now or 'unknown: segsweep is installed'}"
        then, now = self.facts.get("git_commit", ""), git_commit(Path.cwd())
        if then and then != now:
            yield f"the folder's commit was {then}, here it is {now or 'unknown: this folder is no repository'}"


def origin(trained: Trained, uri: str | None) -> Origin:
    """Of the journal beside the checkpoint, or of MLflow, or of the checkpoint alone. Raises InputError."""
    journal = trained.checkpoint.parents[2] / JOURNAL if len(trained.checkpoint.parents) > 2 else Path()
    if journal.is_file():
        state, id_ = SweepState.load(journal), trained.checkpoint.parent.name
        if id_ in state.trials and state.created is not None:
            trial = state.trials[id_]
            facts = {key: text(value) for key, value in flat(state.created.provenance)}
            return Origin(trial.config, str(trial.facts.get("data_fingerprint", "")), facts)
    if trained.sweep_uid:
        return _of_mlflow(trained, resolve_uri(uri, Path.cwd()))
    return Origin(_config_of(trained))


def _of_mlflow(trained: Trained, uri: str) -> Origin:
    reader = Reader(uri)
    rows = reader.trials(sweep_uid=trained.sweep_uid) + reader.trials(sweep_uid=trained.sweep_uid, kind="confirm")
    row = next(row for row in rows if row.trial_id == trained.trial_id)
    if row.config is None:
        raise InputError(Mistake(f"MLflow run {row.run_id}", "another version of segsweep wrote its configuration"))
    return Origin(row.config, row.data_fingerprint, reader.provenance(trained.sweep_uid))


def _config_of(trained: Trained) -> TrialConfig:
    try:
        if trained.checkpoint.name == WEIGHTS:
            described = json.loads(trained.checkpoint.with_name(CONFIG).read_text())
            return TrialConfig.model_validate(described["config"])
        from segsweep.trainables.training.checkpoint import load

        return TrialConfig.model_validate_json(load(trained.checkpoint)["config"])
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise InputError(Mistake(f"RUN {trained}", f"says no configuration that can be used here ({error})")) from None
