"""What `segsweep data check` says about the datasets of a search space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from segsweep.trainables.plurals import counted
from segsweep.trainables.survey.audit import Audit
from segsweep.trainables.survey.findings import Finding, Severity

SEVERITIES: tuple[Severity, ...] = ("fault", "warning")


def as_lines(name: str, audit: Audit) -> Iterator[str]:
    """For people: the first few of each kind, and how many more there are."""
    images = ", ".join(f"{split} {count}" for split, count in audit.images.items()) or "not listed"
    totals = {severity: audit.findings.total(severity) for severity in SEVERITIES}
    counts = " and ".join(counted(total, noun) if total else f"no {noun}s" for noun, total in totals.items())
    yield f"{name} ({images}): {counts}"
    for severity in SEVERITIES:
        for kind, findings in audit.findings.of(severity).items():
            yield from (f"  {severity}: {finding.message}" for finding in findings)
            if more := audit.findings.counts[severity, kind] - len(findings):
                yield f"  {severity}: ... {more} more of this kind ({kind}); --json lists all"


def as_facts(name: str, audit: Audit) -> dict[str, Any]:
    """For programs: everything that was found."""
    found = {severity: audit.findings.of(severity).values() for severity in SEVERITIES}
    return {
        "dataset": name,
        "images": dict(audit.images),
        **{f"{severity}s": [_fact(one) for many in found[severity] for one in many] for severity in SEVERITIES},
    }


def _fact(finding: Finding) -> dict[str, Any]:
    return {key: value for key, value in asdict(finding).items() if key not in ("severity", "place")}
