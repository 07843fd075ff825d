"""What a whole search space needs, mistakes that several of its lines make, what --set and `validate` say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from spaces import BASE, mistakes

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.space.source import parse, read
from segsweep.orchestrator.space.spec import SweepSpec
from segsweep.trainables.catalog import LOSSES
from segsweep.trainables.config import Objective


def spec_of(text: str) -> SweepSpec:
    return check(parse(text, "x.yaml")).spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE.replace("epochs: 9\n", ""), "x.yaml: epochs: is missing; e.g. `epochs: 30`"),
        (BASE.replace("models: [unet]\n", ""), "x.yaml: models: is missing; e.g. `models: [unet, segformer]`"),
        (BASE.replace("datasets: [streets]\n", ""), "x.yaml: datasets: is missing; e.g. `datasets: [streets]`"),
        (
            BASE.replace("[64, 96]", "512"),
            "x.yaml:4: image_size: must be a list or a mapping, not 512; e.g. `image_size: [512, 1024]`",
        ),
        (
            BASE.replace("[64, 96]", "[[64, 96], [32, 48]]"),
            "x.yaml:4: image_size: must be [height, width]; to search among several write {choice: [[256, 512], "
            "[512, 1024]]}, not [[64, 96], [32, 48]]",
        ),
        (
            BASE.replace("[64, 96]", "{choice: [64, 96]}"),
            "x.yaml:4: image_size: must be [height, width], each at least 8, or {choice: [[256, 512], [512, 1024]]}, "
            "not 64",
        ),
        (
            BASE.replace("[streets]", "[{type: streets, image_size: {choice: [[64, 96], [4, 96]]}}]"),
            "x.yaml:1: datasets[0].image_size: must be [height, width], each at least 8, or {choice: [[256, 512], "
            "[512, 1024]]}, not [4, 96]",
        ),
        (
            BASE.replace("[64, 96]", "{int: [64, 96]}"),
            "x.yaml:4: image_size: must be [height, width], each at least 8",
        ),
        (BASE.replace("[64, 96]", "{choice: []}"), "x.yaml:4: image_size: choice needs at least one value"),
        (
            BASE.replace("[64, 96]", "{choice: [[64, 96], [32, 48]]}\nobjective: val_loss"),
            "x.yaml:5: objective.metric: val_loss is measured at the size that networks are fed, so it compares "
            "nothing across image sizes; take a score such as val_miou",
        ),
        (BASE.replace("[64, 96]", "[4, 96]"), "x.yaml:4: image_size[0]: must be at least 8, not 4"),
        (
            BASE.replace("[streets]", "[{type: streets, seed: {int: [0, 9]}}]"),
            "x.yaml:1: datasets[0].seed: must be one value, not a domain: "
            "what is scored must not change within a sweep",
        ),
        (
            BASE.replace("[unet]", "[{architecture: unet, encoder: resnet43}]"),
            "x.yaml:2: models[0].encoder: no encoder 'resnet43'. Did you mean 'resnet34'?",
        ),
        (
            BASE.replace("[unet]", "[{type: unet}]"),
            "x.yaml:2: models[0]: needs `architecture:`, the name of the architecture, e.g. {architecture: ",
        ),
        (
            BASE.replace("[64, 96]", "[32, 32]\nbatch_size: 1"),
            "x.yaml:2: models[0].encoder: batch_size 1 at image_size 32x32 leaves BatchNorm a single value per "
            "channel; train with at least 2 images or more than 32 px",
        ),
    ],
)
def test_mistakes_in_what_every_file_needs(text: str, message: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(message)


def test_an_input_size_is_checked_for_every_dataset_and_batch_size() -> None:
    text = """\
