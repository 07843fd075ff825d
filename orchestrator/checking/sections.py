"""The keys of a search space that hold components: where these are catalogued, and how an entry names one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segsweep.orchestrator.schedulers import SCHEDULERS
from segsweep.orchestrator.searchers import SEARCHERS
from segsweep.trainables.catalog import (
    AUGMENTATIONS,
    DATASETS,
    LOSSES,
    LR_SCHEDULES,
    MODELS,
    OPTIMIZERS,
    Catalog,
)


@dataclass(frozen=True)
class Section:
    """Where the components of one key are catalogued, and which key of an entry names them."""

    catalog: Catalog[Any]
    key: str = "type"
    many: bool = True
    unnamed: str = ""  # the component of an entry that names components as its keys: {dice: 0.5, cross_entropy: 0.5}


SECTIONS: Mapping[str, Section] = {
    "datasets": Section(DATASETS),
    "models": Section(MODELS, key="architecture"),
    "losses": Section(LOSSES, unnamed="sum"),
    "optimizers": Section(OPTIMIZERS),
    "lr_schedules": Section(LR_SCHEDULES),
    "augmentations": Section(AUGMENTATIONS),
    "searcher": Section(SEARCHERS, many=False),
    "scheduler": Section(SCHEDULERS, many=False),
}
