"""Lists of transforms that users get wrong: `validate` knows the names, `launch` asks the library for the rest."""

from __future__ import annotations

import pytest

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.preflight import unusable_augmentations
from segsweep.orchestrator.space.source import parse
from segsweep.trainables.augmentations._notation import names

SPEC = """\
datasets: [streets]
models: [unet]
epochs: 9
image_size: [64, 96]
augmentations:
  - type: albumentations
"""


def mistakes(transforms: str) -> list[str]:
    """What validate says of `transforms: ...` in line 7, without file, line and augmentations[0]."""
    try:
        check(parse(f"{SPEC}    transforms: {transforms}\n", "x.yaml"))
    except InputError as error:
        return [str(mistake).removeprefix("x.yaml:7: augmentations[0].transforms") for mistake in error.mistakes]
    return []


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ("[]", ": must be a list of transforms, e.g. [{HorizontalFlip: {p: 0.5}}]"),
        ("HorizontalFlip", ": must be a list, not 'HorizontalFlip'; e.g. `transforms: [{HorizontalFlip: {p: 0.5}}]`"),
        ("[3]", "[0]: must be the name of a transform, or {name: {argument: value}}"),
        ("[{Blur: {}, CLAHE: {}}]", "[0]: must be the name of a transform, or {name: {argument: value}}"),
        (
            "[horizontal_flip]",
            "[0]: albumentations has no transform 'horizontal_flip'. Did you mean 'HorizontalFlip'? "
            f"{len(names())} are known, such as HorizontalFlip",
        ),
        (
            "[Normalize]",
            "[0]: Normalize changes the type of the image; segsweep normalises and converts by itself, "
            "after all transforms",
        ),
        (
            "[Blur, {Morphological: {p: 1}}]",
            "[1]: Morphological takes the highest or lowest class number around each pixel of the mask",
        ),
        (
            "[{GridElasticDeform: {num_grid_xy: [4, 4], magnitude: 9}}]",
            "[0]: GridElasticDeform leaves gaps of class 0 between its cells; ElasticTransform does much the same",
        ),
        ("[Mosaic]", "[0]: Mosaic needs other images or texts beside the pair"),
        ("[RandomSizedBBoxSafeCrop]", "[0]: RandomSizedBBoxSafeCrop needs bounding boxes"),
        ("[ToTensor3D]", "[0]: ToTensor3D is for volumes"),
        (
            "[{GaussianBlur: {blur_limits: [3, 7]}}]",
            "[0].GaussianBlur.blur_limits: GaussianBlur has no argument 'blur_limits'. Did you mean 'blur_limit'? "
            "Known: blur_limit, sigma_limit, p",
        ),
        ("[{Equalize: {mask: 3}}]", "[0].Equalize.mask: Equalize has no argument 'mask'. Known: mode, by_channels, p"),
        ("[{HorizontalFlip: 0.5}]", "[0].HorizontalFlip: must be a mapping of HorizontalFlip's arguments: p"),
        ("[{HorizontalFlip: {p: 1.5}}]", "[0].HorizontalFlip.p: must be a probability from 0 to 1, not 1.5"),
        ("[{HorizontalFlip: {p: '1'}}]", '[0].HorizontalFlip.p: must be a probability from 0 to 1, not "1"'),
        ("[RandomCrop]", "[0]: RandomCrop needs height and width"),
        ("[{RandomCrop: {height: 32}}]", "[0].RandomCrop: RandomCrop needs width"),
        (
            "[{Rotate: {fill_mask: 0}}]",
            "[0].Rotate.fill_mask: must be 255 or null for labels to stay labels (it is set by itself), not 0",
        ),
        (
            "[{Resize: {height: 9, width: 9, area_for_downscale: image_mask}}]",
            "[0].Resize.area_for_downscale: must be null or \"image\" for labels to stay labels (it is set by itself), "
            'not "image_mask"',
        ),
        ("[{OneOf: [Blur, Bluur]}]", "[0].OneOf[1]: albumentations has no transform 'Bluur'. Did you mean 'Blur'? "
            f"{len(names())} are known, such as HorizontalFlip"),
        ("[{SomeOf: {transforms: [Blur], n: 0}}]", "[0].SomeOf.n: must be a whole number of at least 1, not 0"),
        ("[{SomeOf: {n: 2}}]",
            "[0].SomeOf.transforms: must be a list of transforms, e.g. [{HorizontalFlip: {p: 0.5}}]"),
    ],
)  # fmt: skip
def test_validate_tells_what_is_wrong_with_a_list_of_transforms(transforms: str, message: str) -> None:
    assert mistakes(transforms) == [message]


