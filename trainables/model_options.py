"""Options that every model has: weights to begin with, and parts of the network that stay as they are."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from segsweep.trainables.components import ComponentOptions
from segsweep.trainables.parts import Part
from segsweep.trainables.weights.options import PretrainedOptions

Count = Annotated[int, Field(ge=1)]


class Freeze(ComponentOptions):
    """What is not trained: whole parts of the network, or the first stages of its encoder.

    Weights get no gradient, and whatever else would change (normalisation statistics, dropout) stays as in evaluation.
    """

    parts: tuple[Part, ...] = ()
    stages: Count | None = None  # the encoder's first ones, as its feature maps end them: 2 is a ResNet up to layer1
    epochs: Count | None = None  # the first ones; for all of training if not given

    @model_validator(mode="after")
    def _something_of_it_and_not_all(self) -> Self:
        if not self.parts and self.stages is None:
            raise ValueError("needs `parts: [encoder]` or `stages: 2`")
        if len({*self.parts}) < len(self.parts):
            raise ValueError("`parts` names a part twice")
        if len(self.parts) == 3:
            raise ValueError("`parts` names all there is, so nothing would be trained; leave out the head")
        if self.stages is not None and "encoder" in self.parts:
            raise ValueError("`stages` are of the encoder, which `parts` freezes as a whole; leave out one of the two")
        return self

    @property
    def label(self) -> str:
        """`frozen-encoder`, `frozen-2-stages-for-5-epochs`"""
        frozen = [*self.parts] + [f"{self.stages}-stages"] * (self.stages is not None)
        return "-".join(["frozen", *frozen] + [f"for-{self.epochs}-epochs"] * (self.epochs is not None))


class ModelOptions(PretrainedOptions):
    """Base of every model's `Options`; segsweep.trainables.training.freezing does what they ask for."""

    most_stages: ClassVar[int | None] = None  # of its encoders, where that is known without building one

    freeze: Freeze | None = (
        None  # parts, or first stages of the encoder, that stay as they are, at first or all the time
    )

    @field_validator("freeze")
    @classmethod
    def _stages_that_there_are(cls, freeze: Freeze | None) -> Freeze | None:
        first, most = freeze and freeze.stages, cls.most_stages
        if first and most and first > most:
            raise PydanticCustomError("in_words", f"stages must be at most {most}, those of its encoders, not {first}")
        return freeze
