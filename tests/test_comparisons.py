"""The published comparisons among the shipped search spaces run in miniature, by the words of their own heads."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from segsweep.orchestrator.cli import main
from segsweep.orchestrator.record.journal import AttemptEnded, read_events
from segsweep.orchestrator.space.source import read

SPACES = Path(__file__).parents[1] / "search_spaces"
LAYOUTS = {
    "cityscapes_categories": "cityscapes_sample",
    "bdd100k_drivable": "bdd100k_layout_from_camvid",
    "oxford_pet": "pet_layout_from_horses",
}


def small(text: str) -> list[str]:
    """What the head of a search space says under Small is to be added to the command."""
    found = re.search(r"^# Small .*\n((?:#  .*\n)+)", text, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1].replace("#", ""))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_comparison_runs_in_miniature(
    name: str, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_root / LAYOUTS[name]).is_dir():
        pytest.skip(f"no {data_root / LAYOUTS[name]}")
    file = SPACES / f"{name}.yaml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGSWEEP_DATA", str(data_root))
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    added = small(file.read_text())
    assert f"datasets[0].root={LAYOUTS[name]}" in added
    monkeypatch.setattr(sys, "argv", ["segsweep", "launch", str(file), *added])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    (journal,) = tmp_path.glob("sweeps/*/journal.jsonl")
    ended = [event.status for event, _ in read_events(journal) if isinstance(event, AttemptEnded)]
    models = read(file).data["models"]
    assert isinstance(models, list)
    assert ended == ["finished"] * len(models)
