"""Views and transforms against torchvision and transformers; views and orders as pure functions."""

from __future__ import annotations

import random
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from transformers import CLIPImageProcessor, CLIPImageProcessorPil

from fewtune.core.preprocess import Preprocess
from fewtune.core.spec import Recipe
from fewtune.core.task import Example
from fewtune.data.decode import InMemory
from fewtune.training.image_loader import ImageLoader, random_crop, view_rng
from fewtune.training.seeding import epoch_order

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(array)


def examples(*images: Image.Image) -> list[Example]:
    return [Example(f"image-{i}", 0, InMemory(image)) for i, image in enumerate(images)]


def preprocess(policy: Literal["crop", "squash"] = "crop", size_px: int = 24) -> Preprocess:
    return Preprocess(size_px, MEAN, STD, policy=policy)


def largest_gap(one: list[float], two: list[float]) -> float:
    """The Kolmogorov-Smirnov statistic of two samples."""
    grid = np.sort(np.concatenate([one, two]))
    ranks = [np.searchsorted(np.sort(s), grid, side="right") / len(s) for s in (one, two)]
    return float(np.abs(ranks[0] - ranks[1]).max())


@pytest.mark.parametrize(
    ("width", "height", "least"), [(60, 40, 0.08), (50, 50, 0.5), (30, 9, 0.3)]
)
def test_crops_are_distributed_as_those_of_torchvision(
    width: int, height: int, least: float
) -> None:
    count = 1000
    rng = random.Random(0)
    ours = [random_crop(rng, width, height, least) for _ in range(count)]
    blank = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [
            transforms.RandomResizedCrop.get_params(blank, [least, 1.0], [3 / 4, 4 / 3])
            for _ in range(count)
        ]
    for top, left, h, w in ours:
        assert 0 <= top <= top + h <= height
        assert 0 <= left <= left + w <= width
    for name, index in (("top", 0), ("left", 1), ("height", 2), ("width", 3)):
        gap = largest_gap([crop[index] for crop in ours], [crop[index] for crop in theirs])
        # 1.63 * sqrt(2 / 1000): exceeded once in a hundred seeds.
        assert gap < 0.073, f"{name}: {gap:.3f}"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 50), (50, 1), (200, 3)])
def test_a_crop_of_an_extreme_image_is_torchvisions_fallback(width: int, height: int) -> None:
    blank = torch.empty(3, height, width)
    for least in (0.9999, 1.0):
        found = random_crop(random.Random(1), width, height, least)
        expected = transforms.RandomResizedCrop.get_params(blank, [least, 1.0], [3 / 4, 4 / 3])
        if min(width, height) > 1 or width == height:
            assert found == tuple(expected)
        top, left, h, w = found
        assert 0 < h <= height - top
        assert 0 < w <= width - left


@pytest.mark.parametrize(
    "size", [(40, 40), (61, 33), (33, 61), (24, 24), (7, 9), (300, 25), (1, 1)]
)
def test_test_transform_is_torchvisions(size: tuple[int, int]) -> None:
    image = noise(*size)
    expected = transforms.Compose(
        [
            transforms.Resize(24, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(24),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )(image)
    found = ImageLoader(examples(image), preprocess()).batch([0], None)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 40), (48, 24), (24, 60), (32, 40)])
def test_test_transform_is_that_of_transformers_where_the_margins_are_even(
    size: tuple[int, int],
) -> None:
    options: Any = {"size": {"shortest_edge": 24}, "crop_size": 24}
    processor = CLIPImageProcessorPil(**options, image_mean=MEAN, image_std=STD)
    assert processor.resample == CLIPImageProcessor.resample
    image = noise(*size)
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    found = ImageLoader(examples(image), preprocess()).batch([0], None)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_squash_resizes_both_sides() -> None:
    image = noise(61, 33)
    resized = image.resize((24, 24), Image.Resampling.BICUBIC)
    expected = (np.asarray(resized) / 255 - MEAN) / STD
    found = ImageLoader(examples(image), preprocess("squash")).batch([0], None)[0]
    np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=1e-5)


def test_a_view_is_a_crop_of_torchvision_with_our_numbers() -> None:
    image = noise(60, 45)
    recipe = Recipe(crop_scale=0.2, flip=False)
    found = ImageLoader(examples(image), preprocess(), recipe, seed=4).batch([0], 7)[0]
    top, left, h, w = random_crop(view_rng(4, "image-0", 7), 60, 45, 0.2)
    crop = image.crop((left, top, left + w, top + h)).resize((24, 24), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(
        found.permute(1, 2, 0), (np.asarray(crop) / 255 - MEAN) / STD, atol=1e-5
    )


def test_views_do_not_depend_on_order_batch_threads_or_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several = examples(*(noise(50, 40, seed) for seed in range(6)))
    recipe = Recipe()
    whole = ImageLoader(several, preprocess(), recipe, 3).batch(range(6), 2)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    alone = ImageLoader(several, preprocess(), recipe, 3)
    alone.batch([5, 1], 0)
    for index in (4, 0, 2, 5, 3, 1):
        assert torch.equal(alone.batch([index], 2)[0], whole[index])
    turned = ImageLoader(several[::-1], preprocess(), recipe, 3).batch(range(6), 2)
    assert torch.equal(turned.flip(0), whole)
    kept = ImageLoader(several, preprocess(), recipe, 3)
    kept.keep_bytes = 4 * 50 * 40 * 3
    kept.prefetch([3, 1], 2)
    for _ in range(2):
        assert torch.equal(kept.batch(range(6), 2), whole)


def test_views_differ_by_seed_key_and_number() -> None:
    same = noise(50, 40)
    pair = examples(same, same)
    recipe = Recipe()
    views = [
        *ImageLoader(pair, preprocess(), recipe, 0).batch([0, 1], 0),
        *ImageLoader(pair, preprocess(), recipe, 0).batch([0], 1),
        *ImageLoader(pair, preprocess(), recipe, 1).batch([0], 0),
    ]
    for i, one in enumerate(views):
        assert all(not torch.equal(one, two) for two in views[:i])


def test_half_of_the_views_are_mirrored() -> None:
    image = Image.new("RGB", (24, 24))
    image.paste((255, 255, 255), (12, 0, 24, 24))
    # A whole-image crop never fits a ratio other than 1, so every view is the whole image.
    images = ImageLoader(examples(image), preprocess(), Recipe(crop_scale=1.0))
    left = [bool(images.batch([0], view)[0, 0, 0, 0] > 0) for view in range(400)]
    assert 160 < sum(left) < 240
    never = ImageLoader(examples(image), preprocess(), Recipe(crop_scale=1.0, flip=False))
    assert not any(bool(never.batch([0], view)[0, 0, 0, 0] > 0) for view in range(40))


def test_without_a_crop_scale_every_view_is_the_test_transform() -> None:
    image = noise(50, 40)
    images = ImageLoader(examples(image), preprocess(), Recipe(crop_scale=None))
    assert torch.equal(images.batch([0], 3), images.batch([0], None))


@pytest.mark.parametrize("seed", [0, -1, 2**31, 2**63, 10**30])
def test_any_seed_gives_an_order(seed: int) -> None:
    order = epoch_order(seed, 3, 20)
    assert sorted(order) == list(range(20))
    assert order == epoch_order(seed, 3, 20)
    assert order != epoch_order(seed, 4, 20)
    assert order != epoch_order(seed + 1, 3, 20)
