"""What README.md and the other pages tell users to type exists."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.space.source import read

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "cluster.yaml", "clusters/*")
    for path in ROOT.glob(pattern)
)
TEXT = {page: (ROOT / page).read_text() for page in PAGES}
EXAMPLES = {page: re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) for page, text in TEXT.items()}


def test_search_spaces_in_the_readme_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    for whole in EXAMPLES["README.md"]:
        file.write_text(whole)
        spec = check(read(file, ())).spec
    assert [model.name for model in spec.models] == ["segformer/mit_b0", "unet/resnet18"]
    assert len(spec.datasets) * len(spec.models) * len(spec.losses) == 8  # as its comment says


def test_excerpts_elsewhere_go_with_the_example_of_the_readme(tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    excerpts = EXAMPLES["docs/catalogue.md"] + EXAMPLES["docs/training.md"]
    for excerpt in excerpts:
        file.write_text(EXAMPLES["README.md"][-1] + excerpt)
        check(read(file, ()))
    assert excerpts


@pytest.mark.parametrize("page", PAGES)
def test_named_commands_exist(page: str) -> None:
    named = set(re.findall(r"(?<![/\w])segsweep ([a-z]+)(?= [A-Z\[~`-]|`| search_spaces)", TEXT[page]))
    assert named <= set(cli.list_commands(click.Context(cli)))


@pytest.mark.parametrize("page", PAGES)
def test_named_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^#? *)make ([a-z-]+)", TEXT[page], re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    named = set(
        re.findall(
            r"\b((?:search_spaces|trainables|orchestrator|tests|benchmarks|docs|clusters?)/[\w./-]*\w)", TEXT[page]
        )
    )
    ours = {path for path in named if "tversky" not in path}  # the example of a file to add
    assert [path for path in sorted(ours) if not (ROOT / path).exists()] == []


def test_readme_lists_every_command() -> None:
    for command in cli.list_commands(click.Context(cli)):
        assert f"segsweep {command}" in TEXT["README.md"]
