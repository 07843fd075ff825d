"""The options by which every model takes weights, and what a model tells of those that its library names."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from segsweep.trainables.components import ComponentOptions
from segsweep.trainables.data.normalization import IMAGENET, Normalization
from segsweep.trainables.weights.sources import Kind


class Published(NamedTuple):
    """Weights that a library names and keeps on the Hugging Face hub."""

    repository: str
    revision: str | None = None
    licence: str = ""  # as the library states it; "" if it does not


class PretrainedOptions(ComponentOptions):
    """`encoder_weights`: none, a name of the library (such as imagenet), a file (.safetensors, .pth ...), a folder that
    holds one, a repository of the hub (owner/name, owner/name@revision), or package:NAME, an installed Python package.
    `weights`, of the whole network: a file, a trial's best.pt, SWEEP_FOLDER:TRIAL, or run:ID of MLflow."""

    loads: ClassVar[frozenset[Kind]] = frozenset()  # what `build` takes care of; the trial loads anything else

    shaped_by_weights: ClassVar[bool] = False  # whether sizes of the network follow the weights that `build` loads

    encoder_weights: str = "none"
    weights: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.weights is not None and self.encoder_weights != "none":
            message = (
                "`weights` holds the encoder as well, so `encoder_weights` have no place; leave out one of the two"
            )
            raise PydanticCustomError("in_words", message)
        return self

    def published(self) -> Published | None:
        """What `encoder_weights` stands for where it is a name of the library. Imports the library."""
        return None

    def repositories(self) -> tuple[str, ...]:
        """The same for a look into the cache, without imports; * stands for any letters."""
        return ()

    def normalization(self) -> Normalization:
        """What weights of this encoder expect, unless they come with a statement of their own."""
        return IMAGENET
