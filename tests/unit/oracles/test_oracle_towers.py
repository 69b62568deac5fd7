"""The towers and zero-shot scores against transformers' own forward passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from oracle_clip import embeddings, normal, pixels, similarity, stock, texts, tokens

from fewtune.core.task import ClassSet
from fewtune.model.towers import Prompts
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.image_loader import ImageLoader
from fewtune.training.scoring import encode_classes, scores

TASK = tiny_task()
UNEVEN = ["a", "a photo of a very long thing indeed", "dog", "two words"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("towers") / "clip")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_towers_are_those_of_transformers(folder: Path, attention: str) -> None:
    model, oracle = tiny_clip(folder), stock(folder, attention)
    model.set_attention(attention)  # type: ignore[arg-type]
    x = pixels(TASK.test)
    image = model.pixels(x).embeddings()
    with torch.no_grad():
        torch.testing.assert_close(image, embeddings(oracle.get_image_features(pixel_values=x)))
        prompts = Prompts(tuple(UNEVEN), (0, 1, 2, 3), tuple("abcd"))
        rows = model.encode(prompts).embeddings(reduce="none")
        expected = embeddings(oracle.get_text_features(**tokens(folder, UNEVEN)))
        torch.testing.assert_close(rows, normal(expected))
        assert expected.std(0).min() > 1e-3


def test_eager_and_sdpa_gradients_agree(folder: Path) -> None:
    gradients = []
    for attention in ("eager", "sdpa"):
        model = tiny_clip(folder)
        model.set_attention(attention)  # type: ignore[arg-type]
        weights = model.unfreeze("*.encoder.layers.0.self_attn.q_proj.weight")
        prompts = Prompts(tuple(UNEVEN), (0, 1, 2, 3), tuple("abcd"))
        for batch in (model.encode(prompts), model.pixels(pixels(TASK.test))):
            batch.embeddings().square()[:, :5].sum().backward()  # type: ignore[no-untyped-call]
        gradients.append([weight.grad for weight in weights.values()])
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_every_stop_and_start_gives_the_same_embedding(folder: Path) -> None:
    model = tiny_clip(folder)
    prompts = model.encode(Prompts(tuple(UNEVEN), (0, 1, 2, 3), tuple("abcd")))
    with torch.no_grad():
        for whole in (model.pixels(pixels(TASK.test)), prompts):
            for stop in range(len(whole.tower.stages()) + 1):
                torch.testing.assert_close(whole.advance(stop).embeddings(), whole.embeddings())
            assert torch.equal(whole.encoded().encoded().embeddings(), whole.embeddings())


def test_zero_shot_logits_are_those_of_transformers(folder: Path) -> None:
    head = ZeroShot().attach(tiny_clip(folder), TASK.classes)
    found = scores(head, TASK.classes, ImageLoader(TASK.test, head.model.preprocess), "fp32")
    with torch.no_grad():
        inputs = tokens(folder, texts(TASK))
        expected = stock(folder)(pixel_values=pixels(TASK.test), **inputs).logits_per_image
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_prompt_ensembles_are_means_of_normalised_embeddings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewtune.model.dual_encoder.PROMPT_CHUNK", 3)
    templates = ("a photo of {}.", "art of {}", "{}!")
    own = ("stop", "a light that is red")
    classes = ClassSet(("red", "green_tea", "blue"), templates, (own, (), ()))
    model, oracle = tiny_clip(folder), stock(folder)
    head = ZeroShot().attach(model, classes)
    found = encode_classes(head, classes, "fp32")
    assert found is not None
    prompts = [
        list(own),
        ["a photo of green tea.", "art of green tea", "green tea!"],
        ["a photo of blue.", "art of blue", "blue!"],
    ]
    with torch.no_grad():
        rows = [
            normal(embeddings(oracle.get_text_features(**tokens(folder, group)))).mean(0)
            for group in prompts
        ]
        z = embeddings(oracle.get_image_features(pixel_values=pixels(TASK.test)))
        expected = similarity(z, torch.stack(rows), float(oracle.logit_scale.exp()))
        torch.testing.assert_close(found.embeddings(), torch.stack(rows), rtol=1e-5, atol=1e-6)
    logits = scores(head, classes, ImageLoader(TASK.test, model.preprocess), "fp32")
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_owners_in_any_order(folder: Path) -> None:
    model = tiny_clip(folder)
    with torch.no_grad():
        straight = model.encode(
            Prompts(("x", "yy", "zzz"), (0, 1, 2), ("a", "b", "c"))
        ).embeddings()
        turned = model.encode(Prompts(("zzz", "x", "yy"), (2, 0, 1), ("a", "b", "c"))).embeddings()
    torch.testing.assert_close(straight, turned)


def test_both_towers_train_in_the_working_precision_and_scores_are_fp32(folder: Path) -> None:
    model = tiny_clip(folder)
    head = ZeroShot().attach(model, TASK.classes)
    seen = {}
    for name in ("vision_model", "text_model"):
        layer = model.net.get_submodule(f"{name}.encoder.layers.1.mlp.fc1")
        layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.dtype}))  # type: ignore[misc]
    with torch.autocast("cpu", torch.bfloat16):
        prompts = model.encode(head.prompts(TASK.classes))
        output = head(model.pixels(pixels(TASK.test)), prompts)
    assert seen == {"vision_model": torch.bfloat16, "text_model": torch.bfloat16}
    assert output.logits.dtype == torch.float32