def test_every_mistake_in_a_list_is_told_at_once() -> None:
    found = mistakes("[Blurr, {Rotate: {fill_mask: 0, angle: 3}}, {OneOf: [Mosaic]}]")
    assert [mistake.partition(":")[0] for mistake in found] == [
        "[0]", "[1].Rotate.angle", "[1].Rotate.fill_mask", "[2].OneOf[0]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "transforms",
    [
        "[HorizontalFlip:, {Affine: {rotate: {choice: [[-10, 10], [-30, 30]]}, p: {uniform: [0.2, 0.8]}}}]",
        "{choice: [[HorizontalFlip], [HorizontalFlip, CLAHE]]}",
        "[HorizontalFlip, {choice: [{GaussNoise: {p: 0.3}}, {OneOf: [Blur, MedianBlur]}]}]",
    ],
)
def test_any_part_of_a_list_may_be_searched(transforms: str) -> None:
    text = f"{SPEC}    transforms: {transforms}\n".replace("HorizontalFlip:,", "{HorizontalFlip: ~},")
    checked = check(parse(text, "x.yaml"))
    assert list(unusable_augmentations(checked.spec, checked.source)) == []


def test_mistakes_within_a_choice_are_told() -> None:
    (found,) = mistakes("[{Rotate: {p: {choice: [0.5, 2]}}}]")
    assert found == "[0].Rotate.p: must be a probability from 0 to 1, not 2"


def unusable(*transforms: str, options: str = "") -> list[str]:
    """What `launch` says before it starts, without the name of the file."""
    lines = "".join(f"      - {transform}\n" for transform in transforms)
    checked = check(parse(f"{SPEC}    transforms:\n{lines}{options}", "x.yaml"))
    return [str(m).removeprefix("x.yaml:") for m in unusable_augmentations(checked.spec, checked.source)]


def test_values_that_the_library_refuses_are_told_with_line_and_argument() -> None:
    assert unusable("CLAHE", "Affine: {rotate: much}", "OneOf: [Blur, {GaussianBlur: {blur_limit: [3.5, 7]}}]") == [
        "9: augmentations[0].transforms[1].Affine.rotate: input should be a valid tuple, not 'much'",
        "10: augmentations[0].transforms[2].OneOf[1].GaussianBlur.blur_limit: "
        "input should be a valid integer, got a number with a fractional part, not 3.5",
    ]


def test_a_crop_larger_than_the_image_is_told_before_anything_starts() -> None:
    assert unusable("CLAHE", "OneOf: [Blur, {RandomCrop: {height: 65, width: 96}}]") == [
        "9: augmentations[0].transforms[1].OneOf[1].RandomCrop: fails for 64x96 pixels: "
        "Crop size (height, width) exceeds image dimensions (height, width): (65, 96) vs (64, 96)"
    ]
    assert unusable("RandomCrop: {height: 64, width: 96}") == []


def test_sequential_children_see_what_those_before_them_give() -> None:
    halves = "{CenterCrop: {height: 32, width: 48, p: 1}}"
    whole = "{RandomCrop: {height: 64, width: 96}}"
    assert unusable(f"OneOf: [{halves}, {whole}]") == []
    (found,) = unusable(f"Sequential: [{halves}, {whole}]")
    assert found.startswith("8: augmentations[0].transforms[0].Sequential[1].RandomCrop: fails for 32x48 pixels: ")


def test_transforms_of_a_single_model_are_tried_too() -> None:
    own = "{type: albumentations, transforms: [{RandomCrop: {height: 65, width: 96}}]}"
    text = SPEC.partition("augmentations:")[0].replace("[unet]", f"[{{architecture: unet, augmentations: [{own}]}}]")
    checked = check(parse(text, "x.yaml"))
    (found,) = unusable_augmentations(checked.spec, checked.source)
    assert found.place == "x.yaml:2: models[0].augmentations[0].transforms[0].RandomCrop"


def test_grey_images_are_told_to_be_no_food_for_a_network() -> None:
    (found,) = unusable("ToGray: {num_output_channels: 1}")
    assert "transforms[0].ToGray: gives an image (64, 96, 1) uint8" in found or "gives an image (64, 96) uint8" in found


def test_a_searched_value_that_the_library_refuses_is_told() -> None:
    (found,) = unusable("ImageCompression: {quality_range: {choice: [[50, 90], [50, 200]]}}")
    assert found.startswith("8: augmentations[0].transforms[0].ImageCompression.quality_range: all values in (50, 200)")
