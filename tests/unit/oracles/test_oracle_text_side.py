"""CoOp, CoCoOp and KgCoOp by building every prompt by hand, TaskRes by its formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from oracle_clip import (
    Leaves,
    Update,
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
    sgd,
    similarity,
    start,
    stock,
    texts,
    tokenizer,
    tokens,
)
from torch import Tensor

from fewtune.backbones.tokenizer import load_tokenizer
from fewtune.core.errors import ConfigError
from fewtune.core.task import ClassSet
from fewtune.strategies.cocoop import CoCoOp
from fewtune.strategies.coop import WORDS, CoOp, placeholder_glue
from fewtune.strategies.kgcoop import KgCoOp
from fewtune.strategies.taskres import TaskRes
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.image_loader import ImageLoader
from fewtune.training.job import Job
from fewtune.training.named_recipes import configure
from fewtune.training.scoring import encode_classes, scores

TASK = tiny_task()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("text") / "clip")


def image_side(folder: Path) -> tuple[Tensor, float]:
    model = stock(folder)
    with torch.no_grad():
        z = embeddings(model.get_image_features(pixel_values=pixels(TASK.train)))
    return z, float(model.logit_scale.exp())


def embedder(folder: Path, strategy: CoOp) -> Callable[[str, Tensor], Tensor]:
    """A function of class name and context: the embedding of a prompt put together by tokens."""
    model, words = stock(folder), tokenizer(folder)
    text = model.text_model
    table = text.embeddings.token_embedding.weight

    def embedding(name: str, context: Tensor) -> Tensor:
        half = {"end": strategy.tokens, "middle": strategy.tokens // 2, "front": 0}[
            strategy.position
        ]
        # One token per character: a space stands between the context and the name.
        before = words.encode(f" {name}" if half else name, add_special_tokens=False)
        space = words.encode(" ", add_special_tokens=False) if half < strategy.tokens else []
        stop = words.encode(".", add_special_tokens=False)
        first, last = [words.bos_token_id], [words.eos_token_id]
        parts = [table[first], context[:half], table[before], table[space], context[half:]]
        h = torch.cat([*parts, table[stop], table[last]])
        h = (h + text.embeddings.position_embedding.weight[: len(h)])[None]
        mask = torch.full((len(h[0]), len(h[0])), float("-inf")).triu(1)[None, None]
        for layer in text.encoder.layers:
            h = layer(h, mask)
        projected: Tensor = model.text_projection(text.final_layer_norm(h[0, -1]))
        return projected

    return embedding


def prompted(folder: Path, strategy: CoOp) -> Callable[[Leaves], Tensor]:
    """A function of the context: logits, of one prompt per class."""
    embedding, (z, scale) = embedder(folder, strategy), image_side(folder)

    def logits(values: Leaves) -> Tensor:
        context = values["head.context"]
        w = [
            embedding(name, context[k] if strategy.per_class else context)
            for k, name in enumerate(TASK.classes.names)
        ]
        return similarity(z, torch.stack(w), scale)

    return logits


@pytest.mark.parametrize(
    "strategy",
    [
        CoOp(tokens=4),
        CoOp(tokens=3, position="middle", per_class=True),
        CoOp(tokens=5, position="front"),
    ],
    ids=lambda s: s.position,
)
def test_context_by_hand(folder: Path, strategy: CoOp) -> None:
    training = start(strategy, folder, TASK)
    values = leaves(training)
    shape = (strategy.tokens, 32)
    assert values["head.context"].shape == ((3, *shape) if strategy.per_class else shape)
    logits = prompted(folder, strategy)
    with torch.no_grad():
        close(logits_now(training, pixels(TASK.train)), logits(values), "logits", 1e-5)
    lr = training.recipe.lr
    check(
        training,
        values,
        lambda v: cross_entropy(logits(v), labels(TASK.train)),
        sgd(lr, 0.9, 5e-4),
        lr,
    )


def test_context_that_stays_near_the_hand_prompts(folder: Path) -> None:
    strategy = KgCoOp(lambda_=3.0)
    training = start(strategy, folder, TASK)
    values, logits = leaves(training), prompted(folder, strategy)
    embedding, model = embedder(folder, strategy), stock(folder)
    with torch.no_grad():
        hand = normal(embeddings(model.get_text_features(**tokens(folder, texts(TASK)))))

    def loss(v: Leaves) -> Tensor:
        w = torch.stack([embedding(name, v["head.context"]) for name in TASK.classes.names])
        away = 1 - (normal(w) * hand).sum(1).mean()
        return cross_entropy(logits(v), labels(TASK.train)) + 3 * away

    lr = training.recipe.lr
    check(training, values, loss, sgd(lr, 0.9, 5e-4), lr)


def conditioned(folder: Path, strategy: CoCoOp) -> Callable[[Leaves], Tensor]:
    """Logits image by image: prompts are shifted by what a network says of the image."""
    embedding, (z, scale) = embedder(folder, strategy), image_side(folder)

    def logits(values: Leaves) -> Tensor:
        rows = []
        for image in z:
            inner = values["head.down.weight"] @ (image / image.norm()) + values["head.down.bias"]
            shift = values["head.up.weight"] @ inner.clamp(min=0) + values["head.up.bias"]
            context = values["head.context"] + shift
            w = torch.stack([embedding(name, context) for name in TASK.classes.names])
            rows.append(similarity(image[None], w, scale))
        return torch.cat(rows)

    return logits


@pytest.mark.parametrize("chunk", [0, 5])
def test_context_of_each_image_by_hand(folder: Path, chunk: int) -> None:
    strategy = CoCoOp(reduction=4)
    training = start(strategy, folder, TASK)
    training.use_plan(training.plan.model_copy(update={"text_chunk": chunk}))
    values, logits = leaves(training), conditioned(folder, strategy)
    assert values["head.context"].shape == (4, 32)
    assert values["head.down.weight"].shape == (4, 16)
    with torch.no_grad():
        close(logits_now(training, pixels(TASK.train)), logits(values), "logits", 1e-5)
    lr = training.recipe.lr
    loss = lambda v: cross_entropy(logits(v), labels(TASK.train))  # noqa: E731
    check(training, values, loss, sgd(lr, 0.9, 5e-4), lr)


def test_prompts_of_each_image_are_scored_as_in_training(folder: Path) -> None:
    """In evaluation and prediction, with several prompts of a class, and for other classes."""
    classes = ClassSet(("ox", "zebra", "elk"), ("a photo of {}.",))
    head = CoCoOp().attach(tiny_clip(folder), TASK.classes).eval()
    text = encode_classes(head, classes, "fp32")
    assert text is not None
    assert text.at == 0  # ids: no block lies below the cut
    x = pixels(TASK.train)
    with torch.no_grad():
        together = head(head.model.pixels(x), text).logits
        each = [head(head.model.pixels(image[None]), text).logits for image in x]
    torch.testing.assert_close(torch.cat(each), together, atol=1e-4, rtol=0)
    found = scores(head, classes, ImageLoader(TASK.train, head.model.preprocess), "fp32")
    torch.testing.assert_close(found, together, atol=1e-4, rtol=0)


@torch.no_grad()
def test_prompts_may_come_in_chunks_of_any_rows(folder: Path) -> None:
    model = tiny_clip(folder)
    head = CoOp(tokens=2, per_class=True, position="middle").attach(model, TASK.classes)
    prompts = head.prompts(TASK.classes)
    whole = model.encode(prompts).embeddings(reduce="none")
    for some in (slice(0, 1), slice(1, 3), slice(2, 3)):  # each cut to its own longest prompt
        part = model.encode(replace(prompts, texts=prompts.texts[some], owner=prompts.owner[some]))
        torch.testing.assert_close(part.embeddings(reduce="none"), whole[some])


def test_first_context(folder: Path) -> None:
    table = stock(folder).text_model.embeddings.token_embedding.weight
    words = table[tokens(folder, [WORDS])["input_ids"][0, 1:5]]

    def context(**options: Any) -> Tensor:
        return CoOp(**options).attach(tiny_clip(folder), TASK.classes).state_dict()["context"]

    assert torch.equal(context(tokens=4), words)
    assert torch.equal(context(tokens=4, per_class=True, initialisation="words")[1], words)
    for noise in (context(), context(tokens=4, per_class=True)):
        assert abs(noise.std() - 0.02) < 0.003
    longer = context(tokens=20, initialisation="words")  # the phrase has 12 tokens here
    assert torch.equal(longer[:4], words)
    assert abs(longer[12:].std() - 0.02) < 0.005


def test_positions_are_those_of_the_placeholders_in_clips_vocabulary(folder: Path) -> None:
    clip_bpe = load_tokenizer(None, context=77, vocabulary=49408, eos_token_id=2)
    model = tiny_clip(folder)
    model.tokenize = clip_bpe
    names = ("cat", "Boeing 737-800", "St. John's wort", "etc.", "forget_me_not")
    placeholder = clip_bpe(["x"])[0][0, 1]
    for position in ("end", "middle", "front"):
        head = CoOp(tokens=5, position=position, initialisation="normal").attach(
            model, TASK.classes
        )
        ids, end = clip_bpe(head.prompts(ClassSet(names)).texts)
        found = [torch.nonzero(row == placeholder).flatten().tolist() for row in ids]
        assert head.positions(end).tolist() == found  # type: ignore[operator]
        assert all(len(row) == 5 for row in found)


def test_a_tokenizer_without_single_letters_is_refused() -> None:
    def merging(texts: list[str]) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(texts), 3, dtype=torch.long), torch.ones(len(texts))

    with pytest.raises(ConfigError, match="no place for learned vectors"):
        placeholder_glue(SimpleNamespace(tokenize=merging, name="odd"), 4)  # type: ignore[arg-type]


def adam(lr: float, decay: float) -> Update:
    """Adam with the decay inside the gradient."""
    update = adamw(lr, 0.0)

    def decayed(values: Leaves, gradients: Leaves, state: dict[str, Any], step: int) -> None:
        update(values, {n: g + decay * values[n] for n, g in gradients.items()}, state, step)

    return decayed


def test_residual_by_formula(folder: Path) -> None:
    training = start(TaskRes(alpha=0.7), folder, TASK)
    values = leaves(training)
    assert values.keys() == {"head.residual"}
    z, scale = image_side(folder)
    with torch.no_grad():
        t = embeddings(stock(folder).get_text_features(**tokens(folder, texts(TASK))))
        assert t.norm(dim=1).std() > 1e-3

    def logits(v: Leaves) -> Tensor:
        return similarity(z, t + 0.7 * v["head.residual"], scale)

    with torch.no_grad():
        close(logits_now(training, pixels(TASK.train)), logits(values), "logits", 1e-5)
    check(
        training,
        values,
        lambda v: cross_entropy(logits(v), labels(TASK.train)),
        adam(2e-3, 5e-4),
        2e-3,
    )


@pytest.mark.parametrize(
    ("strategy", "lengths"),
    [(CoOp(), {1: 50, 2: 100, 4: 100, 8: 200, None: 200}), (TaskRes(), {1: 100, 4: 100, 8: 200})],
)
def test_epochs_follow_the_shots(strategy: Any, lengths: dict[int | None, int]) -> None:
    for shots, length in lengths.items():
        assert strategy.recipe_for(shots).length == length
        _, recipe = configure(strategy.name(), {"lr": 0.5}, shots)
        assert (recipe.length, recipe.lr) == (length, 0.5)  # type: ignore[union-attr]
        _, recipe = configure(strategy.name(), {"length": 7}, shots)
        assert recipe.length == 7  # type: ignore[union-attr]
    assert Job.of(strategy, TASK, "picto", shots=1).resolved_recipe().length == lengths[1]  # type: ignore[union-attr]
    # Four training images per class, and no number of shots asked for.
    assert Job.of(strategy, TASK, "picto").resolved_recipe().length == 100  # type: ignore[union-attr]
