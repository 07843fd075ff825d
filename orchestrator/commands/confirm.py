"""segsweep confirm"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segsweep.orchestrator.commands._options import as_json, machinery, storage

if TYPE_CHECKING:
    from segsweep.orchestrator.launching.launch import Machinery


@click.command("confirm", short_help="Train a sweep's best trials again with fresh seeds; score them on test.")
@click.argument("sweep", required=False)
@click.option("--top", type=click.IntRange(1), help="Trials of each cell.  [default: the sweep's, else 2]")
@click.option("--seeds", type=click.IntRange(2), help="Fresh seeds for each of them.  [default: the sweep's, else 3]")
@storage
@machinery
@as_json
def command(
    sweep: str | None,
    top: int | None,
    seeds: int | None,
    storage: Path,
    how: Machinery,
    as_json: bool,
) -> None:
    """Confirm the winners of SWEEP (a name, a folder or an address; default: the last one).

    The best of many trials by one seed looks better than it is. Its configuration is trained again, up to the epoch
    limit, with seeds that the sweep has not used; each is scored on the validation split as before, and once, at its
    best epoch, on the test split. `confirm: {top: 2, seeds: 3}` in the search space does so at the end of `launch`.
    A search that was interrupted is finished first, as by `segsweep resume`.

    \b
    segsweep confirm camvid-1 --top 1 --seeds 5
    """
    from segsweep.orchestrator.commands._options import sweep_folder
    from segsweep.orchestrator.commands._run import announcer, run_to_the_end
    from segsweep.orchestrator.driving.recorded import recorded
    from segsweep.orchestrator.launching.extension import extend
    from segsweep.orchestrator.record.journal import JOURNAL
    from segsweep.orchestrator.record.state import SweepState
    from segsweep.orchestrator.space.confirm import Confirm
    from segsweep.orchestrator.watching.status import phase

    folder = sweep_folder(sweep, storage, announce=announcer(how), trials=how.address is None)
    if phase(folder, SweepState.load(folder / JOURNAL)) in ("interrupted", "killed", "crashed"):
        announcer(how)(f"the search of {folder.name} has not ended: it is finished first. Ctrl-C stops it cleanly")
    before = recorded(folder).spec.confirm
    asked = {key: value for key, value in (("top", top), ("seeds", seeds)) if value is not None}
    after = (before or Confirm()).model_copy(update=asked)
    if after != before:
        extend(folder, {"confirm": after.model_dump()}, how, announcer(how))
    raise SystemExit(run_to_the_end(folder, how, as_json=as_json))
