"""No password stays in what is kept or shown; nothing else is taken away."""

from __future__ import annotations

import sys

import pytest

from segsweep.orchestrator.passwords import without_password
from segsweep.orchestrator.provenance import provenance
from segsweep.orchestrator.resources.capacity import Capacity


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://ada:pw@db:5432/mlflow", "postgresql://ada@db:5432/mlflow"),
        ("postgresql+psycopg2://ada:p/w@x@db/mlflow", "postgresql+psycopg2://ada@db/mlflow"),
        ("postgresql://db/mlflow?user=ada&password=pw&sslmode=require",
         "postgresql://db/mlflow?user=ada&password=&sslmode=require"),
        ("https://ada:pw@mlflow.example/path", "https://ada@mlflow.example/path"),
        ("http://:pw@host", "http://@host"),
        ("failed: http://ada:pw@a/b and mysql://bob:pw@c/d", "failed: http://ada@a/b and mysql://bob@c/d"),
    ],
)  # fmt: skip
def test_passwords_are_taken_out(text: str, left: str) -> None:
    assert without_password(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://localhost:5000/a@b",
        "postgresql://ada@db:5432/mlflow",
        "sqlite:////home/a:b@c/mlflow.db",
        "sqlite:///mlflow.db",
        "models[0].encoder=resnet18",
        "mail ada@example.org: see http://host:80",
    ],
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert without_password(text) == text


def test_the_recorded_command_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["segsweep", "launch", "a.yaml", "--set", "x=mysql://ada:p/w@db/m"])
    assert provenance(Capacity(cpus=1, gpus=0))["command"] == "segsweep launch a.yaml --set x=mysql://ada@db/m"
