"""The label table of Cityscapes, whose 19 trainable classes BDD100K shares.

Source: labels.py of cityscapesScripts (Cordts et al., "The Cityscapes Dataset", CVPR 2016).
"""

from __future__ import annotations

from typing import NamedTuple

from segsweep.trainables.components import Color


class Label(NamedTuple):
    id: int  # the value in *_labelIds.png; -1: never drawn, the pixels have the label of what is around
    name: str
    category: str
    ignored: bool  # not scored, and 255 in *_labelTrainIds.png
    color: Color


LABELS = (
    Label(0, "unlabeled", "void", True, (0, 0, 0)),
    Label(1, "ego vehicle", "void", True, (0, 0, 0)),
    Label(2, "rectification border", "void", True, (0, 0, 0)),
    Label(3, "out of roi", "void", True, (0, 0, 0)),
    Label(4, "static", "void", True, (0, 0, 0)),
    Label(5, "dynamic", "void", True, (111, 74, 0)),
    Label(6, "ground", "void", True, (81, 0, 81)),
    Label(7, "road", "flat", False, (128, 64, 128)),
    Label(8, "sidewalk", "flat", False, (244, 35, 232)),
    Label(9, "parking", "flat", True, (250, 170, 160)),
    Label(10, "rail track", "flat", True, (230, 150, 140)),
    Label(11, "building", "construction", False, (70, 70, 70)),
    Label(12, "wall", "construction", False, (102, 102, 156)),
    Label(13, "fence", "construction", False, (190, 153, 153)),
    Label(14, "guard rail", "construction", True, (180, 165, 180)),
    Label(15, "bridge", "construction", True, (150, 100, 100)),
    Label(16, "tunnel", "construction", True, (150, 120, 90)),
    Label(17, "pole", "object", False, (153, 153, 153)),
    Label(18, "polegroup", "object", True, (153, 153, 153)),
    Label(19, "traffic light", "object", False, (250, 170, 30)),
    Label(20, "traffic sign", "object", False, (220, 220, 0)),
    Label(21, "vegetation", "nature", False, (107, 142, 35)),
    Label(22, "terrain", "nature", False, (152, 251, 152)),
    Label(23, "sky", "sky", False, (70, 130, 180)),
    Label(24, "person", "human", False, (220, 20, 60)),
    Label(25, "rider", "human", False, (255, 0, 0)),
    Label(26, "car", "vehicle", False, (0, 0, 142)),
    Label(27, "truck", "vehicle", False, (0, 0, 70)),
    Label(28, "bus", "vehicle", False, (0, 60, 100)),
    Label(29, "caravan", "vehicle", True, (0, 0, 90)),
    Label(30, "trailer", "vehicle", True, (0, 0, 110)),
    Label(31, "train", "vehicle", False, (0, 80, 100)),
    Label(32, "motorcycle", "vehicle", False, (0, 0, 230)),
    Label(33, "bicycle", "vehicle", False, (119, 11, 32)),
    Label(-1, "license plate", "vehicle", True, (0, 0, 142)),
)
TRAINABLE = tuple(label for label in LABELS if not label.ignored)  # the place of a label is its trainId
