"""From a trained network that the user named to its folder of files, and into MLflow's registry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from segsweep.orchestrator.board.confirmed import Confirmed
from segsweep.orchestrator.board.trained import Trained
from segsweep.orchestrator.board.winner import confirmed_trial
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.exporting.bundle import CARD, Bundle, export
from segsweep.orchestrator.exporting.model_card import model_card
from segsweep.orchestrator.exporting.origin import origin
from segsweep.orchestrator.predicting.run import model_of
from segsweep.orchestrator.tracking import served_model
from segsweep.orchestrator.tracking.store import resolve_uri

logger = logging.getLogger(__name__)


def export_run(trained: Trained, formats: Sequence[str], output: Path, uri: str | None) -> Bundle:
    """uri: of MLflow's store, see resolve_uri. Raises InputError; what a format cannot express is a mistake of the
    bundle instead."""
    model = model_of(trained, "cpu")
    came = origin(trained, uri)
    facts = {"segsweep.run": str(trained), **{f"segsweep.{key}": value for key, value in came.comments.items()}}
    try:
        bundle = export(model, formats, output, facts)
        card = model_card(model, trained, bundle, came, _confirmed(trained, uri))
        (output / CARD).write_text(card, encoding="utf-8")
    except OSError as error:
        raise InputError(Mistake(f"--output {output}", f"cannot be written: {error.strerror or error}")) from None
    return bundle


def _confirmed(trained: Trained, uri: str | None) -> Confirmed | None:
    """An export needs no MLflow, so it goes on without one that does not answer."""
    if not trained.sweep_uid:
        return None
    try:
        return confirmed_trial(resolve_uri(uri, Path.cwd()), trained.sweep_uid, trained.trial_id)
    except InputError as error:
        logger.warning("the model card says nothing of fresh seeds: %s", error)
        return None


def run_that_keeps(trained: Trained, name: str, uri: str | None) -> str:
    """The id of the trial's run, whose artifact the model called `name` is to be. Raises InputError."""
    if not trained.run_id and not trained.sweep_uid:
        why = "the trial's run in MLflow keeps it; name the trial as SWEEP:TRIAL or run:ID instead of its file"
        raise InputError(Mistake(f"--register {name}", why))
    return trained.run_id or served_model.run_of(resolve_uri(uri, Path.cwd()), trained.sweep_uid, trained.trial_id)
