"""segsweep export"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from segsweep.orchestrator.commands._options import as_json
from segsweep.orchestrator.commands._trained import RUN, chosen, found, of_run, tell_chosen


@click.command("export", short_help="A trained network as ONNX, TorchScript, MLflow model, with its model card.")
@of_run
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="The folder to write to.")  # fmt: skip
@click.option("--formats", metavar="A,B", help="Of safetensors, onnx, torchscript, exported_program and mlflow.  "
              "[default: all but exported_program]")  # fmt: skip
@click.option("--register", metavar="NAME", help="Also register the MLflow model by this name, in the trial's store.")
@as_json
def command(output: Path, formats: str | None, register: str | None, as_json: bool, **given: Any) -> None:
    import json

    from segsweep.orchestrator.errors import InputError
    from segsweep.orchestrator.exporting.bundle import as_lines, chosen_formats
    from segsweep.orchestrator.exporting.run import export_run, run_that_keeps
    from segsweep.orchestrator.tracking import served_model
    from segsweep.orchestrator.tracking.store import resolve_uri

    names = chosen_formats(formats)
    if register is not None and "mlflow" not in names:
        names = (*names, "mlflow")
    trained, uri = found(*(given[name] for name in ("run", "storage", "uri", "dataset", "model"))), given["uri"]
    run_id = None if register is None else run_that_keeps(trained, register, uri)
    bundle, version = export_run(trained, names, output, uri), None
    if register is not None and run_id is not None:
        version = served_model.register(resolve_uri(uri, Path.cwd()), run_id, bundle.files["mlflow"], register)
    if as_json:
        files = {name: str(path) for name, path in bundle.files.items()}
        facts = {"run": str(trained), **chosen(trained), "checkpoint": str(trained.checkpoint), "files": files}
        click.echo(json.dumps({**facts, "version": version, "mistakes": [str(mistake) for mistake in bundle.mistakes]}))
    else:
        tell_chosen(trained)
        click.echo("\n".join(as_lines(bundle)))
        if version is not None:
            click.echo(f"registered: models:/{register}/{version}")
    InputError.raise_if(bundle.mistakes)


command.help = f"""Write the network of RUN in the formats of other programs, each compared with it, and a model card.

{RUN}

The networks take RGB images as they are, from 0 to 255. `segsweep predict` takes the folder, too.
"""
