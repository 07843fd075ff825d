"""What the values in a user's own masks mean: the options for it, and the codes that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from segsweep.trainables.components import VOID, DataError
from segsweep.trainables.dataset_options import DatasetOptions
from segsweep.trainables.datasets._classes import Raw, check_names
from segsweep.trainables.datasets._files import MaskCodes


class ValueOptions(DatasetOptions):
    """A value is the index of its class, or what `values` maps to one."""

    values: dict[Raw, Annotated[int, Field(ge=0, lt=VOID)]] | None = None  # raw value -> class index; {0: 0, 255: 1}
    reduce_zero_label: bool = False  # 0 is void and k is class k-1
    ignore: tuple[Raw, ...] = ()  # raw values that are void, besides a class file's own ignore_index

    @model_validator(mode="after")
    def _values_are_unambiguous(self) -> Self:
        if both := sorted({*self.ignore} & {*(self.values or {})}):
            raise ValueError(f"raw value {both[0]} is in `values` and in `ignore`: it is a class or void, not both")
        if self.reduce_zero_label and self.values:
            raise ValueError("`reduce_zero_label` and `values` both say what a raw value means; give one of them")
        return self


def value_codes(options: ValueOptions, names: Sequence[str], void: int | None = None) -> MaskCodes:
    """void: the class file's value for it, where the options give it no other meaning. Raises DataError."""
    check_names(names)
    values = {index + 1: index for index in range(len(names))} if options.reduce_zero_label else options.values or {}
    if beyond := sorted(index for index in values.values() if index >= len(names)):
        raise DataError(f"`values` maps to class {beyond[0]}, but the {len(names)} classes are 0..{len(names) - 1}")
    ignore = [*options.ignore, *([] if void is None or void in values else [void])]
    return MaskCodes.of(names, [*ignore, 0] if options.reduce_zero_label else ignore, values)
