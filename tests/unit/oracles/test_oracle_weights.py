"""ProLIP, CLIP-SVD and 2SFS: the stock model with weights put together by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from oracle_clip import (
    Leaves,
    adamw,
    check,
    close,
    cross_entropy,
    embeddings,
    labels,
    leaves,
    logits_now,
    normal,
    pixels,
    similarity,
    start,
    stock,
    texts,
    tokens,
)
from torch import Tensor
from torch.func import functional_call

from fewtune.core.task import ClassSet
from fewtune.model.load_strategy import load_strategy
from fewtune.model.strategy import Strategy
from fewtune.strategies.clip_svd import ClipSvd
from fewtune.strategies.prolip import ProLip
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.run_model import attach

TASK = tiny_task()
TwoStages: type[Strategy] = load_strategy("2sfs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("weights") / "clip")


def encoded(folder: Path, weights: Leaves) -> tuple[Tensor, Tensor, float]:
    """Embeddings of the training images and of the prompts, with other weights in the model."""
    model = stock(folder)

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = model

        def forward(self) -> tuple[Tensor, Tensor]:
            z = self.clip.get_image_features(pixel_values=pixels(TASK.train))
            w = self.clip.get_text_features(**tokens(folder, texts(TASK)))
            return embeddings(z), embeddings(w)

    z, w = functional_call(Both(), {f"clip.{name}": value for name, value in weights.items()}, ())
    return z, w, float(model.logit_scale.exp())


def test_projection(folder: Path) -> None:
    training = start(ProLip(), folder, TASK)
    values = leaves(training)
    name = "visual_projection.weight"
    assert values.keys() == {f"model.{name}"}
    first = stock(folder).get_parameter(name)

    def loss(v: Leaves) -> Tensor:
        z, w, scale = encoded(folder, {name: v[f"model.{name}"]})
        moved = ((v[f"model.{name}"] - first) ** 2).sum()
        return cross_entropy(similarity(z, w, scale), labels(TASK.train)) + moved / 4  # four shots

    lr = training.recipe.lr
    check(training, values, loss, adamw(lr, 0, eps=1e-4), lr)
    with torch.no_grad():
        z, w, scale = encoded(folder, {name: training.parameters[f"model.{name}"]})
        close(logits_now(training, pixels(TASK.train)), similarity(z, w, scale), "logits", 1e-5)


def composed(folder: Path, values: Leaves) -> Leaves:
    """Each weight as the sum of its singular triples, by numpy."""
    weights = {}
    for name, s in values.items():
        of = f"{name.removeprefix('model.').removesuffix('.s')}.weight"
        u, _, v = np.linalg.svd(stock(folder).get_parameter(of).double().numpy())
        count = len(s)
        left, right = (torch.from_numpy(part).float() for part in (u[:, :count], v[:count]))
        weights[of] = torch.einsum("oi,i,in->on", left, s, right)
    return weights


def test_singular_values(folder: Path) -> None:
    training = start(ClipSvd(), folder, TASK)
    values = leaves(training)
    assert len(values) == 2 * 4 * 6  # towers, blocks, matrices
    assert sum(value.numel() for value in values.values()) == 2 * 4 * 6 * 32

    def loss(v: Leaves) -> Tensor:
        z, w, scale = encoded(folder, composed(folder, v))
        return cross_entropy(similarity(z, w, scale), labels(TASK.train))

    lr = training.recipe.lr
    check(training, values, loss, adamw(lr, training.recipe.weight_decay), lr)
    with torch.no_grad():
        now = logits_now(training, pixels(TASK.train))
        z, w, scale = encoded(folder, composed(folder, leaves(training)))
        close(now, similarity(z, w, scale), "logits", 1e-4)
        with training.model.merged():
            close(logits_now(training, pixels(TASK.train)), now, "merged", 1e-5)


def test_two_stages(folder: Path) -> None:
    strategy = TwoStages()
    assert type(strategy).recipe is not None
    norms, classifier = strategy.phases(type(strategy).recipe)
    assert (norms.recipe.length, classifier.recipe.length) == (180, 120)
    model = tiny_clip(folder)
    head = norms.attach(model, TASK.classes, None)
    within = {name for name, _ in stock(folder).named_parameters() if ".layer_norm" in name}
    assert {name for name, _ in head.trainable()} == {f"model.{name}" for name in within}
    changed = {}
    with torch.no_grad():
        for index, (name, parameter) in enumerate(sorted(model.tuned().items())):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            parameter.add_(0.1 * noise)
            changed[name] = parameter.clone()
        z, w, scale = encoded(folder, changed)
        second = classifier.attach(model, TASK.classes, head)
        assert [name for name, _ in second.trainable()] == ["head.rows"]
        close(second.rows, normal(w), "rows", 1e-5)  # type: ignore[arg-type]
        second.rows.mul_(torch.tensor([[2.0], [1.0], [-1.0]]))  # type: ignore[union-attr, operator]
        expected = similarity(z, normal(w) * torch.tensor([[1.0], [1.0], [-1.0]]), scale)
        prompts = model.encode_frozen(second.prompts(TASK.classes))
        found = second(model.pixels(pixels(TASK.train)), prompts).logits
        close(found, expected, "logits", 1e-5)


def test_second_stage_by_hand(folder: Path) -> None:
    training = start(TwoStages(), folder, TASK)
    values = leaves(training)
    z, _, scale = encoded(folder, {})
    lr = training.recipe.lr
    loss = lambda v: cross_entropy(similarity(z, v["head.rows"], scale), labels(TASK.train))  # noqa: E731
    check(training, values, loss, adamw(lr, training.recipe.weight_decay), lr)


@torch.no_grad()
def test_classes_of_training_are_decided_by_the_classifier_and_others_by_prompts(
    folder: Path,
) -> None:
    head = attach(TwoStages(), tiny_clip(folder), TASK.classes, TwoStages.recipe, 0)
    head.rows.zero_()  # type: ignore[operator, union-attr]
    names = ("elk", TASK.classes.names[1], "ox")
    others = ClassSet(names, TASK.classes.templates)
    w = torch.ones(3, 16)
    assert head.text(w, others.names).sum(1).tolist() == [16, 0, 16]
    assert head.text(w, ("elk", "ox", "yak")).sum() == 48
    assert head.text(w, TASK.classes.names).sum() == 0
