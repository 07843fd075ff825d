from __future__ import annotations

from pathlib import Path

import pytest

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.source import dotted, parse, read


def test_yaml_1_2_scalars() -> None:
    source = parse("lr: 1e-4\nswitch: on\nanswer: yes\nbig: 1_000\nhex: 0x1F\nnothing: ~\nyear: 2001-12-14\n", "x.yaml")
    assert source.data == {
        "lr": 1e-4,
        "switch": "on",
        "answer": "yes",
        "big": 1000,
        "hex": 31,
        "nothing": None,
        "year": "2001-12-14",
    }


def test_every_key_and_entry_knows_its_line() -> None:
    source = parse("epochs: 3\nmodels:\n  - architecture: unet\n    encoder: resnet18\n  - fpn\n", "x.yaml")
    assert source.place(("models", 0, "encoder")) == "x.yaml:4: models[0].encoder"
    assert source.place(("models", 1)) == "x.yaml:5: models[1]"
    assert source.place(("models", 0, "missing")) == "x.yaml:3: models[0].missing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: is empty"),
        ("# only a comment\n", "x.yaml: is empty"),
        ("- a\n- b\n", "x.yaml: must be a mapping"),
        ("epochs: 3\n\tmodels: 4\n", "x.yaml:2: is no valid YAML: a tab"),
        ("a: [1, 2\nb: 3\n", "x.yaml:2: is no valid YAML"),
    ],
)
def test_what_is_no_search_space_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, "x.yaml")
    assert str(error.value).startswith(message)


def test_all_duplicate_keys_are_reported_at_once() -> None:
    with pytest.raises(InputError) as error:
        parse("epochs: 3\nepochs: 4\ndatasets:\n  - type: a\n    type: b\n", "x.yaml")
    assert [str(m) for m in error.value.mistakes] == [
        "x.yaml:2: epochs: is given twice, first in line 1",
        "x.yaml:5: datasets[0].type: is given twice, first in line 4",
    ]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_unreadable_files_are_input_errors(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.yaml: cannot be read"):
        read(file)


def test_overrides_replace_values_and_become_the_place_of_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("epochs: 3\nmodels:\n  - {architecture: unet}\n")
    source = read(file, ("epochs=5", "models[0].encoder=resnet18", "objective.metric=val_dice", "seeds=[1, 2]"))
    assert source.data == {
        "epochs": 5,
        "models": [{"architecture": "unet", "encoder": "resnet18"}],
        "objective": {"metric": "val_dice"},
        "seeds": [1, 2],
    }
    assert source.place(("epochs",)) == "--set epochs=5: epochs"
    assert source.place(("models", 0, "architecture")) == f"{file}:3: models[0].architecture"


@pytest.mark.parametrize("assignment", ["epochs", "=3", "models[7].encoder=a", "epochs.a=3"])
def test_impossible_overrides_name_themselves(tmp_path: Path, assignment: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("epochs: 3\nmodels: [unet]\n")
    with pytest.raises(InputError) as error:
        read(file, (assignment,))
    assert str(error.value).startswith(f"--set {assignment}: ")


def test_dotted_paths_read_as_users_write_them() -> None:
    assert dotted(("models", 1, "decoder", "channels", 0)) == "models[1].decoder.channels[0]"
