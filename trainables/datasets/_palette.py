"""Colours for datasets that bring none."""

from __future__ import annotations

from segsweep.trainables.components import Color


def palette(count: int) -> tuple[Color, ...]:
    """`count` distinct colours, the same ones every time.

    Source: the bit-reversal colour map of the PASCAL VOC development kit (VOClabelcolormap).
    """
    return tuple(_color(index) for index in range(count))


def _color(index: int) -> Color:
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
