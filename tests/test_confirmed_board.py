"""What the leaderboard says of confirmed winners: means, intervals, places, ties, luck; and what it cannot say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segsweep.orchestrator.board.choice import choose
from segsweep.orchestrator.board.confirmed import Confirmations, confirmations
from segsweep.orchestrator.board.formats import as_csv, as_json, as_markdown, as_table
from segsweep.orchestrator.board.rows import led_by_fresh_seeds, make_board
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.trainables.scoring.confusions import Confusions, sparse

IMAGES = 20


def row(model: str, trial: str, value: float | None, confirms: str = "", test: float | None = None) -> TrialRow:
    known: Mapping[str, Any] = {
        **dict.fromkeys(("architecture", "encoder", "stop_reason", "checkpoint", "data_fingerprint"), ""),
        "best_epoch": 3,
        "params_m": 1.0,
        "gmacs": 1.0,
        "gpu_s": 0.0,
        "cpu_s": 1.0,
        "sweep": "s-1",
        "sweep_uid": "u",
        "run_id": trial,
        "dataset": "camvid",
        "status": "finished",
    }
    return TrialRow(model=model, trial_id=trial, value=value, confirms=confirms, test=test, **known)


def matrices(iou: float, images: int = IMAGES, ids: str = "") -> Confusions:
    """Two classes of 1,000 pixels each on every image, both with this IoU: errors go both ways."""
    wrong = round(1000 * (1 - iou) / (1 + iou))
    matrix = np.array([[1000 - wrong, wrong], [wrong, 1000 - wrong]])
    names = tuple(f"{ids}{number}" for number in range(images))
    return Confusions(names, ("a", "b"), 1, tuple(sparse(matrix) for _ in range(images)))


SEARCHED = [row("unet", "001", 0.70), row("unet", "002", 0.69), row("fpn", "003", 0.66), row("pan", "004", 0.5)]
REPEATS = {
    "001": [0.60, 0.62, 0.61],  # the luckiest of the search
    "002": [0.64, 0.65, 0.66],
    "003": [0.63, 0.65, 0.66],
    "004": [0.30, 0.31, 0.30],
}


def repeats(**changes: Any) -> list[TrialRow]:
    model = {one.trial_id: one.model for one in SEARCHED}
    return [
        replace(row(model[of], f"{of}-{seed}", value, of, test=value - 0.02), **changes)
        for of, values in REPEATS.items()
        for seed, value in enumerate(values)
    ]


def load(repeat: TrialRow, split: str) -> Confusions:
    value = repeat.test if split == "test" else repeat.value
    assert value is not None
    return matrices(value)


@pytest.fixture
def found() -> Confirmations:
    return confirmations(SEARCHED, repeats(), "val_miou", load)


def test_a_cell_shows_the_configuration_that_fresh_seeds_found_best(found: Confirmations) -> None:
    assert [(one.model, one.trial, one.seeds) for one in found.rows] == [
        ("unet", "002", 3),
        ("fpn", "003", 3),
        ("pan", "004", 3),
    ]


def test_values_are_means_over_test_and_luck_is_measured_on_val(found: Confirmations) -> None:
    """By hand: 0.69 - 0.65, 0.66 - 0.6467 and 0.5 - 0.3033 are 0.0833 on average."""
    assert found.rows[0].metric == "test_miou"
    assert found.rows[0].value == pytest.approx(0.63)
    assert (found.rows[0].searched, found.rows[0].fresh) == (0.69, pytest.approx(0.65))
    assert found.luck == pytest.approx((0.69 - 0.65 + 0.66 - 1.94 / 3 + 0.5 - 0.91 / 3) / 3)


def test_intervals_are_students_where_images_agree(found: Confirmations) -> None:
    """By hand: s.d. 0.01 over 3 seeds, 0.01 / sqrt(3) * 4.303 = 0.0248; pixels round it a little."""
    low, high = found.rows[0].low, found.rows[0].high
    assert low is not None
    assert high is not None
    assert (low, high) == (pytest.approx(0.63 - 0.0248, abs=2e-3), pytest.approx(0.63 + 0.0248, abs=2e-3))


def test_rows_that_cannot_be_told_apart_share_their_places(found: Confirmations) -> None:
    assert [one.ranks for one in found.rows] == [range(1, 3), range(1, 3), range(3, 4)]
    (tie,) = found.ties
    assert (tie.better, tie.other) == ("unet", "fpn")
    assert tie.difference == pytest.approx(0.01 / 3, abs=1e-3)


def test_without_a_test_split_the_fresh_seeds_are_compared_on_val() -> None:
    found = confirmations(SEARCHED, repeats(test=None), "val_miou", load)
    assert (found.rows[0].metric, found.rows[0].value) == ("val_miou", pytest.approx(0.65))


def test_one_finished_seed_confirms_nothing() -> None:
    single = [one for one in repeats() if one.trial_id.endswith("-0")]
    unfinished = [replace(one, status="failed") for one in repeats() if not one.trial_id.endswith("-0")]
    assert confirmations(SEARCHED, [*single, *unfinished], "val_miou", load) == Confirmations()


def test_repeats_of_a_sweep_that_was_not_asked_for_are_left_out() -> None:
    assert not confirmations(SEARCHED, repeats(sweep_uid="another"), "val_miou", load).rows


def test_the_run_of_a_sweep_is_the_best_seed_of_the_best_mean_whatever_the_test_split_says() -> None:
    """By hand: 002 has the best mean on val (0.65); 004 the best test scores; 001 was the luckiest of the search."""
    tested = [replace(one, test=0.9 if one.confirms == "004" else 0.1) for one in repeats()]
    run, why = choose([*SEARCHED, *tested], "val_miou")
    assert (run.trial_id, run.value) == ("002-2", 0.66)
    told = "confirms trial 002 (mean val_miou 0.6500 over 3 fresh seeds, best of 4 confirmed); of these seeds the best"
    assert why == f"{told}, 0.6600"
    assert choose([*SEARCHED, *tested], "val_miou", model="fpn").run.trial_id == "003-2"


def test_without_two_fresh_seeds_the_run_of_a_sweep_is_the_best_of_the_search() -> None:
    single = [one for one in repeats() if one.trial_id.endswith("-0")]
    of_another = repeats(sweep_uid="another")
    run, why = choose([*SEARCHED, *single, *of_another], "val_miou")
    assert run.trial_id == "001"
    assert why == "best val_miou of the search, 0.7000; one seed, confirmed by no other"
    assert choose(SEARCHED, "val_loss").run.trial_id == "004"


def test_over_several_sweeps_what_was_confirmed_goes_before_what_was_lucky() -> None:
    """By hand: 0.72 by one seed in `lucky-1` tops all, but 0.65 is what three seeds reach of what was confirmed."""
    lucky = replace(row("unet", "009", 0.72), sweep="lucky-1", sweep_uid="v")
    run, why = choose([lucky, *SEARCHED, *repeats()], "val_miou")
    assert (run.sweep_uid, run.trial_id) == ("u", "002-2")
    assert why.endswith(
        "of these seeds the best, 0.6600; trial 009 of lucky-1 looks better, 0.7200, by one seed and unconfirmed"
    )
    assert "looks better" not in choose([replace(lucky, value=0.6), *SEARCHED, *repeats()], "val_miou").why
    elsewhere = [replace(one, dataset="night") for one in repeats()]
    searched = [replace(one, dataset="night") for one in SEARCHED]
    assert choose([lucky, *searched, *elsewhere], "val_miou", dataset="camvid").run == lucky


@pytest.mark.parametrize(
    ("metric", "loaded", "why"),
    [
        ("val_miou", lambda one: None, "matrices of single images are missing"),
        ("val_miou", lambda one: matrices(0.5, ids=one.model), "they were scored on different images"),
        ("val_pixel_accuracy", lambda one: matrices(0.5), "they are computed for mIoU and Dice alone"),
    ],
)
def test_what_cannot_be_computed_is_said(metric: str, loaded: Any, why: str) -> None:
    found = confirmations(SEARCHED, repeats(), metric, lambda one, split: loaded(one))
    assert [(one.low, one.high, one.ranks) for one in found.rows] == [(None, None, None)] * 3
    assert found.ties == ()
    name = metric.replace("val", "test")
    assert found.warnings == (f"camvid: no intervals of {name}, and nobody knows which rows are tied: {why}",)


def test_lower_is_better_for_a_loss() -> None:
    found = confirmations(SEARCHED, repeats(), "val_loss", load)
    assert found.rows[0].model == "pan"
    assert {one.model: one.trial for one in found.rows}["unet"] == "001"


def test_a_lucky_loss_was_lower_by_search() -> None:
    repeated = [row("unet", f"001-{seed}", 0.8, "001", test=0.8) for seed in range(2)]
    found = confirmations(SEARCHED, repeated, "val_loss", load)
    assert found.luck == pytest.approx(0.1)


def test_every_format_shows_them(found: Confirmations) -> None:
    board = replace(make_board(SEARCHED, "val_miou"), confirmed=found)
    table = as_table(board, width=140)
    assert "camvid   unet          0.6300  0.60" in table
    assert "1 to 2" in table
    assert (
        "camvid: unet and fpn cannot be told apart (0.0030 +- 0.0303); more than 50 seeds each would be needed" in table
    )
    assert "by search, the confirmed trials look 8.3 points better than by fresh seeds" in table
    assert "| camvid | unet | 0.6300 | 0.6" in as_markdown(board)
    told = json.loads(as_json(board))
    assert told["confirmed"][0]["ranks"] == [1, 2]
    assert told["ties"][0]["other"] == "fpn"
    assert as_csv(board).splitlines()[1].startswith("unet,camvid,0.7,True,0.63")


def test_a_dataset_is_led_by_whom_fresh_seeds_found_best_and_ranks_stay_the_searchs() -> None:
    """By hand: fpn's seeds have 0.6467 on val, unet's 0.61 alone; pan's night was not confirmed."""
    found = confirmations(SEARCHED, [one for one in repeats() if one.confirms != "002"], "val_miou", load)
    night = [replace(one, dataset="night") for one in SEARCHED]
    board = led_by_fresh_seeds(replace(make_board([*SEARCHED, *night], "val_miou"), confirmed=found))
    leads = {(line.model, dataset) for line in board.lines for dataset, s in line.scores.items() if s.leads}
    assert leads == {("fpn", "camvid"), ("unet", "night")}
    assert [line.scores["camvid"].rank for line in board.lines] == [1, 2, 3]
    assert choose([*SEARCHED, *[one for one in repeats() if one.confirms != "002"]], "val_miou").run.model == "fpn"


def test_a_cell_tuned_less_than_its_rivals_is_flagged() -> None:
    trials = [
        *(row("a", str(n), 0.5) for n in range(8)),
        *(row("b", str(n), 0.5) for n in range(8)),
        row("c", "1", 0.4),
    ]
    (warning,) = make_board(trials, "val_miou").warnings
    assert warning == "c on camvid: tuned less than its rivals (1 trials, they 8 at the median)"
