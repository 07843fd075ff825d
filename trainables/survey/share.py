"""Shares as people read them."""

from __future__ import annotations

from decimal import Decimal


def percent(share: float) -> str:
    """`27.3 %`, below 1 % two digits: `0.29 %`, `0.0030 %`. Only nothing at all is `0 %`."""
    hundredths = 100 * share
    if hundredths == 0:
        return "0 %"
    return f"{hundredths:.1f} %" if hundredths >= 0.995 else f"{Decimal(f'{hundredths:#.2g}'):f} %"
