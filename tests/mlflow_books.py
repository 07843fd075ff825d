"""Whether MLflow holds what a journal says: every number of every event, once, and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    EpochDone,
    SweepCreated,
    TrialCreated,
    TrialFacts,
    read_events,
)
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.tracking.records import metric_key, sweep_uid
from segsweep.orchestrator.tracking.store import connect

SUMMARY = ("best_", "gpu_s", "cpu_s")  # of a trial; recorded at the end of each attempt

Points = Counter[tuple[str, int, int, str]]  # key, step, milliseconds, value as text (NaN equals NaN)


def check_books(journal: Path, uri: str = "") -> int:
    """Fails unless the store has one run for each trial, with the journal's numbers. How many numbers those are.

    uri: of the store; by default the one that the journal names.
    """
    events = [event for event, _ in read_events(journal)]
    created = events[0]
    assert isinstance(created, SweepCreated)
    runs = runs_by_trial(uri or created.tracking_uri, sweep_uid(created))
    assert set(runs) == {"", *(event.trial for event in events if isinstance(event, TrialCreated))}
    state, count = SweepState.load(journal), 0
    for trial, run in runs.items():
        if not trial:
            texts = [file.path for file in connect(uri or created.tracking_uri).list_artifacts(run.info.run_id)]
            assert texts == ["plan.json", "search_space.yaml", "spec.json"]
            continue
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == runs[""].info.run_id
        assert tags["segsweep.status"] == state.trials[trial].status
        wanted = points_of_journal(events, trial)
        found = points_of_run(uri or created.tracking_uri, run)
        assert {p: n for p, n in found.items() if not p[0].startswith(SUMMARY)} == dict(wanted)
        ends = [int(event.time * 1000) for event in events if isinstance(event, AttemptEnded) and event.trial == trial]
        summaries = Counter((key, time) for key, _, time, _ in found.elements() if key.startswith(SUMMARY))
        assert set(summaries.values()) <= {1}
        assert {time for _, time in summaries} == set(ends)
        assert state.trials[trial].best_epoch == run.data.metrics.get("best_epoch")
        count += wanted.total()
    return count


def runs_by_trial(uri: str, uid: str) -> dict[str, Any]:
    """The runs of one sweep by trial id; the sweep's own as "". Fails if a trial has two."""
    client = connect(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    query = f"tags.`segsweep.sweep_uid` = '{uid}' and tags.`segsweep.kind` != 'duplicate'"
    runs = client.search_runs(experiments, query, max_results=1000)
    by_trial = {run.data.tags.get("segsweep.trial_id", ""): run for run in runs}
    assert len(by_trial) == len(runs)
    return by_trial


def points_of_journal(events: list[Any], trial: str) -> Points:
    """What the epochs and facts of a trial say. A class without a pixel has no value."""
    points: Points = Counter()
    for event in events:
        milliseconds = int(event.time * 1000)
        if isinstance(event, EpochDone) and event.trial == trial and not event.redone:
            for name, value in event.metrics.items():
                if value is not None or "/" not in name:
                    points[metric_key(name), event.epoch, milliseconds, repr(math.nan if value is None else value)] += 1
        elif isinstance(event, TrialFacts) and event.trial == trial:
            for name, fact in event.facts.items():
                if not isinstance(fact, str):
                    points[metric_key(name), 0, milliseconds, repr(float(fact))] += 1
    return points


def points_of_run(uri: str, run: Any) -> Points:
    client = connect(uri)
    histories = (client.get_metric_history(run.info.run_id, key) for key in run.data.metrics)
    return Counter((p.key, p.step, p.timestamp, repr(p.value)) for history in histories for p in history)
