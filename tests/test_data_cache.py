"""segsweep data cache: what it lists and removes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from segsweep.orchestrator.checking.validation import Checked, check
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.preflight import check_data
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.space.source import parse
from segsweep.trainables.cache.cached_split import CachedSplit, open_split
from segsweep.trainables.datasets import streets

Run = Callable[..., Result]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """day/train in use, day/val damaged, night/train unfinished; used last in this order."""
    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(cache: Path) -> CachedSplit:
    data = streets.build(streets.Options(train=20, val=4))
    train, val = open_split(data, "day", "train", (32, 48)), open_split(data, "day", "val", (48, 64))
    night = open_split(data, "night", "train", (32, 48))
    (val.folder / "00000").write_bytes(b"")
    log = night.folder / "cache.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    for seconds, split in ((3000, train), (2000, val), (1000, night)):
        os.utime(split.folder / "cache.jsonl", (seconds, seconds))
    return train


@pytest.fixture
def run() -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["data", "cache", *arguments], catch_exceptions=False)

    return run


def listed(run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("ls", "--json").stdout)["entries"]
    return found


def test_the_list_says_what_is_cached_and_in_which_state(run: Run, filled: CachedSplit, cache: Path) -> None:
    entries = listed(run)
    assert [(e["dataset"], e["split"], e["image_size"], e["images"]) for e in entries] == [
        ("day", "train", [32, 48], 20),
        ("day", "val", [48, 64], 4),
        ("night", "train", [32, 48], 20),
    ]
    assert [(e["in_use"], e["state"]) for e in entries] == [(True, "whole"), (False, "damaged"), (False, "unfinished")]
    assert entries[0]["last_used"] == "1970-01-01T00:50:00+00:00"
    assert entries[0]["folder"] == str(filled.folder)
    bytes_used = sum(path.stat().st_size for path in filled.folder.iterdir())
    assert entries[0]["gib"] == bytes_used / 2**30


def test_the_table_has_a_line_for_each(run: Run, filled: CachedSplit) -> None:
    lines = run("ls").stdout.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["dataset", "split", "size", "images"],
        ["day", "train", "32x48", "20"],
        ["day", "val", "48x64", "4"],
        ["night", "train", "32x48", "20"],
    ]
    assert [line.split("  ")[-1] for line in lines[1:]] == ["in use", "damaged", "unfinished"]


def test_an_empty_cache_is_an_empty_list(run: Run, cache: Path) -> None:
    assert listed(run) == []
    assert run("clear").stdout == f"0.00 GiB freed, 0 removed, 0 kept in {cache}\n"


def test_an_unreadable_log_is_listed_as_damaged_and_can_be_cleared(run: Run, filled: CachedSplit) -> None:
    (filled.folder / "cache.jsonl").write_bytes(b"\xff")
    (entry,) = [entry for entry in listed(run) if entry["folder"] == str(filled.folder)]
    assert (entry["dataset"], entry["state"]) == (filled.folder.name, "damaged")
    run("clear", "--force")
    assert listed(run) == []


def test_what_is_in_use_stays_until_it_is_forced(run: Run, filled: CachedSplit, cache: Path) -> None:
    cleared = run("clear")
    assert cleared.stdout.endswith(f"GiB freed, 2 removed, 1 kept in {cache}\n")
    assert f"kept {filled.folder}: in use; --force removes it" in cleared.stderr
    assert [entry["folder"] for entry in listed(run)] == [str(filled.folder)]
    filled.map()  # as trials do
    forced = json.loads(run("clear", "--force", "--json").stdout)
    assert (len(forced["removed"]), forced["kept"], listed(run)) == (1, [], [])
    assert filled.pair(19).image.any()  # whoever uses it keeps it
    assert list(cache.iterdir()) == []


def test_a_pattern_clears_data_sets_by_name(run: Run, filled: CachedSplit) -> None:
    run("clear", "n*t")
    assert [entry["dataset"] for entry in listed(run)] == ["day", "day"]
    with pytest.raises(InputError, match=r"no dataset matches 'night'; there are: day"):
        run("clear", "night")


def checked(*sizes: tuple[int, int]) -> Checked:
    datasets = ", ".join(
        f"{{type: streets, name: s{i}, train: 8, val: 4, image_size: {[*size]}}}" for i, size in enumerate(sizes)
    )
    text = f"""
datasets: [{datasets}]
models: [{{architecture: unet, encoder: resnet18}}]
trials: 1
epochs: 1
image_size: [32, 64]
"""
    return check(parse(text, "space.yaml"))


def fill(space: Checked, announce: Announce, *, quiet: bool = False) -> list[str]:
    return check_data(space.spec, space.source, announce, decode=True, quiet=quiet)


def test_a_second_sweep_says_that_its_images_are_cached(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    first = fill(checked((32, 64)), said.append)
    assert said == []
    assert capsys.readouterr().err.splitlines() == ["s0: 8 train images at 32x64", "s0: 4 val images at 32x64"]
    assert fill(checked((32, 64)), said.append) == first
    assert said == ["s0: 8 train images at 32x64 (cached)", "s0: 4 val images at 32x64 (cached)"]
    assert capsys.readouterr().err == ""


def test_a_quiet_launch_shows_no_progress(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(checked((32, 64)), lambda line: None, quiet=True)
    assert capsys.readouterr().err == ""


def test_data_sets_of_one_sweep_make_no_room_for_each_other(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = 12 * (32 * 64 * 4 + 96 * 160)  # 8 + 4 streets of 96 x 160, and two logs
    monkeypatch.setenv("SEGSWEEP_CACHE_GIB", str(1.8 * one / 2**30))
    with pytest.raises(InputError, match=r"space.yaml:2: datasets\[1\]: .*SEGSWEEP_CACHE_GIB sets the limit"):
        fill(checked((32, 64), (64, 32)), lambda line: None)
