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
        yield from imported(node, package)


def needs(package: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in (ROOT / package).rglob("*.py"):
        room = file.relative_to(ROOT / package).parts[0].removesuffix(".py")
        modules = imported(ast.parse(file.read_text()), package)
        own = {room_of(module, package) for module in modules if module.startswith(f"segsweep.{package}.")}
        found.setdefault(room, set()).update(own - {room})
    return found


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


def test_only_commands_and_those_who_run_sweeps_need_everything() -> None:
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
