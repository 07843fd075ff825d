"""Pretrained weights that are not there: what to put where."""

from __future__ import annotations

from segsweep.trainables.components import WeightsError


def unavailable(weights: str, download: str, error: Exception) -> WeightsError:
    """Weights of the hub. weights: as the user named them; download: the arguments of `hf download` that fetch them."""
    from huggingface_hub import constants

    return WeightsError(
        f"{weights} cannot be loaded ({cause(error)}). Where there is a network, run `hf download {download}` and copy "
        f"the folder that it makes to this machine's cache, {constants.HF_HUB_CACHE} (HF_HOME moves it); "
        "or set encoder_weights: none"
    )


def cause(error: Exception) -> str:
    """The first line of an error; libraries add pages of advice for their own callers."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
