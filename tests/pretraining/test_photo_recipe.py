"""The recipe of photo on a few drawn pictures and random maps."""

from __future__ import annotations

import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fewtune.backbones.conv_stem import STAGES, EfficientNetLite0, FrozenConv
from fixtures import write_image
from pretraining.photo import evaluate, sample
from pretraining.photo.card import sources, table, verdict
from pretraining.photo.maps import cache, open_view, pixels, read_maps
from pretraining.photo.network import start
from pretraining.photo.pool import POOLS, View, photos
from pretraining.photo.targets import Targets, make_targets, to_maps
from pretraining.photo.teacher import EPSILON, fold
from pretraining.photo.train import Distillation, Leg, agreement, augment, train


def norm_of(width: int, name: str) -> dict[str, Tensor]:
    kinds = {"weight": 1.0, "bias": 0.1, "running_mean": 0.1, "running_var": 1.0}
    return {f"{name}.{kind}": size * (0.5 + torch.rand(width)) for kind, size in kinds.items()}


def port() -> dict[str, Tensor]:
    """Random tensors under the names of the wheel."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def add(conv: str, norm: str, *shape: int) -> None:
        fan_in = int(np.prod(shape[1:]))
        tensors[f"{conv}.weight"] = torch.randn(*shape) * fan_in**-0.5
        tensors.update(norm_of(shape[0], norm))

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    inputs, index = 32, 0
    for kernel, _, expansion, outputs, count in STAGES:
        for _ in range(count):
            width, block = inputs * expansion, f"_blocks.{index}"
            if expansion > 1:
                add(f"{block}._expand_conv", f"{block}._bn0", width, inputs, 1, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", width, 1, kernel, kernel)
            add(f"{block}._project_conv", f"{block}._bn2", outputs, width, 1, 1)
            inputs, index = outputs, index + 1
    add("_conv_head", "_bn1", 1280, 320, 1, 1)
    return tensors


def unfolded(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network written out once more, batch norms apart and padding as TensorFlow's "same"."""

    def step(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{conv}.weight"]
        kernel, width = weight.shape[-1], weight.shape[1]
        total = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] // width)
        kinds = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(tensors[f"{norm}.{kind}"] for kind in kinds), eps=EPSILON)

    x = F.relu6(step(x, "_conv_stem", "_bn0", 2))
    index = 0
    for _, stride, expansion, _, count in STAGES:
        for number in range(count):
            block, y = f"_blocks.{index}", x
            if expansion > 1:
                y = F.relu6(step(y, f"{block}._expand_conv", f"{block}._bn0"))
            first = stride if number == 0 else 1
            y = F.relu6(step(y, f"{block}._depthwise_conv", f"{block}._bn1", first))
            y = step(y, f"{block}._project_conv", f"{block}._bn2")
            x, index = (x + y if y.shape == x.shape else y), index + 1
    return F.relu6(step(x, "_conv_head", "_bn1"))


@pytest.fixture(scope="module")
def stem() -> EfficientNetLite0:
    stem = EfficientNetLite0()
    stem.load_state_dict(fold(port()))
    return stem


@pytest.fixture(scope="module")
def maps() -> NDArray[np.float16]:
    return np.random.default_rng(0).normal(0, 2, (48, 49, 320)).astype(np.float16)


@pytest.fixture(scope="module")
def targets() -> Targets:
    torch.manual_seed(1)
    rows = torch.rand(64, 1280)
    return make_targets(rows, torch.rand(400, 1280), torch.randn(1000, 1280), torch.zeros(1000))


def student_of(targets: Targets, maps: NDArray[np.float16]) -> Distillation:
    torch.manual_seed(2)
    last = FrozenConv(320, 1280, 1)
    last.weight.normal_(std=0.05)
    return Distillation(start(targets, last, maps), last, targets)


def test_folded_stem_is_the_network_with_its_batch_norms(stem: EfficientNetLite0) -> None:
    x = torch.randn(2, 3, 64, 96)
    expected = unfolded(port(), x)
    assert expected.shape == (2, 1280, 2, 3)
    assert expected.std() > 0.01
    torch.testing.assert_close(stem(x), expected, rtol=1e-3, atol=1e-4)


def test_views_are_functions_of_photo_and_number(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", 1, (60, 40))
    plain, crop = open_view(path, 0), open_view(path, 1)
    assert plain.size == crop.size == (224, 224)
    assert crop.tobytes() == open_view(path, 1).tobytes() != open_view(path, 2).tobytes()
    assert float(pixels([plain]).abs().max()) <= 1


def test_an_interrupted_cache_goes_on_and_equals_a_whole_one(
    tmp_path: Path, stem: EfficientNetLite0
) -> None:
    paths = [write_image(tmp_path / f"{i}.png", i, (50, 40)) for i in range(4)]
    listed = [View("drawn", path, i % 2) for i, path in enumerate(paths)]
    cache(stem, listed, tmp_path / "whole", batch=2)
    cache(stem, listed[:2], tmp_path / "parts", batch=2)
    with (tmp_path / "parts" / "maps.f16").open("ab") as file:
        file.write(b"cut short")
    cache(stem, listed, tmp_path / "parts", batch=2)
    whole, parts = read_maps(tmp_path / "whole"), read_maps(tmp_path / "parts")
    assert whole.shape == (4, 49, 320)
    np.testing.assert_array_equal(whole, parts)


def test_photos_of_the_small_clothing_set_are_kept_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / "clothing" / "images" / f"{name}.jpg", name)
    write_image(tmp_path / "clothing-small" / "test" / "hat" / "b.jpg", "b")
    pool = next(pool for pool in POOLS if pool.name == "clothing")
    assert [path.stem for path in photos(tmp_path, pool)] == ["a", "c"]


