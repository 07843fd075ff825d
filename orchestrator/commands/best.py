"""segsweep best"""

from __future__ import annotations

import click

from segsweep.orchestrator.commands._options import as_json, tracking_uri


@click.command("best", short_help="The best configuration, ready to launch again.")
@click.argument("sweep", required=False)
@click.option("--dataset", help="Best on this dataset; need not be given where there is only one.")
@click.option("--model", help="Only this model, by its name on the leaderboard.")
@click.option("--metric", help="Best by this metric. Default: the sweep's objective.")
@tracking_uri
@as_json
def command(
    sweep: str | None, dataset: str | None, model: str | None, metric: str | None, uri: str | None, as_json: bool
) -> None:
    """Print the best run, of SWEEP or of all sweeps, as a search space that runs just this configuration and seed.

    Where trials were confirmed: of the configuration with the best mean over fresh seeds, on val, the best run.
    Elsewhere the best finished trial. Of all sweeps, those confirmed on the dataset go first. reproduce, predict,
    export and compare take the same run.

    \b
    segsweep best --dataset camvid > best.yaml
    segsweep launch best.yaml
    """
    import json
    from pathlib import Path

    from segsweep.orchestrator.board.winner import winner
    from segsweep.orchestrator.checking.reproduction import as_yaml, single_point
    from segsweep.orchestrator.errors import InputError, Mistake
    from segsweep.orchestrator.tracking.store import resolve_uri

    uri = resolve_uri(uri, Path.cwd())
    row, metric, why, confirmed, warnings = winner(uri, dataset=dataset, model=model, sweep=sweep, metric=metric)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if row.config is None:
        raise InputError(Mistake(f"MLflow run {row.run_id}", "another version of segsweep wrote its configuration"))
    facts = {
        "sweep": row.sweep,
        "sweep_uid": row.sweep_uid,
        "trial": row.trial_id,
        "dataset": row.dataset,
        "model": row.model,
        metric: row.value,
        "chosen": why,
        **(confirmed.summary if confirmed else {}),
        "epoch": row.best_epoch,
        "evaluation": row.evaluation or None,
        "run_id": row.run_id,
        "tracking_uri": uri,
        "checkpoint": row.checkpoint or None,
    }
    tree = single_point(row.config)
    if as_json:
        click.echo(json.dumps({**facts, "search_space": tree}, indent=2))
        return
    click.echo(as_yaml(tree, [f"{key}: {value}" for key, value in facts.items() if value is not None]))
