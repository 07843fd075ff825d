"""What a search space spans: combinations, cells, trials, cost; and the JSON schema of search-space files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from scripted import plan_of
from spaces import BASE

from segsweep.orchestrator.checking.schema import search_space_schema
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.forecasting.summary import as_lines, summary
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.orchestrator.space.domains import Range
from segsweep.orchestrator.space.source import parse, read

SPACES = Path(__file__).parents[1] / "search_spaces"
SHIPPED = sorted(SPACES.glob("*.yaml"))
FIXED = "optimizers: [{type: sgd, lr: 0.1, weight_decay: 0}]\n"  # nothing left for the searcher


def test_lists_cross_and_cells_are_models_on_datasets() -> None:
    plan = plan_of("""\
datasets: [{type: streets, name: day}, {type: streets, name: night, variant: night}]
models: [unet, {architecture: segformer, name: sf}]
losses: [dice, cross_entropy]
optimizers: [adamw, sgd]
seeds: [0, 1, 2]
trials: 4
epochs: 9
image_size: [64, 96]
""")
    assert len(plan.combinations) == 2 * 2 * 2 * 2 * 3
    assert list(plan.cells) == [Cell(d, m) for d in ("day", "night") for m in ("unet/resnet34", "sf")]
    assert {plan.trials_of(cell) for cell in plan.cells} == {2 * 2 * 3 * 4}
    assert (plan.trials, plan.epochs_at_most) == (48 * 4, 48 * 4 * 9)


def test_terms_of_a_sum_of_losses_name_it_and_are_searched_like_options() -> None:
    loss = "{dice: {uniform: [0.5, 2]}, cross_entropy: {label_smoothing: {choice: [0, 0.1]}}}"
    (combination,) = plan_of(f"{BASE}{FIXED}losses: [{loss}]\n").combinations
    assert combination.loss.name == "dice+cross_entropy"
    assert list(combination.domains) == ["loss.dice", "loss.cross_entropy.label_smoothing"]
    entry = combination.config("001", {"loss.dice": 0.7, "loss.cross_entropy.label_smoothing": 0.1}).loss
    assert (entry.type, entry.options) == ("sum", {"dice": 0.7, "cross_entropy": {"label_smoothing": 0.1}})


def test_trials_go_round_the_combinations_so_that_all_cells_fill_at_the_same_pace() -> None:
    plan = plan_of(f"{BASE}losses: [dice, cross_entropy, focal]\ntrials: 2\n")
    assert tuple(c.index for c in plan.order) == (0, 1, 2, 0, 1, 2)


def test_no_configuration_is_trained_twice() -> None:
    text = f"{BASE}{FIXED}losses: [dice, {{type: focal, gamma: {{choice: [1.0, 2.0]}}}}, cross_entropy]\ntrials: 5\n"
    plan = plan_of(text)
    assert [combination.trials for combination in plan.combinations] == [1, 2, 1]
    assert tuple(c.index for c in plan.order) == (0, 1, 2, 1)


@pytest.mark.parametrize(
    ("domain", "size"),
    [
        ("{choice: [0.1, 0.2, 0.3]}", 3),
        ("{int: [2, 5]}", 4),
        ("{choice: [1, {int: [2, 5]}]}", 5),
        ("{uniform: [0.1, 0.2]}", 7),  # as many as trials
    ],
)
def test_a_combination_gets_no_more_trials_than_its_space_has_points(domain: str, size: int) -> None:
    plan = plan_of(f"{BASE}optimizers: [{{type: sgd, lr: {domain}, weight_decay: 0}}]\ntrials: 7\n")
    assert plan.trials == size


@pytest.mark.parametrize("model", ["unet", "segformer"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_lr_and_weight_decay_are_searched_unless_given(optimizer: str, model: str) -> None:
    (combination,) = plan_of(f"{BASE.replace('unet', model)}optimizers: [{optimizer}]\n").combinations
    assert set(combination.domains) == {"optimizer.lr", "optimizer.weight_decay"}
    given = plan_of(f"{BASE}optimizers: [{{type: {optimizer}, lr: 0.01}}]\n").combinations[0]
    assert set(given.domains) == {"optimizer.weight_decay"}
    assert given.config("001", {"optimizer.weight_decay": 0.0}).optimizer.options["lr"] == 0.01


def test_the_default_range_of_lr_depends_on_optimizer_and_model_family() -> None:
    def lr(optimizer: str, model: str) -> Range:
        (combination,) = plan_of(f"{BASE.replace('unet', model)}optimizers: [{optimizer}]\n").combinations
        domain = combination.domains["optimizer.lr"]
        assert isinstance(domain, Range)
        assert domain.log
        assert domain.first is not None
        assert domain.low <= domain.first <= domain.high
        return domain

    assert lr("sgd", "unet").first == pytest.approx(0.01)
    assert lr("adamw", "unet").first == pytest.approx(1e-3)
    assert lr("adamw", "segformer").first == pytest.approx(6e-5)  # Xie et al. 2021
    mit_in_unet = "{architecture: unet, encoder: mit_b0}"
    assert lr("adamw", mit_in_unet) == lr("adamw", "segformer")  # the encoder decides, not the decoder


def test_a_trial_gets_plain_values_and_its_datasets_own_image_size() -> None:
    plan = plan_of("""\
