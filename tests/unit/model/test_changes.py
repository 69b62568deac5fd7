"""What a strategy changes: injected layers, hooks, embeddings, and the errors of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewtune.core.errors import AdapterError, ConfigError
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output, score
from fewtune.model.injected import Injected
from fewtune.model.strategy import Phase
from fewtune.testing import tiny_clip, tiny_clip_folder, tiny_task
from fewtune.training.cut import find_cuts
from fewtune.training.run_model import attach_phase

CLASSES = tiny_task().classes
Q = "vision_model.encoder.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("changes") / "clip")


@pytest.fixture
def model(folder: Path) -> DualEncoder:
    return tiny_clip(folder)


class Doubled(Injected):
    """Twice the original, and dropout in training."""

    def __init__(self, base: nn.Module, dropout: float = 0.0) -> None:
        super().__init__(base, dropout)
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.factor * self.base(x)
        return out


def test_an_injected_layer_is_trained_saved_and_undone(model: DualEncoder) -> None:
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = model.pixels(x).embeddings()
    model.inject(Q, Doubled)
    assert set(model.tuned()) == {f"{Q}.factor"}
    assert not torch.equal(model.pixels(x).embeddings(), before)
    with model.original():
        assert torch.equal(model.pixels(x).embeddings(), before)
    model.freeze()
    assert set(model.tuned()) == {f"{Q}.factor"}
    assert not model.tuned()[f"{Q}.factor"].requires_grad


def test_only_a_layer_with_dropout_has_a_training_mode(model: DualEncoder) -> None:
    for dropout in (0.0, 0.5):
        layer = Doubled(nn.Sequential(nn.Dropout(0.5)), dropout).train()
        assert layer.training == (dropout > 0)
        assert not layer.base.training


def test_a_layer_without_a_plain_form_stays_where_it_is(model: DualEncoder) -> None:
    model.inject(Q, Doubled)
    with model.merged():
        assert isinstance(model.net.get_submodule(Q), Doubled)
    with pytest.raises(AdapterError, match=r"Doubled at .*q_proj cannot be merged"):
        model.merge()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.unfreeze("*.bais"), r"No parameter.*matches '\*.bais'. Did you mean 'bias'"),
        (lambda m: m.inject(f"{Q[:-6]}qproj", Doubled), f"no module .* mean '{Q}'.*--parameters"),
        (lambda m: m.inject(Q, lambda base: None), "returned for .*q_proj must be .*NoneType"),
        (lambda m: m.add_hook(m.text, "blok.1", print), r"no stage 'blok.1'. .*mean 'block.1'"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(model: DualEncoder, change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change(model)


@pytest.mark.parametrize(
    ("tower", "hook", "message"),
    [
        ("image", lambda x, rows: None, r"at block.1 returned NoneType in the place of \(1, 17, "),
        ("image", lambda x, rows: x[..., :3], r"returned \(1, 17, 3\) in the place of \(1, 17, 32"),
        ("text", lambda x, rows: x[:, 1:], "texts, their tokens"),
        ("text", lambda x, rows: x.missing, "Stage block.1 of text_model fails: AttributeError"),
    ],
)
def test_a_wrong_hook_is_named(model: DualEncoder, tower: str, hook: Any, message: str) -> None:
    model.add_hook(getattr(model, tower), "block.1", hook)
    with pytest.raises(ConfigError, match=message):
        find_cuts(Head(model, CLASSES), CLASSES)


def test_a_layer_of_another_width_is_named(model: DualEncoder) -> None:
    model.inject(Q, lambda base: nn.Linear(32, 31))
    with pytest.raises(ConfigError, match=r"Stage block.1 of vision_model fails: RuntimeError"):
        find_cuts(Head(model, CLASSES), CLASSES)


class WrongImage(Head):
    def image(self, z: Tensor) -> Tensor:
        return z[:, :3]


class WrongText(Head):
    def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
        return None  # type: ignore[return-value]


class WrongForward(Head):
    def forward(self, images: Any, classes: Any) -> Output:
        output = super().forward(images, classes)
        return Output(output.logits[:, :2], output.image)


class NoForward(Head):
    def forward(self, images: Any, classes: Any) -> Output:
        return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (WrongForward, r"logits \(2, 3\), found \(2, 2\)"),
        (NoForward, r"logits \(2, 3\), found NoneType"),
    ],
)
def test_a_wrong_forward_is_named(model: DualEncoder, kind: type[Head], message: str) -> None:
    head = kind(model, CLASSES)
    text = model.encode_frozen(head.prompts(CLASSES))
    with pytest.raises(ConfigError, match=message):
        score(head, model.pixels(torch.zeros(2, 3, 32, 32)), text)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (WrongImage, r"`Head.image` must return embeddings \(2, 16\), found \(2, 3\)"),
        (WrongText, r"`Head.text` must return embeddings \(3, 16\), found NoneType"),
    ],
)
def test_a_wrong_transformation_is_named(
    model: DualEncoder, kind: type[Head], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_cuts(kind(model, CLASSES), CLASSES)


def test_attach_must_return_a_head(model: DualEncoder) -> None:
    phase = Phase("tune", lambda *_: None, None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match="`attach` must return a Head, found NoneType"):
        attach_phase(phase, 0, model, CLASSES, None, 0)


def test_text_is_told_the_names_of_the_classes(model: DualEncoder) -> None:
    asked = []

    class Named(Head):
        def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
            asked.append(names)
            return w

    head, others = Named(model, CLASSES), ClassSet(("ox", "elk"), CLASSES.templates)
    for classes in (CLASSES, others):
        text = model.encode_frozen(head.prompts(classes))
        score(head, model.pixels(torch.zeros(1, 3, 32, 32)), text)
    assert asked == [CLASSES.names, others.names]


def test_class_embeddings_are_those_of_the_untouched_backbone(model: DualEncoder) -> None:
    classes = ClassSet(("ox", "elk"), ("a photo of {}.", "a drawing of {}."))
    head = Head(model, classes)
    before = model.encode_frozen(head.prompts(classes)).embeddings()
    model.inject("text_model.encoder.layers.0.self_attn.q_proj", Doubled)
    assert torch.equal(model.class_embeddings(classes), before)
    assert not torch.equal(model.encode_frozen(head.prompts(classes)).embeddings(), before)


def test_towers_name_their_projection_and_embeddings(model: DualEncoder) -> None:
    shapes = {"image": ((32, 3, 8, 8), (17, 32)), "text": ((258, 32), (48, 32))}
    for which, expected in shapes.items():
        tower = getattr(model, which)
        names = (tower.projection, tower.tokens, tower.positions)
        found = [model.net.get_parameter(f"{name}.weight").shape for name in names]
        assert found == [(model.dim, 32), *expected]
    x = model.pixels(torch.zeros(1, 3, 32, 32))
    before = x.embeddings()
    model.inject(model.image.projection, Doubled)
    torch.testing.assert_close(x.embeddings(), 2 * before)
