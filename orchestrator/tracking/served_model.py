"""A trained network as a model of MLflow: the folder that mlflow.pyfunc.load_model takes, and its registration."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from segsweep import trainables
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.store import connect, import_mlflow, message_of

LOADER = "segsweep.trainables.prediction.served"
ORCHESTRATION = {"ray", "optuna", "click", "rich", "ruamel.yaml", "matplotlib"}  # dependencies that predicting has not
ARTIFACT = "model"  # the folder among a run's artifacts


def requirements() -> list[str]:
    """What the model needs, in the versions that are installed here."""
    from packaging.requirements import Requirement

    declared = [Requirement(line) for line in requires("segsweep") or ()]
    names = {each.name for each in declared if each.marker is None} - ORCHESTRATION
    return sorted(f"{name}=={version(name).partition('+')[0]}" for name in names)


def save(network: Path, folder: Path, metadata: Mapping[str, Any]) -> None:
    """network: a folder that `portable.save` filled; it and segsweep's own code are copied. Raises OSError."""
    import_mlflow()
    from mlflow import pyfunc

    if folder.exists():
        shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types that are open, as they are meant to be
        code = Path(place, "segsweep")
        own = Path(next(iter(trainables.__path__)))
        shutil.copytree(own, code / "trainables", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        pyfunc.save_model(
            folder,
            loader_module=LOADER,
            data_path=network,
            code_paths=[str(code)],
            pip_requirements=requirements(),
            signature=_signature(),
            metadata=dict(metadata),
        )


def _signature() -> Any:
    """An image may be a path, bytes or an array, so its type is open."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

    mask = Array(Array(DataType.integer))
    return ModelSignature(Schema([ColSpec(AnyType(), "image")]), Schema([ColSpec(mask, "mask")]))


def register(uri: str, run_id: str, folder: Path, name: str) -> str:
    """Keep the model among the artifacts of a trial's run, as the next version of `name`; the version.

    Raises InputError if the store does not take it.
    """
    from mlflow.exceptions import MlflowException

    client = connect(uri)
    try:
        client.log_artifacts(run_id, str(folder), ARTIFACT)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        source = f"{client.get_run(run_id).info.artifact_uri}/{ARTIFACT}"
        return str(client.create_model_version(name, source, run_id).version)
    except (MlflowException, OSError) as error:
        raise InputError(Mistake(f"--register {name}", f"{uri} does not take it: {message_of(error)}")) from None


def run_of(uri: str, sweep_uid: str, trial_id: str) -> str:
    """The run of a trial. Raises InputError if the store has none."""
    rows = Reader(uri).trials(sweep_uid=sweep_uid) + Reader(uri).trials(sweep_uid=sweep_uid, kind="confirm")
    found = next((row.run_id for row in rows if row.trial_id == trial_id), None)
    if found is None:
        remedy = "send it there with `segsweep sync`, or name its store with --tracking-uri"
        raise InputError(Mistake("--register", f"{uri} has no run of trial {trial_id}; {remedy}"))
    return found
