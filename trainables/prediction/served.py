"""A trained network behind mlflow.pyfunc: `_load_pyfunc` is what MLflow calls. It needs no part of the orchestrator."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from segsweep.trainables.components import DataError
from segsweep.trainables.datasets._files import read_image, rgb
from segsweep.trainables.places import WEIGHTS
from segsweep.trainables.prediction.predictor import Predictor
from segsweep.trainables.prediction.trained_model import load_trained

if TYPE_CHECKING:
    import pandas as pd

    from segsweep.trainables.components import Uint8

IMAGE, MASK = "image", "mask"  # the columns
DATA = "data:"  # how a URL begins that holds an image itself: for JSON, which has no bytes


def _load_pyfunc(path: str) -> Served:
    """path: of the folder that `portable.save` filled."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Served(Predictor(load_trained(Path(path) / WEIGHTS, device)))


class Served:
    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: pd.DataFrame | Uint8, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """model_input: a column `image`, each a path, the bytes of an image file, a data: URL, or an array (H, W, 3) of
        RGB from 0 to 255; or one array (N, H, W, 3).

        A column `mask` of arrays (H, W) uint8: the class of every pixel, as the trial was scored. Raises DataError.
        """
        import pandas as pd

        table = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame({IMAGE: list(model_input)})
        masks = list(self._predictor.stream(map(_image, table[IMAGE])))
        return pd.DataFrame({MASK: pd.Series(masks, index=table.index, dtype=object)})


def _image(given: str | bytes | Uint8 | list[Any]) -> Uint8:
    """(H, W, 3) RGB, upright. Raises DataError."""
    if isinstance(given, str | bytes | bytearray):
        return _decoded(given)
    image = np.asarray(given)
    if image.ndim != 3 or image.shape[2] != 3 or image.min() < 0 or image.max() > 255 or image.dtype.kind not in "ui":
        what = f"an array {image.shape} of {image.dtype}"
        raise DataError(f"{IMAGE}: {what} cannot be used; give (H, W, 3) RGB as whole numbers from 0 to 255")
    return image.astype(np.uint8)


def _decoded(given: str | bytes | bytearray) -> Uint8:
    if isinstance(given, str) and given.startswith(DATA):
        given = base64.b64decode(given.partition(",")[2])
    if isinstance(given, str):
        return read_image(Path(given))
    try:
        with Image.open(io.BytesIO(given)) as image:
            return rgb(image, f"{IMAGE} of {len(given)} bytes")
    except (OSError, ValueError) as error:
        raise DataError(f"{IMAGE}: {len(given)} bytes are no image that can be read ({error})") from None