def test_mixed_maps_keep_their_tokens_and_flips_their_target() -> None:
    maps = torch.arange(8.0)[:, None, None, None].expand(8, 2, 7, 7).clone()
    mixed = augment(maps, torch.Generator().manual_seed(0))
    assert all(len(row.unique()) <= 2 for row in mixed)
    assert any(len(row.unique()) == 2 for row in mixed)
    row = to_maps(np.arange(49 * 320).reshape(1, 49, 320).astype(np.float16))
    assert float(row[0, 3, 2, 1]) == np.float16((2 * 7 + 1) * 320 + 3)


def test_tower_starts_near_the_teacher_and_learns(
    targets: Targets, maps: NDArray[np.float16], tmp_path: Path
) -> None:
    student = student_of(targets, maps)
    before = agreement(student, maps)[1]
    assert before > 0.2
    train(student, maps, maps[:8], Leg(4, 48, 8), tmp_path / "none", tmp_path / "trunk.safetensors")
    assert agreement(student, maps)[1] > before


def test_a_resumed_leg_equals_an_uninterrupted_one(
    targets: Targets, maps: NDArray[np.float16], tmp_path: Path
) -> None:
    found = []
    for name, stops in (("whole", (2,)), ("parts", (1, 2))):
        path = tmp_path / f"{name}.safetensors"
        for until in stops:
            student = student_of(targets, maps)
            train(student, maps, maps[:8], Leg(until, 48, 8), path, path)
        found.append({key: value.detach().clone() for key, value in student.named().items()})
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_every_row_is_seen_once_in_an_epoch() -> None:
    leg = Leg(until=10, views=24, batch=8)
    assert sorted(np.concatenate([leg.rows(step) for step in range(3)])) == list(range(24))
    assert Leg(10, 24, decay=4).rate_factor(9) == pytest.approx(0.25 * 0.2)


def test_probes_and_zero_shot_are_in_percent() -> None:
    labels = np.repeat(np.arange(3), 30)
    features = np.eye(3, dtype=np.float32)[labels] + np.random.default_rng(0).normal(
        0, 0.05, (90, 3)
    ).astype(np.float32)
    order = np.random.default_rng(1).permutation(90)
    features, labels = features[order], labels[order]
    assert evaluate.zero_shot(features, np.eye(3, dtype=np.float32), labels) == 100
    assert evaluate.few_shot(features, labels, test=30)["4_shot"] == 100
    assert len(evaluate.draw(labels, 4, seed=1)) == 12


def scores(zero_shot: float) -> dict[str, dict[str, float]]:
    return {
        "photo": {"zero_shot": zero_shot, "16_shot": 90.0},
        "teacher": {"16_shot": 91.0},
        "chance": {"zero_shot": 1.0},
        "images": {"test": 2465.0},
    }


def test_the_card_says_which_bars_are_missed() -> None:
    results: Any = {"Caltech101": scores(55.0), "clothing": scores(57.5), "CIFAR-10": scores(1.0)}
    said = verdict(results)
    assert "- Caltech101, zero-shot, bar 55: reached." in said
    assert "- Caltech101, 16 shots, bar 91: missed by 1.0 points." in said
    assert "- clothing, zero-shot, bar 58: missed by 0.5 points." in said
    assert "| Caltech101 | 2,465 | 55.0 |  |  | 90.0 |" in table(results)
    rows = sources(Counter({"clothing": 5, "tiny-imagenet": 1200}))
    assert "| github.com/alexeygrigorev/clothing-dataset | CC0 1.0 | 5 |" in rows
    assert "alexeygrigorev/clothing-dataset-small | CC0 1.0 | evaluated on only |" in rows


def test_the_sample_has_no_photo_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "TRAIN_IMAGES", 3)
    monkeypatch.setattr(sample, "TEST_IMAGES", 6)
    draw = random.Random(0)
    for name in evaluate.CLOTHING:
        for split, count in (("train", 5), ("validation", 1), ("test", 3)):
            for index in range(count):
                path = tmp_path / "set" / split / name / f"{split}{index}.jpg"
                write_image(path, (name, split, index), (draw.randint(40, 60), 50))
    sample.write_sample(tmp_path / "set", tmp_path / "clothing.zip")
    members = zipfile.ZipFile(tmp_path / "clothing.zip").namelist()
    assert members[0] == "LICENSE"
    drawn = Counter(tuple(name.split("/")[:2]) for name in members[1:])
    assert drawn["train", "hat"] == 3
    assert drawn["test", "long-sleeved shirt"] == 6
    photographs = [name.split("/", 1)[1] for name in members[1:]]
    assert len(set(photographs)) == len(photographs)
