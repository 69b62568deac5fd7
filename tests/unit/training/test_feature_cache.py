"""Cached activations: equal to streamed ones, computed once, and no run fails because of them."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fewtune.core.spec import Recipe
from fewtune.core.task import Example
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import TokenBatch
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.linear_probe import LinearProbe
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training import disk_cache
from fewtune.training.cache_key import image_identity
from fewtune.training.device import autocast
from fewtune.training.disk_cache import FILE, DiskCache, entries, prune
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader
from fewtune.training.job import Job
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

TASK = tiny_task()
RECIPE = Recipe(views=3, batch_size=4, length=2, length_unit="epochs")
END, MIDDLE = 8, 4  # stages of the tiny image tower: embed, norm, 4 blocks, pool, project


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("cache") / "clip")


@pytest.fixture(autouse=True)
def _keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_cache, "READING_BYTES_PER_S", float("inf"))


def disk_cache_in(folder: Path, notes: list[str] | None = None, **options: Any) -> DiskCache:
    return DiskCache(folder, ([] if notes is None else notes).append, **{"least_s": 0, **options})


def once(value: Tensor) -> Callable[[], Tensor]:
    """Computes a value the first time, and fails the second."""
    left = [value]
    return lambda: left.pop()


def features(
    model: DualEncoder,
    cut: int = END,
    budget_bytes: float = 1e9,
    recipe: Recipe = RECIPE,
    seed: int = 0,
    shared: DiskCache | None = None,
) -> FeatureCache:
    images = ImageLoader(TASK.train, model.preprocess, recipe, seed)
    return FeatureCache(
        model, images, cut, "fp32", views=recipe.views, budget_bytes=budget_bytes, disk_cache=shared
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_stored_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    value = torch.randn(5, 3).to(dtype)
    compute = once(value)
    assert torch.equal(disk_cache_in(tmp_path).get({"a": 1}, compute), value)
    found = disk_cache_in(tmp_path).get({"a": 1}, compute)
    assert found.dtype == dtype
    assert torch.equal(found, value)
    assert [entry.about for entry in entries(tmp_path)] == [{"a": 1}]


def test_what_is_computed_quickly_is_not_stored(tmp_path: Path) -> None:
    disk_cache_in(tmp_path, least_s=60).get({}, once(torch.ones(2)))
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_entries_are_made_again(tmp_path: Path) -> None:
    notes: list[str] = []
    shared = disk_cache_in(tmp_path, notes)
    for number in (1, 2):
        shared.get({"a": number}, once(torch.full((4,), float(number))))
    one, two = (e.folder / FILE for e in sorted(entries(tmp_path), key=lambda e: e.about["a"]))
    whole = one.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for spoilt in (flipped, whole[:-3], b"", two.read_bytes()):
        one.write_bytes(spoilt)
        assert shared.get({"a": 1}, once(torch.ones(4))).tolist() == [1, 1, 1, 1]
        assert one.read_bytes() == whole
    assert len(notes) == 4
    assert all("computing it again" in note for note in notes)


def test_the_entries_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    shared = disk_cache_in(tmp_path, limit_bytes=3 * 4000 + 2000)
    for number in range(3):
        shared.get({"n": number}, once(torch.ones(1000)))
        entry = next(e for e in entries(tmp_path) if e.about["n"] == number)
        os.utime(entry.folder / FILE, (number, number))
    shared.get({"n": 0}, once(torch.ones(0)))  # read, and thereby used
    shared.get({"n": 3}, once(torch.ones(1000)))
    assert [entry.about["n"] for entry in entries(tmp_path)] == [2, 0, 3]
    gone = prune(tmp_path, unused_s=3600)
    assert [entry.about["n"] for entry in gone] == [2]
    shared.get({"n": 4}, once(torch.ones(4000)))
    assert 4 not in [entry.about["n"] for entry in entries(tmp_path)]
    prune(tmp_path, keep_bytes=0)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_costs_the_entry_and_nothing_else(tmp_path: Path) -> None:
    notes: list[str] = []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        value = disk_cache_in(tmp_path, notes).get({}, once(torch.ones(1000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert value.sum() == 1000
    assert "going on without the cache" in notes[0]
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    assert disk_cache_in(tmp_path / "file", notes).get({}, once(torch.ones(1))).tolist() == [1]
    assert len(notes) == 2


def test_of_two_at_a_time_one_computes(tmp_path: Path) -> None:
    computed: list[int] = []
    found: list[Tensor] = []

    def compute() -> Tensor:
        computed.append(1)
        time.sleep(0.05)
        return torch.ones(3)

    # Each opens the lock file of its own, as two processes would.
    threads = [
        threading.Thread(target=lambda: found.append(disk_cache_in(tmp_path).get({}, compute)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1
    assert [value.tolist() for value in found] == [[1, 1, 1]] * 3


def test_an_image_is_known_by_its_file_or_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    of_file = image_identity(Example("a", 0, path))
    os.utime(path, (1, 1))
    assert image_identity(Example("a", 0, path)) != of_file
    other = tiny_task(seed=1).train[0]
    assert TASK.train[0] == other  # the keys are equal, the pixels are not
    assert image_identity(TASK.train[0]) != image_identity(other)
    assert image_identity(Example("gone", 0, tmp_path / "gone.png")) == ["gone"]


@pytest.mark.parametrize(("cut", "fits"), [(END, 3), (END, 1), (MIDDLE, 3), (MIDDLE, 2), (0, 3)])
def test_kept_equals_streamed(backbone: Path, cut: int, fits: int) -> None:
    model = tiny_clip(backbone)
    streamed = features(model, cut, budget_bytes=0)
    every = features(model, cut)
    view_bytes = len(TASK.train) * (3 * 32 * 32 if cut == 0 else every.batch([0]).x.nbytes)
    kept = features(model, cut, fits * view_bytes + view_bytes // 2)
    assert (every.kept, kept.kept, streamed.kept) == (3, fits, 0)
    for epoch in range(4):
        kept.prefetch([5, 2], epoch)
        for batch in ([5, 2, 7], range(3, 6)):
            one, two = kept.batch(batch, epoch), streamed.batch(batch, epoch)
            assert (epoch % 3 in kept._kept) == (epoch % 3 < fits)
            assert one.at == two.at == cut
            torch.testing.assert_close(one.embeddings(), two.embeddings(), rtol=0, atol=1e-5)


def test_pixels_are_kept_where_no_block_is_below_and_they_are_smaller(backbone: Path) -> None:
    model = tiny_clip(backbone)
    model.net.double()  # activations of 4,352 bytes, pixels of 3,072
    model.add_hook(model.image, "embed", lambda x, rows: x.double())
    roomy, tight, streamed = (features(model, 2, size * 12 * 3) for size in (4352, 3072, 0))
    assert [(i.at, i.kept) for i in (roomy, tight, streamed)] == [(2, 3), (0, 3), (2, 0)]
    assert torch.equal(tight.batch([1, 4], 5).x, streamed.batch([1, 4], 5).x)
    assert features(model, MIDDLE, 3072 * 12 * 3).at == MIDDLE


def test_a_new_view_every_epoch_is_streamed_and_the_plain_view_is_one(backbone: Path) -> None:
    model = tiny_clip(backbone)
    fresh = features(model, recipe=Recipe(views=0))
    assert fresh.kept == 0
    assert not torch.equal(fresh.batch([0], 0).x, fresh.batch([0], 1).x)
    for views in (0, 4):
        plain = features(model, recipe=Recipe(views=views, crop_scale=None))
        assert plain.kept == 1
        assert torch.equal(plain.batch([3], 0).x, plain.batch([3], 7).x)


def test_entries_differ_by_all_that_decides_the_bits(backbone: Path, tmp_path: Path) -> None:
    model = tiny_clip(backbone)
    shared = disk_cache_in(tmp_path)
    for recipe, seed, cut in (
        (RECIPE, 0, END),
        (RECIPE, 1, END),
        (RECIPE, 0, MIDDLE),
        (RECIPE.model_copy(update={"flip": False}), 0, END),
        (RECIPE.model_copy(update={"crop_scale": None}), 0, END),
    ):
        features(model, cut, recipe=recipe, seed=seed, shared=shared).batch([0])
    model.preprocess = replace(model.preprocess, policy="squash")
    features(model, shared=shared).batch([0])
    model.revision = "another"
    features(model, shared=shared).batch([0])
    assert len(entries(tmp_path)) == 7


def test_what_a_strategy_has_changed_below_the_cut_is_not_shared(
    backbone: Path, tmp_path: Path
) -> None:
    def brighter(x: Tensor, rows: TokenBatch | None) -> Tensor:
        return x + 1

    shared = disk_cache_in(tmp_path)
    plain = features(tiny_clip(backbone), shared=shared).batch([0]).x
    assert len(entries(tmp_path)) == 1
    model = tiny_clip(backbone)
    model.add_hook(model.image, "block.1", brighter)
    assert not torch.equal(features(model, shared=shared).batch([0]).x, plain)
    assert len(entries(tmp_path)) == 1


def test_runs_share_what_the_backbone_computes(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewtune.training.run.DiskCache", functools.partial(DiskCache, least_s=0))
    encoded: list[int | None] = []
    compute = FeatureCache._compute

    def counted(self: FeatureCache, view: int | None) -> Tensor:
        encoded.append(view)
        return compute(self, view)

    monkeypatch.setattr(FeatureCache, "_compute", counted)
    recipe = LinearProbe.recipe.model_copy(update={"views": 2, "length": 2})
    job = Job.of(
        LinearProbe(),
        TASK,
        str(backbone),
        recipe,
        device="cpu",
        precision="fp32",
        threads=1,
        runs=tmp_path / "cold",
        cache_dir=tmp_path / "shared",
    )
    cold = run(job, Tracker())
    assert encoded == [None, 0, 1]  # the test images for zero-shot, then the views
    warm = run(job.changed(runs=tmp_path / "warm"), Tracker())
    other = replace(job, recipe=recipe.model_copy(update={"lr": 0.1}))
    run(other.changed(runs=tmp_path / "warm"), Tracker())
    assert encoded == [None, 0, 1]
    bare = run(job.changed(runs=tmp_path / "bare", no_cache=True), Tracker())
    assert encoded == [None, 0, 1]  # nothing is kept: all is streamed
    for result in (warm, bare):
        assert result.record["metrics"] == cold.record["metrics"]
    for name in ("adapter.safetensors", "predictions.csv"):
        assert (warm.folder / name).read_bytes() == (cold.folder / name).read_bytes()
    lora = replace(job, strategy=ClipLora(position="up"), recipe=None).changed(steps_scale=0.001)
    run(lora.changed(runs=tmp_path / "lora"), Tracker())
    assert encoded == [None, 0, 1, None]  # its test images, up to its first block
    shutil.rmtree(tmp_path / "lora")
    run(lora.changed(runs=tmp_path / "lora"), Tracker())
    assert encoded == [None, 0, 1, None]


def test_a_streamed_batch_rounds_as_a_cached_one_in_bf16(backbone: Path) -> None:
    model = tiny_clip(backbone)
    model.set_attention("eager")
    images = ImageLoader(TASK.train, model.preprocess)
    cached = FeatureCache(model, images, END, "bf16", budget_bytes=1e9)
    streamed = FeatureCache(model, images, END, "bf16")
    assert (cached.kept, streamed.kept) == (1, 0)
    everything = range(len(TASK.train))
    with autocast(torch.device("cpu"), "bf16"):
        found, wanted = (cache.batch(everything).encoded().x for cache in (streamed, cached))
    assert torch.equal(found, wanted)
