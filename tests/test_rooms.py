"""The folders of each package are rooms with one direction: none of them needs another that needs it."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def room_of(module: str, package: str) -> str:
    """ "segsweep.orchestrator.space.spec" -> "space"; a module that lies in no room is its own."""
    return module.removeprefix(f"segsweep.{package}.").partition(".")[0]


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Modules that a file needs, wherever it imports them; what only type checkers read does not count."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.ImportFrom(module=str(module), names=names):
                whole = module == f"segsweep.{package}"
                yield from [f"{module}.{alias.name}" for alias in names] if whole else [module]
            case ast.Import(names=names):
                yield from [alias.name for alias in names]
        yield from imported(node, package)


def needs(package: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in (ROOT / package).rglob("*.py"):
        room = file.relative_to(ROOT / package).parts[0].removesuffix(".py")
        modules = imported(ast.parse(file.read_text()), package)
        own = {room_of(module, package) for module in modules if module.startswith(f"segsweep.{package}.")}
        found.setdefault(room, set()).update(own - {room})
    return found


def test_imports_are_seen_in_each_of_their_forms_and_wherever_they_are() -> None:
    code = """
import segsweep.trainables.trial as it
if TYPE_CHECKING:
    from segsweep.trainables.survey import nothing
def late():
    from segsweep.trainables import catalog, config
    from segsweep.trainables.data.splits import part
"""
    places = ("trial", "catalog", "config", "data.splits")
    assert list(imported(ast.parse(code), "trainables")) == [f"segsweep.trainables.{place}" for place in places]


@pytest.mark.parametrize(
    ("package", "way"),
    [
        ("orchestrator", ["record", "driving", "backends", "launching"]),
        ("trainables", ["components", "data", "cache", "training", "parallel", "trial"]),
    ],
)
def test_no_two_rooms_need_each_other(package: str, way: list[str]) -> None:
    order = list(graphlib.TopologicalSorter(needs(package)).static_order())  # raises CycleError, which names the circle
    assert [room for room in order if room in way] == way


def test_rooms_that_describe_and_record_sweeps_need_none_that_run_or_rank_them() -> None:
    for room in ("record", "space", "planning", "checking", "schedulers", "searchers"):
        assert not needs("orchestrator")[room] & {"backends", "launching", "commands", "board"}, room


@pytest.mark.parametrize("package", ["orchestrator", "trainables"])
def test_the_map_for_contributors_shows_every_room(package: str) -> None:
    drawn = (ROOT / "CONTRIBUTING.md").read_text().split("## Where things are\n")[1].split("\n\n")[0]
    rooms = {file.parent.name for file in (ROOT / package).glob("*/__init__.py")}
    assert {room for room in rooms if f" {room}/" not in drawn} == set()


def test_components_know_nothing_of_training() -> None:
    for room in ("models", "losses", "datasets", "optimizers", "lr_schedules", "augmentations"):
        needed = needs("trainables")[room] & {"training", "parallel", "trial", "cache", "survey"}
        assert needed <= ({"cache"} if room == "datasets" else set()), room  # which fetches what lies at addresses
