"""The folders of the orchestrator are rooms with one direction: none of them needs another that needs it."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

ORCHESTRATOR = Path(__file__).parents[1] / "orchestrator"
PREFIX = "segsweep.orchestrator."


def room_of(module: str) -> str:
    """ "segsweep.orchestrator.space.spec" -> "space"; a module that lies in no room is its own."""
    return module.removeprefix(PREFIX).partition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a file needs, wherever it imports them; what only type checkers read does not count."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.ImportFrom(module=str(module), names=names):
                yield from ([module] if module != PREFIX[:-1] else [f"{module}.{alias.name}" for alias in names])
        yield from imported(node)


def needs() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in ORCHESTRATOR.rglob("*.py"):
        room = file.relative_to(ORCHESTRATOR).parts[0].removesuffix(".py")
        modules = [module for module in imported(ast.parse(file.read_text())) if module.startswith(PREFIX)]
        found.setdefault(room, set()).update({room_of(module) for module in modules} - {room})
    return found


def test_no_two_rooms_need_each_other() -> None:
    order = list(graphlib.TopologicalSorter(needs()).static_order())  # raises CycleError, which names the circle
    assert order.index("record") < order.index("driving") < order.index("backends") < order.index("launching")


def test_only_commands_and_those_who_run_sweeps_need_everything() -> None:
    for room in ("record", "space", "planning", "checking", "schedulers", "searchers"):
        assert not needs()[room] & {"backends", "launching", "commands", "board"}, room