datasets: [streets, {type: streets, name: small, image_size: [32, 32]}]
models: [{architecture: segformer}, {architecture: unet}]
epochs: 9
image_size: [64, 96]
batch_size: {choice: [4, 1]}
"""
    (found,) = mistakes(text)
    assert found.startswith("x.yaml:2: models[1].encoder: batch_size 1 at image_size 32x32 leaves BatchNorm")


def test_every_image_size_that_may_be_chosen_is_checked() -> None:
    text = """\
datasets: [{type: streets, image_size: {choice: [[64, 96], [32, 32]]}}, {type: streets, name: night}]
models: [{architecture: segformer}, {architecture: unet}]
epochs: 9
image_size: {choice: [[128, 64], [64, 128]]}
batch_size: 1
evaluation: {method: sliding_window, window: [64, 64]}
"""
    small, window = mistakes(text)
    assert small.startswith("x.yaml:2: models[1].encoder: batch_size 1 at image_size 32x32 leaves BatchNorm")
    assert window.startswith("x.yaml:6: evaluation.window: must be at most [32, 32], the image_size of streets")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("[background, building]", "losses[0].class_weights: 3 weights for 2 classes; give one per class, in order"),
        ("[building]", "datasets[0].classes: must be a list of at least 2 or text, not [building]"),
    ],
)
def test_binary_and_one_class_tasks(tmp_path: Path, classes: str, message: str) -> None:
    text = f"""\
datasets: [{{type: folder, root: {tmp_path}, classes: {classes}}}]
models: [unet]
epochs: 9
image_size: [64, 96]
losses: [{{type: cross_entropy, class_weights: [1, 2, 3]}}]
"""
    assert [mistake.split(": ", 1)[1] for mistake in mistakes(text)] == [message]


def test_a_class_that_is_learned_but_not_scored_is_no_objective() -> None:
    text = BASE.replace("[streets]", "[bdd100k_drivable]")
    found = mistakes(f"{text}objective: {{metric: val_iou/background}}\n")
    assert [line.partition(": ")[2] for line in found] == [
        "objective.metric: bdd100k_drivable has no score of class 'background'. It has: direct, alternative"
    ]
    assert mistakes(f"{text}objective: {{metric: val_iou/alternative}}\n") == []


def test_mistakes_come_all_at_once_in_the_order_of_lines() -> None:
    text = """\
datasets: [streets, {type: camvidd}]
models:
  - {architecture: unett}
  - {architecture: fpn, encoder: resnet43}
  - {architecture: fpn, encoder: resnet18, decodr: 3}