datasets: [{type: streets, image_size: [32, 48]}]
models: [unet]
losses: [{type: focal, gamma: {choice: [1.0, {uniform: [2, 3]}]}}]
batch_size: {choice: [4, 8]}
epochs: 9
image_size: [64, 96]
patience: 3
seeds: [7]
""")
    values = {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.0, "batch_size": 8, "loss.gamma": 1.0}
    config = plan.combinations[0].config("001", values)
    assert (config.image_size, config.batch_size, config.epochs, config.patience, config.seed) == ((32, 48), 8, 9, 3, 7)
    assert config.loss.options == {"gamma": 1.0}
    assert config.label == "unet/resnet34 focal adamw #001"


def test_image_sizes_are_searched_like_any_domain_within_one_cell() -> None:
    plan = plan_of("""\
datasets: [{type: streets, name: a}, {type: streets, name: b, image_size: {choice: [[32, 48], [64, 96]]}}]
models: [unet]
optimizers: [{type: sgd, lr: 0.1, weight_decay: 0}]
trials: 9
epochs: 9
image_size: {choice: [[16, 24], [32, 48], [64, 96]], first: [32, 48]}
""")
    a, b = plan.combinations
    assert {cell: plan.trials_of(cell) for cell in plan.cells} == {
        Cell("a", "unet/resnet34"): 3,
        Cell("b", "unet/resnet34"): 2,
    }
    assert (list(plan.spec.image_sizes(a.dataset)), list(plan.spec.image_sizes(b.dataset))) == (
        [(16, 24), (32, 48), (64, 96)],
        [(32, 48), (64, 96)],
    )
    assert b.config("001", {"image_size": [64, 96]}).image_size == (64, 96)
    assert b.config("001", {"image_size": [64, 96]}).dataset.options == {}


def test_a_cell_that_cannot_finish_enough_trials_is_named() -> None:
    plan = plan_of(BASE + FIXED)
    short = SweepPlan.of(plan.spec.model_copy(update={"min_finished": 2}))
    assert list(plan.too_small()) == []
    assert list(short.too_small()) == [
        "must be at most 1, not 2: unet/resnet34 on streets gets 1 trial; raise trials or lower min_finished"
    ]


def test_the_summary_says_what_fits_at_once() -> None:
    plan = plan_of(f"{BASE}resources: {{cpus: 2, gpus: 0.5}}\n")
    assert summary(plan, Capacity(cpus=16, gpus=2))["concurrency"] == 4
    assert summary(plan, Capacity(cpus=4, gpus=2))["concurrency"] == 2
    assert summary(plan_of(f"{BASE}max_concurrent: 3\n"), Capacity(cpus=16, gpus=0))["concurrency"] == 3
    auto = summary(plan_of(BASE), Capacity(cpus=16, gpus=2))
    assert (auto["resources"], auto["concurrency"]) == ({"cpus": 1, "gpus": 1.0, "memory_gib": 0.0}, 2)


def test_plan_tells_the_same_to_people_and_programs(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(BASE.replace("[streets]", f"[streets, {{type: folder, root: {tmp_path}/no, classes: [a, b]}}]"))
    told = CliRunner().invoke(cli, ["plan", str(file), "--set", "trials=3"])
    facts = json.loads(CliRunner().invoke(cli, ["plan", str(file), "--set", "trials=3", "--json"]).stdout)
    assert told.stderr == f"warning: {facts.pop('warnings')[0]}\n"
    assert told.stdout.splitlines() == [*as_lines(facts), f"Next: segsweep launch {file}"]
    assert (facts["trials"], facts["epochs_at_most"]) == (6, 54)
    assert [cell["dataset"] for cell in facts["cells"]] == ["streets", "folder"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.yaml"]  # plan runs nothing


def test_the_schema_is_a_schema_and_the_committed_one_is_current() -> None:
    schema = search_space_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    committed = json.loads((SPACES / "schema.json").read_text())
    assert committed == schema, "run `segsweep schema > search_spaces/schema.json`"


def test_there_are_shipped_search_spaces() -> None:
    demo, camvid = {"demo.yaml"}, {"camvid.yaml", "camvid_cpu.yaml"}
    streets = {"cityscapes.yaml", "cityscapes_categories.yaml", "bdd100k_drivable.yaml"}
    others = {"oxford_pet.yaml", "ade20k.yaml"}
    assert demo | camvid | streets | others <= {path.name for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_search_space_is_valid_and_points_editors_to_the_schema(path: Path) -> None:
    source = read(path)
    jsonschema.Draft202012Validator(search_space_schema()).validate(source.data)
    assert check(source).spec.models
    pointer = re.match(r"# yaml-language-server: \$schema=(\S+)\n", source.text)
    assert pointer is not None
    assert (path.parent / pointer[1]).resolve() == SPACES / "schema.json"
    opening = source.text.split("\ndatasets:")[0]
    assert f"segsweep launch search_spaces/{path.name}" in opening
    assert all(word in opening for word in ("Question", "Expect", "Hardware", "Time"))


@pytest.mark.parametrize(
    "line",
    [
        "epoch: 3",
        "trials: 0",
        "trials: many",
        "seeds: []",
        "name: a b",
        "losses: [dicee]",
        "losses: [{type: dice, smoth: 1}]",
        "losses: [{smooth: 1}]",
        "losses: [{dice: 1, focla: 1}]",
        "losses: [{dice: -1}]",
        "losses: [{dice: {weight: 1, smoth: 1}}]",
        "optimizers: [{type: adamw, lr: [1e-3]}]",
        "optimizers: [{type: adamw, lr: {logunifor: [1e-5, 1e-3]}}]",
        "batch_size: {chioce: [2, 4]}",
        "scheduler: {type: asha, grace: {int: [1, 3]}}",
        "resources: {gpu: 1}",
    ],
)
def test_the_schema_refuses_what_validate_refuses(line: str) -> None:
    source = parse(f"{BASE}{line}\n", "x.yaml")
    with pytest.raises(InputError):
        check(source)
    assert not jsonschema.Draft202012Validator(search_space_schema()).is_valid(source.data)


@pytest.mark.parametrize(
    "line",
    [
        "losses: [dice, {type: focal, name: sharp, gamma: {uniform: [1, 3]}}]",
        "losses: [{dice: 0.5, cross_entropy: 0.5}, {type: sum, focal: {gamma: 1}, ohem: {uniform: [0.1, 1]}}]",
        "losses: [{dice: {weight: {loguniform: [0.1, 10]}, smooth: {choice: [0, 1]}}, boundary: 0.01}]",
        "optimizers: [{type: adamw, lr: {loguniform: [1e-5, 1e-3], first: 1e-4}}]",
        "optimizers: [{type: adamw, betas: [{uniform: [0.8, 0.95]}, 0.999]}]",
        "batch_size: {choice: [2, 4]}",
        "scheduler: asha",
        "scheduler: {type: asha, grace: 2}",
        "objective: {metric: val_loss, mode: min}",
        "resources: {gpus: 0.25}",
    ],
)
def test_the_schema_takes_what_validate_takes(line: str) -> None:
    source = parse(f"{BASE}{line}\n", "x.yaml")
    check(source)
    jsonschema.Draft202012Validator(search_space_schema()).validate(source.data)
