"""Which of the searched and crossed choices mattered, by Optuna's evaluators."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from segsweep.orchestrator.report.contents import Plot, Section, Text
from segsweep.orchestrator.report.data import ReportData, Trial
from segsweep.orchestrator.report.figures import PALETTE, Trace, axis, layout, literal, rounded, tall
from segsweep.orchestrator.report.sections.responses import LOG_FROM, WORDS
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.plurals import counted

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

FEWEST = 20  # trials of a dataset: with fewer, chance decides
TREES, DEPTH = 32, 6  # of fANOVA's forest; Optuna's 64 of any depth take 11 s for 500 trials
CROSSED = ("model", "loss", "optimizer", "lr_schedule", "augmentation")
FANOVA = "differences between finished trials that it explains (fANOVA)"
PED_ANOVA = "how much it decides who is among the best tenth (PED-ANOVA)"


def section(data: ReportData) -> Section:
    blocks: list[Plot | Text] = []
    for dataset in data.datasets:
        trials = [trial for trial in data.searched(dataset) if trial.best is not None]
        chosen = {trial.id: choices(trial.config, trial.values) for trial in trials}
        varied = sorted({path for each in chosen.values() for path in each if _varies(chosen, path)})
        if len(trials) < FEWEST:
            few = f"{dataset}: {counted(len(trials), 'trial')} with a value are too few to say ({FEWEST} are needed)."
            blocks.append(Text(few))
        elif len({trial.best for trial in trials}) < 2:
            blocks.append(Text(f"{dataset}: all trials are equally good, so nothing mattered."))
        elif len(varied) < 2:
            blocks.append(Text(f"{dataset}: fewer than two things were varied, so none is more important."))
        else:
            blocks.append(_plot(dataset, importances(trials, chosen, varied)))
    note = (
        "Shares of importance, by Optuna's evaluators; fANOVA where enough trials have finished. What trials do not "
        "have in common, such as an option of one optimizer, is left out."
    )
    return Section("importance", "What mattered", [Text(note, "note"), *blocks])


def choices(config: TrialConfig, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What a trial was given: its searched values by dotted path, and the names of its components."""
    return {**values, **{kind: getattr(config, kind).name for kind in CROSSED}}


def _varies(chosen: Mapping[str, Mapping[str, JsonValue]], path: str) -> bool:
    """Every trial has it, and not all the same."""
    found = [each.get(path) for each in chosen.values()]
    return None not in found and len(set(map(str, found))) > 1


def importances(
    trials: Sequence[Trial], chosen: Mapping[str, Mapping[str, JsonValue]], varied: Sequence[str]
) -> dict[str, dict[str, float]]:
    """By evaluator, the share of each path; each sums to 1.

    fANOVA explains finished trials alone, if they are enough: when others were stopped says more of their values than
    what they were given. PED-ANOVA asks who is among the best, which those that were stopped are not.
    """
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    finished = [trial for trial in trials if trial.status == "finished"]
    study = _study(trials, chosen, varied)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, and no variation
        found = {PED_ANOVA: get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())}
        if len(finished) >= FEWEST and len({trial.best for trial in finished}) > 1:
            fanova = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0)
            found[FANOVA] = get_param_importances(_study(finished, chosen, varied), evaluator=fanova)
    return found


def _study(trials: Sequence[Trial], chosen: Mapping[str, Mapping[str, JsonValue]], varied: Sequence[str]) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {path: _distribution([each[path] for each in chosen.values()]) for path in varied}
    study = optuna.create_study(direction="maximize" if trials[0].config.objective.mode == "max" else "minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                value=trial.best,
                params={path: _plain(chosen[trial.id][path], distributions[path]) for path in varied},
                distributions=distributions,
            )
            for trial in trials
        ]
    )
    return study


def _distribution(values: Sequence[JsonValue]) -> BaseDistribution:
    """As wide as the values are: the domains of several models may differ."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return CategoricalDistribution(sorted(set(map(str, values))))
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high / low >= LOG_FROM)


def _plain(value: JsonValue, distribution: BaseDistribution) -> JsonValue:
    from optuna.distributions import CategoricalDistribution

    return str(value) if isinstance(distribution, CategoricalDistribution) else float(str(value))


def _plot(dataset: str, found: Mapping[str, Mapping[str, float]]) -> Plot:
    order = sorted(found[PED_ANOVA], key=lambda path: found[PED_ANOVA][path])
    traces: list[Trace] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": literal(name),
            "x": rounded([100 * shares.get(path, 0.0) for path in order]),
            "y": [literal(WORDS.get(path, path.replace("_", " "))) for path in order],
            "marker": {"color": color},
            "hovertemplate": "%{y}: %{x:.0f} %<extra></extra>",
        }
        for color, (name, shares) in zip(PALETTE, found.items(), strict=False)
    ]
    x, y = axis("share of importance (%)", rangemode="tozero"), axis("", type="category")
    look = layout(x, y, height=tall(2 * list(order)), barmode="group")
    return Plot(f"importance-{dataset}", f"{dataset}: importance", traces, look)
