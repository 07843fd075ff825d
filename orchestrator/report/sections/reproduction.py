"""Where it ran, and what to type to get it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from segsweep.orchestrator.checking.reproduction import as_yaml, search_space, single_point
from segsweep.orchestrator.report.contents import Block, Code, Section, Table, Text
from segsweep.orchestrator.report.data import ReportData
from segsweep.orchestrator.report.words import number

NAMES = {
    "segsweep_commit": "git commit of segsweep",
    "git_commit": "git commit of the working folder",
    "cpu": "CPU",
    "cpus": "CPUs",
    "gpus": "GPUs",
    "memory_gib": "memory (GiB)",
}


def section(data: ReportData) -> Section:
    blocks: list[Block] = [
        Text(f"The whole sweep, by segsweep {data.created.provenance.get('version', data.version)} with sweep.yaml:"),
        Code(f"segsweep launch sweep.yaml{_confirm(data)}\nsegsweep report"),
        Code(_whole(data), "sweep.yaml, with all extensions"),
        *_winners(data),
        Table(("where it ran", ""), (*_facts(data.created.provenance), *_tested(data)), names=2),
        Table(("trained on", "trials"), tuple(_devices(data)), names=1),
    ]
    return Section("reproduction", "Environment and how to reproduce", blocks)


def _confirm(data: ReportData) -> str:
    """How it comes to be confirmed: by the file, by a command, or not at all."""
    if data.spec.confirm:
        return "  # confirms the winners, too: see `confirm` in the file"
    return "\nsegsweep confirm" if data.board.confirmed.rows else ""


def _whole(data: ReportData) -> str:
    return as_yaml(search_space(data.spec), [f"{data.sweep}, as it was run"])


def _winners(data: ReportData) -> Iterator[Block]:
    for dataset in data.datasets:
        for best in data.standings(dataset)[:1]:
            trial = best.trial
            facts = [
                f"{data.sweep}, trial {trial.id}, {data.metric} {number(trial.best)} after epoch {trial.best_epoch}"
            ]
            facts += [f"{data.metric} {number(best.value)}: {best.basis}"] * bool(best.seeds)
            again = f"`segsweep reproduce {data.sweep}:{trial.id}` prints it, too"
            won = f"{trial.cell.model}, {best.basis}"
            summary = f"The best configuration on {dataset} alone ({won}), for `segsweep launch`; {again}"
            yield Code(as_yaml(single_point(trial.config), facts), summary)


def _facts(provenance: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in provenance.items():
        if isinstance(value, Mapping):
            yield from ((str(package), str(version)) for package, version in value.items())
        elif value is not None:
            yield NAMES.get(name, name.replace("_", " ")), str(value) or "none known"


def _tested(data: ReportData) -> Iterator[tuple[str, str]]:
    """Trials tell it, since a launch may confirm nothing and then reads no test split."""
    facts = ((trial.cell.dataset, trial.facts.get("test_fingerprint")) for trial in data.trials)
    if found := dict.fromkeys(f"{dataset}/test:{print_}" for dataset, print_ in facts if print_):
        yield "test fingerprint", " ".join(found)


def _devices(data: ReportData) -> Iterator[tuple[str, str]]:
    places = Counter(
        f"{trial.facts.get('host', '?')}, {trial.facts.get('device', '?')}, torch {trial.facts.get('torch', '?')}"
        for trial in data.trials
        if trial.facts
    )
    for place, count in sorted(places.items()):
        yield place, str(count)
