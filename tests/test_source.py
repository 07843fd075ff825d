from __future__ import annotations

from pathlib import Path

import pytest

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.space.source import dotted, parse, read


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


DEEP = "[" * 33 + "]" * 33
ABSURD = [
    ("a: 1\nb: &b [1, *b]\n", "x.yaml:2: b[1]: holds itself"),
    ("a: &a\n  b: &b\n    c: [*a, *a, *b]\n", "x.yaml:1: a.b.c[0]: holds itself"),
    ("a: 1\n? [b, c]\n: 2\n", "x.yaml:2: a key must be plain text"),
    ("a: 1\nb:\n  ? {c: d}\n  : 2\n", "x.yaml:3: b: a key must be plain text"),
    ("a: 1\nb: !!int foo\n", "x.yaml:2: b: 'foo' is no whole number"),
    ("b: !!int 0b101\n", "x.yaml:1: b: '0b101' is no whole number"),
    ("b: !!float 1:30\n", "x.yaml:1: b: '1:30' is no number"),
    ("b: !!bool on\n", "x.yaml:1: b: 'on' is neither true nor false"),
    ("%YAML 1.1\n---\na: 0b101\n", "x.yaml:1: '%YAML 1.1' is not read, only YAML 1.2"),
    ("# why\n%YAML 1.1\n---\na: 1:30\n", "x.yaml:2: '%YAML 1.1' is not read"),
    (f"a: 1\nb: [{'9' * 4301}]\n", "x.yaml:2: b[0]: '9999"),
    (
        "a0: &a0 1\n" + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i}, ' * 9}]\n" for i in range(9)),
        "x.yaml: holds more than",
    ),
    (f"a: 0x{'f' * 5000}\n", "x.yaml:1: a: '0xff"),
    (f"a: 1\nb: {DEEP}\n", "x.yaml:2: b[0]" + "[0]" * 30 + ": is nested more than 32 levels deep"),
    (f"a: 1\nb: {'[' * 600}{']' * 600}\n", "x.yaml:2: is nested more than 32 levels deep"),
]


@pytest.mark.parametrize(("text", "message"), ABSURD)
def test_what_yaml_allows_and_a_search_space_does_not_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, "x.yaml")
    first = str(error.value.mistakes[0])
    assert first.startswith(message)
    assert "\n" not in first
    assert len(first) < 200


def test_anchors_repeat_what_they_name() -> None:
    source = parse("%YAML 1.2\n---\na: &a {lr: 0.1, b: [1, 2]}\nc: [*a, *a]\nd: &d 3\ne: *d\n", "x.yaml")
    entry = {"lr": 0.1, "b": [1, 2]}
    assert source.data == {"a": entry, "c": [entry, entry], "d": 3, "e": 3}


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


IMPOSSIBLE = [
    "epochs",
    "=3",
    "models[7].encoder=a",
    "epochs.a=3",
    "epochs=!!int foo",
    "models[²]=unet",
    f"models={'[' * 600}",
    "a." * 2000 + "a=3",
    "epochs=&a [*a]",
    "loss={a: 1, a: 2}",
]


@pytest.mark.parametrize("assignment", IMPOSSIBLE, ids=lambda text: text[:20])
def test_impossible_overrides_name_themselves(tmp_path: Path, assignment: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("epochs: 3\nmodels: [unet]\n")
    with pytest.raises(InputError) as error:
        read(file, (assignment,))
    assert str(error.value).startswith(f"--set {assignment}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["postgresql://ada:s3cret@db/x", "[postgresql://ada:s3cret@db/x"])
def test_places_never_repeat_a_password(tmp_path: Path, value: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("epochs: 3\n")
    try:
        place = read(file, (f"tracking.uri={value}",)).place(("tracking", "uri"))
    except InputError as error:
        place = str(error)
    assert "//ada@db/x" in place
    assert "s3cret" not in place


def test_dotted_paths_read_as_users_write_them() -> None:
    assert dotted(("models", 1, "decoder", "channels", 0)) == "models[1].decoder.channels[0]"