losses: [{type: cross_entropy, class_weights: [1]}]
optimizers: [{type: adamw, lr: {loguniform: [1, 1e-3]}}]
trials: many
epochs: 4
image_size: [64, 96]
scheduler: {type: asha, grace: 8}
objective: {metric: val_mioo}
min_finished: none
plugins: [no_such_module]
epoch: 3
"""
    assert [mistake.split(": ")[0] for mistake in mistakes(text)] == [
        f"x.yaml:{line}" for line in (1, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15)
    ]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "No module named 'my_plugin'. Is the module installed or on PYTHONPATH?"),
        ("def broken(:\n", "'my_plugin' cannot be imported: SyntaxError: invalid syntax (my_plugin.py, line 1)"),
        ("raise KeyError('boom')\n", "'my_plugin' cannot be imported: KeyError: 'boom'"),
    ],
)
def test_plugins_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, message: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    if code is not None:
        (tmp_path / "my_plugin.py").write_text(code)
    assert mistakes(f"{BASE}trials: no\nplugins:\n- my_plugin\n") == [
        "x.yaml:5: trials: must be a whole number, not 'no'",
        f"x.yaml:7: plugins[0]: {message}",
    ]


def test_a_missing_dataset_is_a_warning_that_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGSWEEP_DATA", str(tmp_path))
    text = BASE.replace("[streets]", f"[camvid, {{type: folder, root: {tmp_path}, classes: none.json}}]")
    with pytest.raises(InputError) as error:  # what is there is still checked
        check(parse(text, "x.yaml"))
    assert str(error.value).startswith(f"x.yaml:1: datasets[1]: {tmp_path}/none.json: No such file")
    (warning,) = check(parse(text.replace("none.json", "[a, b]"), "x.yaml")).missing
    assert str(warning) == (
        f"x.yaml:1: datasets[0].root: there is no folder {tmp_path}/camvid; put the data there, give `root:`, or set "
        "SEGSWEEP_DATA to the folder of your datasets"
    )


@pytest.mark.parametrize("dataset", ["{type: folder, root: nowhere, name: mine}", "{type: folder, rot: nowhere}"])
def test_models_are_checked_where_no_dataset_can_be_described(dataset: str) -> None:
    text = BASE.replace("[unet]", "[{architecture: fpn, encoder: resnet43}]").replace("[streets]", f"[{dataset}]")
    assert mistakes(text)[-1].startswith("x.yaml:2: models[0].encoder: ")
    assert "'resnet34'" in mistakes(text)[-1]


def test_of_classes_that_nobody_knows_nothing_is_asked() -> None:
    """Three weights are too many for two classes, and two queries too few for three."""
    text = f"{BASE}losses: [{{type: cross_entropy, class_weights: [1, 2, 3]}}]\n"
    text = text.replace("[unet]", "[{architecture: eomt, queries: 2}]")
    assert len(mistakes(text)) == 2  # with the classes of streets
    assert mistakes(text.replace("[streets]", "[{type: folder, root: nowhere, name: mine}]")) == []


def test_what_the_spec_says_when_the_file_says_nothing() -> None:
    spec = spec_of(BASE).model_dump()
    assert (spec["name"], spec["seeds"], spec["trials"], spec["batch_size"]) == ("x", (0,), 8, 8)
    assert (spec["min_finished"], spec["max_failures"], spec["patience"], spec["max_concurrent"]) == (1, 0, None, None)
    assert spec["objective"] == {"metric": "val_miou", "mode": "max"}
    assert spec["resources"] == {"cpus": 1, "gpus": None, "memory_gib": "auto", "processes": None}
    assert spec["tracking"] == {"uri": None, "experiment": "segsweep"}
    types = {key: [entry["type"] for entry in spec[key]] for key in ("losses", "optimizers", "lr_schedules")}
    assert types == {"losses": ["cross_entropy"], "optimizers": ["adamw"], "lr_schedules": ["poly"]}
    assert [entry["type"] for entry in spec["augmentations"]] == ["light"]
    assert (spec["searcher"]["type"], spec["scheduler"]["type"]) == ("tpe", "asha_promotion")
    assert spec["models"][0]["name"] == "unet/resnet34"


def test_a_file_name_that_no_folder_can_have_still_gives_the_sweep_a_name() -> None:
    assert check(parse(BASE, "spaces/my räum (2).yaml")).spec.name == "my-r-um-2"


def test_an_override_is_the_place_of_its_mistake(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(BASE)
    with pytest.raises(InputError) as error:
        check(read(file, ("trials=many", "losses=[dicee]", "scheduler.grace=3", "seeds=[1]")))
    assert [str(mistake) for mistake in error.value.mistakes] == [
        "--set losses=[dicee]: losses[0].type: no loss 'dicee'. Did you mean 'dice'? "
        f"Known: {', '.join(LOSSES.names())}",
        "--set trials=many: trials: must be a whole number, not 'many'",
        f"{file}: scheduler: needs `type:`, the name of the scheduler, e.g. {{type: asha}}",
    ]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "must read KEY=VALUE, e.g. --set epochs=3"),
        ("trials=[", "is no valid YAML: expected the node content, but found '<stream end>'"),
        ("tracking={uri: a, uri: b}", "is given twice, first in line 1"),
        ("models[1].encoder=a", "there is no entry 1; the list has 1, counted from 0"),
        ("models.unet=a", "'unet' is no entry of the list; give its number, as in models[0].encoder"),
        ("models[0].encoder=a", "there is no key 'encoder' in 'unet'; write it as a mapping in the file first"),
    ],
)
def test_impossible_overrides_come_all_at_once(tmp_path: Path, assignment: str, message: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(BASE)
    with pytest.raises(InputError) as error:
        read(file, ("=3", assignment))
    assert [str(mistake) for mistake in error.value.mistakes] == [
        "--set =3: must read KEY=VALUE, e.g. --set epochs=3",
        f"--set {assignment}: {message}",
    ]


def test_validate_tells_the_same_to_people_and_programs(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(BASE.replace("[streets]", f"[streets, {{type: folder, root: {tmp_path}/no, classes: [a, b]}}]"))
    told = CliRunner().invoke(cli, ["validate", str(file)])
    facts = json.loads(CliRunner().invoke(cli, ["validate", str(file), "--json"]).stdout)
    assert (told.exit_code, facts["valid"], facts["mistakes"]) == (0, True, [])
    assert told.stderr == "".join(f"warning: {warning}\n" for warning in facts["warnings"])
    assert told.stdout == f"{file}: valid. 2 datasets x 1 model. Next: segsweep plan {file}\n"

    wrong = CliRunner().invoke(cli, ["validate", str(file), "--json", "--set", "trials=0", "--set", "seeds=3"])
    facts = json.loads(wrong.stdout)
    assert (wrong.exit_code, facts["valid"]) == (2, False)
    assert facts["mistakes"] == [
        {"place": "--set seeds=3: seeds", "message": "must be a list, not 3"},
        {"place": "--set trials=0: trials", "message": "must be at least 1, not 0"},
    ]


def test_an_objective_may_be_a_name_and_is_better_in_its_own_direction() -> None:
    spec = spec_of(
        f"{BASE}objective: val_loss\nmore_objectives: [gmacs, val_dice]\nconstraints: {{gmacs: {{max: 3}}}}\n"
    )
    assert spec.objective == Objective(metric="val_loss", mode="min")
    assert [(more.metric, more.mode) for more in spec.more_objectives] == [("gmacs", "min"), ("val_dice", "max")]
    assert spec == SweepSpec.model_validate_json(spec.model_dump_json())
    assert spec.aim.constraints["gmacs"].max == 3


@pytest.mark.parametrize(
    ("line", "losses"),
    [
        ("losses: [cross_entropy, dice]", "cross_entropy, dice"),
        ("losses: [{type: focal, gamma: {uniform: [0, 4]}}]", "focal, focal with other options"),
    ],
)
def test_losses_of_different_scales_are_no_objective(line: str, losses: str) -> None:
    """Dice lies in [0, 1], cross entropy does not: whoever trains with dice would win."""
    why = f"val_loss compares nothing across different losses ({losses})"
    remedy = "take a score such as val_miou, or one loss for all models"
    found = mistakes(f"{BASE}{line}\nobjective: val_loss\n")
    assert found == [f"x.yaml:6: objective.metric: {why}; {remedy}"] or found == [
        f"x.yaml:6: objective: {why}; {remedy}"
    ]
    assert mistakes(f"{BASE}{line}\nobjective: val_miou\n") == []
    assert mistakes(f"{BASE}losses: [dice]\nobjective: val_loss\n") == []


@pytest.mark.parametrize("loss", ["{type: boundary, rise: 1}", "{dice: 1, boundary: {weight: 0.01, rise: 1}}"])
def test_a_loss_that_grows_with_the_epochs_is_no_objective(loss: str) -> None:
    space = f"datasets: [streets]\nmodels: [unet]\nlosses: [{loss}]\nepochs: 3\nimage_size: [64, 64]\n"
    (found,) = mistakes(space + "objective: val_loss\n")
    assert "val_loss grows with the epochs" in found
    assert mistakes(space) == []
    assert mistakes(space.replace("rise: 1", "rise: 0") + "objective: val_loss\n") == []
