"""Texts that are stored beside a sweep's run once it has one, such as its report."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from segsweep.orchestrator.tracking.ledger import Ledger
from segsweep.orchestrator.tracking.store import check, connect, message_of


def attach(folder: Path, texts: Mapping[str, str]) -> str:
    """Store them as artifacts of the run of the sweep in `folder`, by path; older ones of that path are replaced.

    The id of the run. Raises InputError if the store does not answer, RuntimeError for what else it says.
    """
    ledger = Ledger.load(folder / "tracking.json")
    if not ledger.parent:
        raise RuntimeError(f"it has no run of this sweep yet; `segsweep sync {folder.name}` sends it")
    check(ledger.uri)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for path, text in texts.items():
                file = Path(scratch, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            connect(ledger.uri).log_artifacts(ledger.parent, scratch)
    except Exception as error:
        raise RuntimeError(message_of(error)) from error
    return ledger.parent
