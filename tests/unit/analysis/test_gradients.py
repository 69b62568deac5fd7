"""Gradients of the first steps, against autograd on a step that is written out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from short_runs import SHOTS, Tuned

from fewtune.analysis import gradients
from fewtune.analysis.layer_sums import Layer
from fewtune.core.draws import few_shot
from fewtune.strategies.clip_lora import ClipLora
from fewtune.strategies.clipfit import ClipFit
from fewtune.testing import tiny_clip, tiny_task
from fewtune.training.image_loader import ImageLoader
from fewtune.training.seeding import epoch_order


def test_the_first_step_is_that_of_autograd(tuned: Tuned, backbone: Path) -> None:
    run = tuned(ClipFit())
    found = gradients.replay(run, steps=3)
    assert found is not None
    assert len(found.losses) == 3
    assert found.apart == 0  # the losses are those that the run has logged
    assert len(gradients.table(run, found)) == 3 * len(found.courses)

    model = tiny_clip(backbone)
    task = few_shot(tiny_task(), SHOTS, 3, "fewtune")
    chosen = list(epoch_order(3, 0, len(task.train))[:4])
    tensors = dict(model.net.named_parameters())
    bias = "text_model.encoder.layers.1.mlp.fc2.bias"
    norm = "vision_model.post_layernorm.weight"
    for name in (bias, norm):
        tensors[name].requires_grad_(True)
    pixels = ImageLoader(task.train, model.preprocess, run.spec.recipe, seed=3).batch(chosen, 0)
    z = model.net.get_image_features(pixel_values=pixels).pooler_output
    ids, _ = model.tokenize([f"a photo of {name}." for name in task.classes.names])
    w = F.normalize(model.net.get_text_features(input_ids=ids).pooler_output, dim=-1)
    logits = model.logit_scale * F.normalize(z, dim=-1) @ w.T
    labels = torch.tensor([task.train[i].label for i in chosen])
    kept = 1 - F.cosine_similarity(w, w.detach(), dim=-1).mean()
    (F.cross_entropy(logits, labels) + 8 * kept).backward()

    for name, layer in (
        (bias, Layer("text", "block.1", "biases")),
        (norm, Layer("image", "pool", "LayerNorm weights")),
    ):
        by_hand = float(tensors[name].grad.square().sum())
        assert found.courses[layer].squared[0] == pytest.approx(by_hand, rel=1e-3)


def test_dropout_and_order_of_later_steps_are_those_of_the_run(tuned: Tuned) -> None:
    found = gradients.replay(tuned(ClipLora(rank=4, alpha=2.0)), steps=99)
    assert found is not None
    assert len(found.losses) == 4
    assert found.apart == 0


def test_the_course_of_gradients() -> None:
    steps = [torch.tensor(v) for v in ([3.0, 4.0], [0.0, 0.0], [4.0, -3.0], [4.0, -3.0])]
    found = gradients.course(steps)
    assert found.squared == (25, 0, 25, 25)
    assert found.to_next == (None, None, pytest.approx(1))
    mean = (11 / 4, -2 / 4)
    cosine = (3 * mean[0] + 4 * mean[1]) / (5 * math.hypot(*mean))
    assert found.to_mean[0] == pytest.approx(cosine)
    assert found.to_mean[1] is None


def test_a_run_without_its_images_is_left_out(tuned: Tuned, tmp_path: Path) -> None:
    assert gradients.analyse([replace(tuned(ClipFit()), task=None)], tmp_path) == {"runs": []}
    assert not list(tmp_path.iterdir())
