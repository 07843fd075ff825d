"""What users get wrong, and what they are told: file:line: path: value, what is allowed, remedy."""

from __future__ import annotations

import pytest
from spaces import BASE, mistakes

from segsweep.trainables.catalog import LOSSES

SOME_GPUS = "since a trial may use a share of one GPU, or a whole number"
TWO_CPUS = "needs `cpus: 2` or more, one for each of the 2 processes of a trial"
EITHER = "takes `processes` with `gpus: 0` only, since every GPU has one; leave either out"
DICE = "class_weights, weights_cap, absent, smooth, per_image, activation, log"
TERMS = ", ".join(name for name in LOSSES.names() if name not in ("sum", "own"))
TOP_LEVEL = (
    "name, datasets, models, losses, optimizers, lr_schedules, augmentations, seeds, trials, allocation, epochs, "
    "batch_size, image_size, patience, accumulation, clip_norm, ema, precision, channels_last, compile, "
    "steps_per_epoch, objective, more_objectives, constraints, evaluation, searcher, scheduler, "
    "warm_start, min_finished, max_failures, max_epoch_minutes, confirm, budget, resources, max_concurrent, "
    "tracking, plugins"
)


SCORES = (
    "val_miou, val_pixel_accuracy, val_mean_accuracy, val_fwiou, val_dice, val_precision, val_recall, "
    "val_boundary_iou, val_boundary_f1, val_loss, train_loss"
)
COSTS = "epoch_s, peak_memory_gib, params_m, gmacs, latency_ms"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # unknown keys, at every depth
        ("epoch: 3", f"epoch: unknown key. Did you mean 'epochs'? Known: {TOP_LEVEL}"),
        ("storage: here", f"storage: unknown key. Known: {TOP_LEVEL}"),
        (
            "resources: {gpu: 1}",
            "resources.gpu: unknown key. Did you mean 'gpus'? Known: cpus, gpus, memory_gib, processes",
        ),
        ("tracking: {url: x}", "tracking.url: unknown key. Did you mean 'uri'? Known: uri, experiment"),
        (
            "losses: [{type: dice, smoth: 3}]",
            f"losses[0].smoth: unknown key. Did you mean 'smooth'? Known: {DICE}, name",
        ),
        (
            "losses: [{type: dice, nmae: a}]",
            f"losses[0].nmae: unknown key. Did you mean 'name'? Known: {DICE}, name",
        ),
        ("scheduler: {type: fifo, grace: 1}", "scheduler.grace: unknown key. Known: none"),
        # wrong types: nothing is converted
        ("trials: three", "trials: must be a whole number, not 'three'"),
        ("trials: '3'", "trials: must be a whole number, not '3'"),
        ("trials: 2.5", "trials: must be a whole number, not 2.5"),
        ("trials: 1e3", "trials: must be a whole number, not 1000.0; write 1000, and ranges with int or logint"),
        ("trials: true", "trials: must be a whole number, not true"),
        ("trials: ~", "trials: must be a whole number, not null"),
        ("trials: 0", "trials: must be at least 1, not 0"),
        ("patience: 0", "patience: must be at least 1, not 0"),
        ("patience: 8", "patience: 8 never ends a trial before its 9 epochs; give at most 7, or leave it out"),
        ("max_failures: -1", "max_failures: must be at least 0, not -1"),
        ("resources: {gpus: some}", "resources.gpus: must be a number or 'auto', not 'some'"),
        *(
            (f"resources: {{gpus: {gpus}}}", f"resources.gpus: must be 'auto', from 0 to 1, {SOME_GPUS}, not {shown}")
            for gpus, shown in (("-1", "-1"), ("1.5", "1.5"), (".inf", "Infinity"), (".nan", "NaN"))
        ),
        ("resources: {gpus: 2}", f"resources: {TWO_CPUS}, not {{gpus: 2}}"),
        ("resources: {gpus: 2, cpus: 4, processes: 2}", f"resources: {EITHER}, not {{gpus: 2, cpus: 4, processes: 2}}"),
        ("resources: {cpus: 2, processes: 2}", f"resources: {EITHER}, not {{cpus: 2, processes: 2}}"),
        (
            "batch_size: {choice: [2, 8]}\nresources: {gpus: 4, cpus: 4}",
            "batch_size: 2 are fewer images than the 4 processes of a trial could share (resources); give at least 4",
        ),
        ("objective: 3", "objective: must be a mapping, not 3; e.g. `objective: 'val_miou'`"),
        ("plugins: mine", "plugins: must be a list, not 'mine'"),
        (
            "tracking: {uri: 'postgresql://ada:s3cret@db/x'}",
            "tracking.uri: holds a password, which others could read; put the whole URI into $MLFLOW_TRACKING_URI",
        ),
        ("name: 3", "name: must be text, not 3"),
        (
            "name: ../x",
            "name: must be up to 100 letters, digits, '.', '_' or '-', the first a letter or digit, not '../x'",
        ),
        # seeds
        ("seeds: []", "seeds: must be a list of at least 1, not []"),
        ("seeds: 3", "seeds: must be a list, not 3"),
        ("seeds: [0, a]", "seeds[1]: must be a whole number, not 'a'"),
        ("seeds: [1, 1]", "seeds: a seed is given twice: [1, 1]"),
        # components
        ("losses: []", "losses: must be a list with at least one entry, e.g. [border_weighted_cross_entropy]"),
        ("losses: dice", "losses: must be a list with at least one entry, e.g. [border_weighted_cross_entropy]"),
        (
            "losses: [3]",
            "losses[0]: needs `type:`, the name of the loss, e.g. {type: border_weighted_cross_entropy}",
        ),
        (
            "losses: [dicee]",
            f"losses[0].type: no loss 'dicee'. Did you mean 'dice'? Known: {', '.join(LOSSES.names())}",
        ),
        # sums of losses
        (
            "losses: [{dice: 1, focla: 1}]",
            f"losses[0].focla: unknown key. Did you mean 'focal'? Known: {TERMS}, name",
        ),
        ("losses: [{dice: 0, focal: 1}]", "losses[0].dice: must be above 0, not 0"),
        ("losses: [{dice: {uniform: [0.0, 1.0]}}]", "losses[0].dice: must be above 0, not 0.0"),
        (
            "losses: [{dice: {weight: 1, smoth: 2}}]",
            f"losses[0].dice.smoth: unknown key. Did you mean 'smooth'? Known: {DICE}, weight",
        ),
        (
            "losses: [{dice: 1, focal: {gamma: [1, 2]}}]",
            "losses[0].focal.gamma: must be a number, not [1, 2]; to search among values write {choice: [1, 2]}",
        ),
        (
            "losses: [{type: sum}]",
            "losses[0]: must have a loss and its weight, such as `dice: 0.5`, or several, not {}",
        ),
        (
            "losses: [{dice: 1, focal: {class_weights: [1, 2]}}]",
            "losses[0].focal.class_weights: 2 weights for 8 classes; give one per class, in order",
        ),
        (
            "losses: [{dice: 1, focal: 1}, {dice: 1, focal: 2}]",
            "losses[1]: 'dice+focal' is already the name of losses[0]; add `name:`",
        ),
        (
            "augmentations: [lite]",
            "augmentations[0].type: no augmentation 'lite'. Did you mean 'light'? "
            "Known: albumentations, light, none, standard, strong",
        ),
        ("searcher: optuna", "searcher.type: no searcher 'optuna'. Known: grid, nsga2, quasi_random, random, tpe"),
        ("scheduler: [asha]", "scheduler: needs `type:`, the name of the scheduler, e.g. {type: asha}"),
        ("losses: [dice, dice]", "losses[1]: 'dice' is already the name of losses[0]; add `name:`"),
        # options
        ("optimizers: [{type: adamw, lr: fast}]", "optimizers[0].lr: must be a number, not 'fast'"),
        ("optimizers: [{type: adamw, lr: -1}]", "optimizers[0].lr: must be above 0, not -1"),
        ("optimizers: [{type: adamw, betas: [0.9]}]", "optimizers[0].betas[1]: is missing"),
        ("optimizers: [{type: adamw, betas: [0.9, 2]}]", "optimizers[0].betas[1]: must be below 1, not 2"),
        (
            "optimizers: [{type: adamw, lr: [1e-3, 1e-4]}]",
            "optimizers[0].lr: must be a number, not [0.001, 0.0001]; "
            "to search among values write {choice: [0.001, 0.0001]}",
        ),
        (
            "losses: [{type: cross_entropy, class_weights: meet}]",
            "losses[0].class_weights: must be 'none', 'inverse_sqrt', 'median_frequency', 'enet', 'effective_number' "
            "or a list, not 'meet'. Did you mean 'enet'?",
        ),
        (
            "lr_schedules: [{type: poly, warmup_epochs: 20}]",
            "lr_schedules[0].warmup_epochs: a warm-up of 20 epochs leaves nothing of 9 epochs of training; "
            "choose a number below 9",
        ),
        # scheduler and searcher
        (
            "scheduler: {type: asha, grace: 9}",
            "scheduler.grace: 9 leaves nothing to stop in 9 epochs; give less, or use fifo",
        ),
        ("scheduler: {type: asha, reduction_factor: 1}", "scheduler.reduction_factor: must be at least 1.1, not 1"),
        (
            "scheduler: {type: asha_promotion, reduction_factor: 1.0000001}",  # millions of rungs
            "scheduler.reduction_factor: must be at least 1.1, not 1.0000001",
        ),
        (
            "scheduler: {type: hyperband, reduction_factor: .inf}",
            "scheduler.reduction_factor: must be a finite number, not Infinity",
        ),
        (
            "scheduler: {type: asha_promotion, grace: 9}",
            "scheduler.grace: 9 leaves nothing to stop in 9 epochs; give less, or use fifo",
        ),
        (
            "scheduler: {type: median, grace: 12}",
            "scheduler.grace: 12 leaves nothing to stop in 9 epochs; give less, or use fifo",
        ),
        (
            "scheduler: {type: hyperband, grace: 10}",
            "scheduler.grace: 10 leaves nothing to stop in 9 epochs; give less, or use fifo",
        ),
        (
            "scheduler: {type: hyperband, brackets: 4}",
            "scheduler.brackets: must be at most 3, not 4: with 9 epochs there are no more; "
            "give fewer, or a smaller grace or reduction_factor",
        ),
        (
            "scheduler: {type: hyperband, unit: iterations, grace: 100}",
            "scheduler.brackets: is missing: no epoch limit says how many there are in iterations; give it",
        ),
        (
            "scheduler: {type: hyperband, unit: seconds, grace: 300000000000, brackets: 4}",
            "scheduler.brackets: must be at most 3, not 4: with 1000000000000 seconds there are no more; "
            "give fewer, or a smaller grace or reduction_factor",
        ),
        *(
            (
                f"scheduler: {{type: {name}, unit: seconds, {more}}}",
                "scheduler.grace: is missing: no epoch limit says how many seconds are few; "
                "give what every trial shall get",
            )
            for name, more in (
                ("asha", "rungs: dataset"),
                ("asha_promotion", "rungs: cell"),
                ("hyperband", "brackets: 2"),
                ("median", "min_trials: 2"),
            )
        ),
        (
            "scheduler: {type: asha, unit: epoch}",
            "scheduler.unit: must be 'epochs', 'iterations' or 'seconds', not 'epoch'. Did you mean 'epochs'?",
        ),
        (
            "scheduler: {type: median, min_trials: 8}",
            "scheduler.min_trials: 8 leaves nothing to stop among 8 trials of a cell; "
            "give less, raise trials, or use fifo",
        ),
        ("scheduler: {type: median, min_trials: 0}", "scheduler.min_trials: must be at least 1, not 0"),
        ("searcher: {type: grid, points: 1}", "searcher.points: must be at least 2, not 1"),
        (
            "scheduler: {type: asha, rungs: cel}",
            "scheduler.rungs: must be 'cell' or 'dataset', not 'cel'. Did you mean 'cell'?",
        ),
        ("searcher: {type: tpe, startup_trials: 0}", "searcher.startup_trials: must be at least 1, not 0"),
        (
            "scheduler: {type: asha, grace: {int: [1, 3]}}",
            "scheduler.grace: must be one value, not a domain: it compares all trials",
        ),
        # objective
        (
            "objective: {metric: val_mio}",
            f"objective.metric: no metric 'val_mio'. Did you mean 'val_miou'? Known: {SCORES}",
        ),
        ("objective: {metric: 3}", "objective.metric: must be text, not 3"),
        ("objective: {metric: val_loss, mode: max}", "objective.mode: val_loss is better when min, not max"),
        (
            "objective: gmacs",
            "objective.metric: gmacs cannot decide which trial is best; put it into more_objectives or constraints. "
            f"Known: {SCORES}",
        ),
        # more objectives and constraints
        ("more_objectives: gmacs", "more_objectives: must be a list, not 'gmacs'; e.g. `more_objectives: [gmacs]`"),
        (
            "more_objectives: [params_m, gmac]",
            f"more_objectives[1].metric: no metric 'gmac'. Did you mean 'gmacs'? Known: {SCORES}, {COSTS}",
        ),
        (
            "more_objectives: [{metric: gmacs, mode: max}]",
            "more_objectives[0].mode: gmacs is better when min, not max",
        ),
        ("more_objectives: [gmacs, gmacs]", "more_objectives[1]: gmacs is an objective already; leave it out here"),
        ("more_objectives: [val_miou]", "more_objectives[0]: val_miou is an objective already; leave it out here"),
        (
            "more_objectives: [val_iou/skyy]",
            "more_objectives[0].metric: streets has no class 'skyy'. Did you mean 'sky'? "
            "It has: flat, marking, construction, object, nature, sky, human, vehicle",
        ),
        (
            "constraints: [params_m]",
            "constraints: must be a mapping, not [params_m]; e.g. `constraints: {params_m: {max: 30}}`",
        ),
        ("constraints: {params_m: 30}", "constraints.params_m: must be {max: NUMBER}, {min: NUMBER} or both, not 30"),
        ("constraints: {params_m: {}}", "constraints.params_m: must be {max: NUMBER}, {min: NUMBER} or both, not {}"),
        (
            "constraints: {params_m: {min: 3, max: 2}}",
            "constraints.params_m: must have a min of at most its max, not {min: 3, max: 2}",
        ),
        ("constraints: {params_m: {max: 0}}", "constraints.params_m.max: must be above 0, not 0"),
        ("constraints: {params_m: {max: .inf}}", "constraints.params_m.max: must be a finite number, not Infinity"),
        (
            "constraints: {param_m: {max: 5}}",
            f"constraints.param_m: no such cost. Did you mean 'params_m'? Known: {COSTS}",
        ),
        (
            "constraints: {val_miou: {min: 0.5}}",
            f"constraints.val_miou: val_miou is sought, not bounded; constraints are on what a trial costs: {COSTS}",
        ),
        (
            "constraints: {epoch_s: {min: 5}}",
            "constraints.epoch_s.min: epoch_s is only known epoch by epoch, and too small a value of the first ones "
            "says nothing; give max, or leave the constraint out",
        ),
        ("objective: {mode: mim}", "objective.mode: must be 'min' or 'max', not 'mim'. Did you mean 'min'?"),
        (
            "objective: {metric: val_boundary_iou}",
            "objective.metric: val_boundary_iou is measured with `evaluation: {boundary: true}` only",
        ),
        # evaluation
        ("evaluation: {method: slide}", "evaluation.method: must be 'whole' or 'sliding_window', not 'slide'"),
        ("evaluation: {window: [512]}", "evaluation.window[1]: is missing"),
        (
            "evaluation: {method: sliding_window}",
            "evaluation: needs `window: [height, width]` with `method: sliding_window`, and only there, "
            "not {method: sliding_window}",
        ),
        (
            "evaluation: {method: sliding_window, window: [64, 128]}",
            "evaluation.window: must be at most [64, 96], the image_size of streets, not [64, 128]",
        ),
        ("evaluation: {overlap: 1}", "evaluation.overlap: must be below 1, not 1"),
        ("evaluation: {scales: []}", "evaluation.scales: must be a list of at least 1, not []"),
        ("evaluation: {scales: [1.0, 9]}", "evaluation.scales[1]: must be at most 4, not 9"),
        (
            "evaluation: {scales: [1.0, 1.0]}",
            "evaluation: must name each of its `scales` once, not {scales: [1.0, 1.0]}",
        ),
        ("evaluation: {flip: 1}", "evaluation.flip: must be true or false, not 1"),
        (
            "evaluation: {flipp: true}",
            "evaluation.flipp: unknown key. Did you mean 'flip'? Known: method, window, "
            "overlap, blend, flip, scales, boundary, boundary_distance",
        ),
        (
            "objective: {metric: val_iou/skyy}",
            "objective.metric: streets has no class 'skyy'. Did you mean 'sky'? "
            "It has: flat, marking, construction, object, nature, sky, human, vehicle",
        ),
        # counts
        (
            "min_finished: 9",
            "min_finished: must be at most 8, not 9: unet/resnet34 on streets gets 8 trials; "
            "raise trials or lower min_finished",
        ),
        (
            "batch_size: many",
            "batch_size: must be a whole number or a mapping, not 'many'; e.g. `batch_size: {choice: [4, 8]}`",
        ),
        ("batch_size: 0", "batch_size: must be at least 1 or a mapping, not 0; e.g. `batch_size: {choice: [4, 8]}`"),
        (
            "batch_size: {choice: [4, 0]}",
            "batch_size: must be a whole number of at least 1, {choice: [...]}, {int: [...]} or {logint: [...]}, not 0",
        ),
        (
            "accumulation: {choice: [1, 2.5]}",
            "accumulation: must be a whole number of at least 1, {choice: [...]}, {int: [...]} or {logint: [...]}, "
            "not 2.5",
        ),
        ("clip_norm: 0", "clip_norm: must be above 0 or a mapping, not 0; e.g. `clip_norm: 1.0`"),
        (
            "clip_norm: {uniform: [-1, 1]}",
            "clip_norm: must be a number above 0, null, {choice: [...]}, {uniform: [...]} or {loguniform: [...]}, "
            "not -1.0",
        ),
        ("ema: 1", "ema: must be below 1 or a mapping, not 1; e.g. `ema: 0.999`"),
        (
            "ema: {choice: [null, 2]}",
            "ema: must be a number above 0 and below 1, null, {choice: [...]}, {uniform: [...]} or {loguniform: [...]}"
            ", not 2",
        ),
        (
            "precision: half",
            "precision: must be 'auto', 'float32', 'bf16', 'fp16' or a mapping, not 'half'; e.g. `precision: 'bf16'`",
        ),
        (
            "precision: {choice: [bf16, half]}",
            "precision: must be auto, float32, bf16, fp16 or {choice: [...]}, not 'half'",
        ),
        (
            "channels_last: 1",
            "channels_last: must be true or false, 'auto' or a mapping, not 1; e.g. `channels_last: true`",
        ),
        ("compile: {choice: [0, true]}", "compile: must be true, false or {choice: [...]}, not 0"),
        ("steps_per_epoch: 0", "steps_per_epoch: must be at least 1, not 0"),
        # a loss that does not fit
        (
            "losses: [{type: cross_entropy, class_weights: [1, 2]}]",
            "losses[0].class_weights: 2 weights for 8 classes; give one per class, in order",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(line: str, message: str) -> None:
    assert mistakes(f"{BASE}{line}\n") == [f"x.yaml:5: {message}"]


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ("{loguniform: [0, 0.1]}", "low 0 has no logarithm; give a low above 0, or use uniform"),
        ("{uniform: [0.5, 0.1]}", "low 0.5 must be below high 0.1; for one value write the value itself"),
        ("{uniform: [0.1, 0.1]}", "low 0.1 must be below high 0.1; for one value write the value itself"),
        ("{loguniform: [1e-5]}", "loguniform takes two finite numbers [low, high], not [1e-05]"),
        ("{uniform: [a, b]}", "uniform takes two finite numbers [low, high], not ['a', 'b']"),
        ("{uniform: [0, .inf]}", "uniform takes two finite numbers [low, high], not [0, inf]"),
        ("{loguniform: 1e-5}", "loguniform takes a list, e.g. {loguniform: [1e-5, 1e-2]}, not 1e-05"),
        ("{choice: []}", "choice needs at least one value, e.g. {choice: [0.9, 0.99]}"),
        ("{choice: [0.1, 0.1]}", "choice has a value twice: [0.1, 0.1]"),
        ("{choice: [0.1, 0.2], first: 0.3}", "first: 0.3 is none of the choices [0.1, 0.2]"),
        ("{loguniform: [1e-5, 1e-3], first: 1}", "first: 1 is outside [1e-05, 0.001]"),
        ("{int: [1, 3], first: 1.5}", "first: 1.5 is no whole number"),
        (
            "{uniform: [0, 1], loguniform: [1, 2]}",
            "a domain is one of uniform, loguniform, int, logint, choice, not uniform and loguniform at once",
        ),
        (
            "{loguniforn: [1e-5, 1e-3]}",
            "must be a number, not {loguniforn: [1e-05, 0.001]}. Did you mean 'loguniform'?",
        ),
        (
            "{choice: [0.1, 0.2], frist: 0.1}",
            "must be a number, not {choice: [0.1, 0.2], frist: 0.1}. Did you mean 'first'?",
        ),
        ("{uniform: [-1, 1]}", "must be above 0, not -1.0"),
        ("{choice: [0.1, fast]}", "must be a number, not 'fast'"),
    ],
)
def test_impossible_domains(domain: str, message: str) -> None:
    assert mistakes(f"{BASE}optimizers: [{{type: sgd, lr: {domain}}}]\n") == [f"x.yaml:5: optimizers[0].lr: {message}"]


def test_a_range_of_fractions_is_refused_where_whole_numbers_are_needed() -> None:
    remedy = "; write 64, and ranges with int or logint"
    text = BASE.replace("[unet]", "[{architecture: segformer, decoder_width: {uniform: [64, 128]}}]")
    assert mistakes(text)[0] == f"x.yaml:2: models[0].decoder_width: must be a whole number, not 64.0{remedy}"
    assert mistakes(text.replace("uniform", "int")) == []


def test_domains_inside_a_choice_are_checked_too() -> None:
    branches = "optimizers: [{type: sgd, lr: {choice: [0.1, {loguniform: [0, 1]}]}}]\n"
    assert mistakes(BASE + branches) == [
        "x.yaml:5: optimizers[0].lr.choice[1]: low 0 has no logarithm; give a low above 0, or use uniform"
    ]
    assert mistakes(BASE + branches.replace("[0, 1]", "[-2, -1]").replace("log", "")) == [
        "x.yaml:5: optimizers[0].lr: must be above 0, not -2.0",
        "x.yaml:5: optimizers[0].lr: must be above 0, not -1.0",
    ]
    assert mistakes(BASE + branches.replace("[0, 1]", "[1e-3, 1]")) == []
