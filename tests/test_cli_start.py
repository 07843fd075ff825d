"""The command starts without the heavy libraries: each of them would cost seconds (benchmarks/cli.py measures it)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from segsweep.orchestrator.cli import cli

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch", "torchvision", "torchmetrics", "segmentation_models_pytorch", "timm", "transformers", "albumentations",
    "ray", "mlflow", "optuna", "pandas", "numpy", "scipy", "sklearn", "cv2", "PIL", "matplotlib", "sqlalchemy",
}  # fmt: skip
PROGRAM = """
import sys
from segsweep.orchestrator.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def imported_by(*arguments: str, code: int = 0) -> set[str]:
    """Top-level names of the modules that `segsweep ARGUMENTS` has imported when it ends, with this exit code."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("validate", "search_spaces/demo.yaml"),
        ("validate", "--help"),
        ("plan", "search_spaces/demo.yaml"),
        ("schema",),
        ("data", "stats", "--help"),
        ("data", "check", "--help"),
    ],
    ids=" ".join,
)
def test_starts_without_heavy_libraries(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) & HEAVY == set()


def test_mistakes_of_predicting_and_exporting_are_told_without_torch(tmp_path: Path) -> None:
    for name in ("best.pt", "empty.mp4"):
        (tmp_path / name).touch()
    of_network = (str(tmp_path), "-o", str(tmp_path / "out"))
    for wrong in (("predict", str(tmp_path / "empty.mp4"), "--masks", "nowhere"), ("export", "--formats", "onxx")):
        verb, *rest = wrong
        assert imported_by(verb, *of_network, *rest, code=2) & {"torch", "mlflow", "ray"} == set()


def test_names_of_transforms_are_checked_without_their_library(tmp_path: Path) -> None:
    """The committed table of transforms is what they are checked against."""
    file = tmp_path / "x.yaml"
    demo = (ROOT / "search_spaces/demo.yaml").read_text()
    file.write_text(demo.replace("[light]", "[{type: albumentations, transforms: [{OneOf: [CLAHE, Blur]}]}]"))
    assert "CLAHE" in file.read_text()
    assert imported_by("validate", str(file)) & HEAVY == set()


def test_the_list_of_imports_is_complete() -> None:
    assert {"click", "segsweep"} <= imported_by("--help")


def test_an_unknown_verb_is_answered_with_the_one_that_is_near() -> None:
    for words, hint in ((["lunch"], " Did you mean 'launch'?"), (["data", "chekc"], " Did you mean 'check'?")):
        wrong = CliRunner().invoke(cli, words)
        assert wrong.stderr.endswith(f"Error: No such command '{words[-1]}'.{hint}\n")
        assert wrong.exit_code == 2
    assert CliRunner().invoke(cli, ["zebra"]).stderr.endswith("Error: No such command 'zebra'.\n")
